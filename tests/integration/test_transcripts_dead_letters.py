"""What could not be stored: looked at, replayed after a fix and dropped, with real NATS and Postgres."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from event_logs import attached, caller_turn, ended, log_of, started, went_on
from transcripts_world import World, client_of

from trunkline_common import call_events, subjects
from trunkline_common.frames import Fence
from trunkline_local.nats_server import NatsServer
from trunkline_transcripts.main import command

SECRET = "my secret words"
REFUSES = f"alter table turns add constraint fixed_later check (text <> '{SECRET}')"
FIX = "alter table turns drop constraint fixed_later"
GARBAGE = b"no \x1b[31mevent\x00\n\xff"
ROWS = "select event_sequence, reason, size_bytes, settled from dead_letters order by event_sequence"


@pytest.fixture
async def world(nats_server: NatsServer, migrated_database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with client_of(nats_server) as client:
        yield World(tmp_path, nats_server.url, client, migrated_database_url)


async def test_they_are_looked_at_replayed_and_dropped(world: World, nats_server: NatsServer) -> None:
    await world.query(REFUSES)
    log = log_of([started(), caller_turn(text=SECRET), ended(3)])
    async with world.service() as service:
        await service.ready()
        await world.publish(log)
        await world.publish_raw("ev.v1.CA2.new", GARBAGE, "garbage")
        await world.all_settled()

    listed = await _dead_letters(world, nats_server, "list")
    letters = sorted(line.split()[3:] for line in listed.stdout.splitlines())
    assert letters == [
        ["refused", f"{len(call_events.encode(log[1]))}", "B", "ev.v1.CA1.turn_caller"],
        ["unreadable", f"{len(GARBAGE)}", "B", "ev.v1.CA2.new"],
    ]
    numbers = {line.split()[3]: line.split()[0] for line in listed.stdout.splitlines()}

    shown = await _dead_letters(world, nats_server, "show", numbers["unreadable"])
    assert shown.stdout.splitlines()[-1] == r"no \x1b[31mevent\x00\n\xff"
    assert SECRET in (await _dead_letters(world, nats_server, "show", numbers["refused"])).stdout

    too_early = await _dead_letters(world, nats_server, "replay", "--all")
    assert (too_early.exit_code, too_early.stdout.splitlines()[-1]) == (1, "stored 0, refused again 2")
    assert SECRET not in too_early.output

    await world.query(FIX)
    replayed = await _dead_letters(world, nats_server, "replay", numbers["refused"])
    assert (replayed.exit_code, replayed.stdout) == (os.EX_OK, "stored 1, refused again 0\n")
    assert await world.stored() == world.acknowledged
    assert await world.query("select text from turns") == [(SECRET,)]

    assert (await _dead_letters(world, nats_server, "drop", numbers["unreadable"])).stdout == "dropped 1\n"
    assert (await _dead_letters(world, nats_server, "list")).output == "there are none\n"
    assert await world.query(ROWS) == [
        (2, "refused", len(call_events.encode(log[1])), "stored"),
        (4, "unreadable", len(GARBAGE), "dropped"),
    ]


async def test_a_replay_keeps_the_event_s_place_in_the_log(world: World, nats_server: NatsServer) -> None:
    await world.query(REFUSES)
    lost = log_of([started(), attached(), caller_turn("a", 1, SECRET)])
    owner = log_of([went_on(), caller_turn("b", 2), ended(3)], fence=Fence(1, 2))
    async with world.service() as service:
        await service.ready()
        await world.publish([*lost, *owner])
        await world.all_settled()
    await world.query(FIX)

    assert (await _dead_letters(world, nats_server, "replay", "--all")).exit_code == os.EX_OK

    assert await world.query("select position, text from conversation order by position") == [
        (1, SECRET),
        (2, "Hi."),
    ]
    assert await world.query("select events_missing, events_superseded from call_summary") == [(0, 0)]


async def test_a_replay_of_what_is_stored_already_changes_nothing(
    world: World, nats_server: NatsServer
) -> None:
    await world.query(REFUSES)
    (turn,) = log_of([caller_turn(text=SECRET)])
    async with world.service() as service:
        await service.ready()
        await world.publish([turn])
        await world.all_settled()
        await world.query(FIX)
        await world.publish_raw(
            subjects.event(turn.call_id, turn.kind), call_events.encode(turn), "after the fix"
        )
        await world.all_settled()

    replayed = await _dead_letters(world, nats_server, "replay", "--all")

    assert replayed.stdout == "stored 1, refused again 0\n"
    assert await world.query("select count(*) from events") == [(1,)]


async def test_an_event_whose_letter_cannot_be_noted_waits(world: World) -> None:
    await world.query("alter table dead_letters add constraint no_room check (size_bytes < 0)")
    async with world.service() as service:
        await service.ready()
        await world.publish_raw("ev.v1.CA1.new", GARBAGE, "garbage")
        await service.process.wait_for_line("dead-letter-failed")
        await world.publish(log_of([started(), ended(2)], call_id="CA2"))
        await world.query("alter table dead_letters drop constraint no_room")
        await world.all_settled()
        assert await service.metric('dead_letters_total{reason="unreadable"}') == 1

    assert await world.stored() == world.acknowledged
    assert (await world.jetstream.stream_info("DLQ")).state.messages == 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["replay", "7"], 1, "there is no dead letter 7"),
        (["show", "7"], 1, "there is no dead letter 7"),
        (["replay"], 2, "name the numbers, or --all"),
        (["drop", "7", "--all"], 2, "name the numbers, or --all"),
    ],
)
async def test_what_is_not_there_is_said(
    world: World, nats_server: NatsServer, arguments: list[str], code: int, says: str
) -> None:
    answered = await _dead_letters(world, nats_server, *arguments)

    assert answered.exit_code == code
    assert says in answered.output


async def test_without_nats_it_says_so(world: World) -> None:
    answered = await _run(world, "nats://127.0.0.1:1", "list")

    assert answered.exit_code == 1
    assert "no link to NATS at nats://127.0.0.1:1" in answered.output


async def _dead_letters(world: World, nats_server: NatsServer, *arguments: str) -> Result:
    return await _run(world, nats_server.url, *arguments)


async def _run(world: World, nats_url: str, *arguments: str) -> Result:
    """Run the command in a thread: it has an event loop of its own."""
    environment = {"NATS_URL": nats_url, "DATABASE_URL": world.database_url}
    return await asyncio.to_thread(CliRunner().invoke, command, ["dead-letters", *arguments], env=environment)
