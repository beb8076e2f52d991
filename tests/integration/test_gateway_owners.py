"""A live call changes hands: its worker dies, hangs, is stuck or stops; the test is Twilio and the workers."""

import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_driver import CALLED, CALLER, ULAW, Gateway, Socket, call
from played_worker import Worker

from trunkline_common import control
from trunkline_common.control import AssignKind, LineReport, StopReason
from trunkline_common.frames import FINAL, REPLAYED, Fence, Frame, FrameKind
from trunkline_gateway.comfort import DOUBLE_TICK
from trunkline_local.nats_server import NatsServer

pytest_plugins = ["gateway_fixtures"]

SECOND = Fence(1, 7)
"""The first number above those that the webhook and the attach may have given; an offer that a busy machine makes too
late is made again under a higher one."""


@contextlib.asynccontextmanager
async def second_worker(first: Worker, nats_server: NatsServer) -> AsyncIterator[Worker]:
    """Another worker, the only one that takes calls from now on."""
    await first.leave()
    async with Worker.start(nats_server.url) as worker:
        yield worker


async def speak(socket: Socket, first: int, last: int) -> None:
    """Say 20 ms for each number, made of it."""
    for number in range(first, last + 1):
        await socket.media(number * 20, bytes([number]) * 160)


async def heard(worker: Worker, first: int, last: int) -> list[Frame]:
    """Wait for what `speak` said, and nothing else: once, in order and without a gap."""
    frames = [await worker.frame(FrameKind.AUDIO) for _ in range(first, last + 1)]
    assert [frame.t_ms for frame in frames] == [number * 20 for number in range(first, last + 1)]
    assert [frame.payload[0] for frame in frames] == list(range(first, last + 1))
    return frames


async def says(worker: Worker, call_id: str, socket: Socket, word: bytes) -> None:
    """Check that the worker's audio is the next thing that Twilio gets."""
    await worker.send(call_id, FrameKind.AUDIO, word)
    assert await next_audio(socket) == word


async def next_audio(socket: Socket) -> bytes:
    while (message := await socket.next())["event"] == "clear":
        continue  # what is left of the comfort sound
    assert message["event"] == "media", message
    return base64.b64decode(message["media"]["payload"])


async def lose(worker: Worker, how: str) -> None:
    if how == "gone":
        await worker.disappear()
    elif how == "silent":
        worker.silent = True
    else:
        worker.stuck = True


async def ready_to_move(worker: Worker, other: Worker, call_id: str) -> None:
    """Let a stopping worker give its call to the other, until it is told to let go."""
    await worker.send(call_id, FrameKind.MOVE)
    await other.asked(AssignKind.HANDOVER)
    await other.send(call_id, FrameKind.READY)
    assert (await worker.frame()).kind == FrameKind.YIELD


@pytest.mark.parametrize("how", ["gone", "silent", "stuck"])
async def test_a_call_whose_worker_is_lost_is_taken_over_with_everything_said_since(
    gateway: Gateway, worker: Worker, shared_nats_server: NatsServer, how: str
) -> None:
    name, labels = "trunkline_gateway_takeovers_total", {"cause": how, "result": "taken"}
    before = await gateway.metric(name, **labels)
    async with (
        call(gateway, worker) as (call_id, socket, _),
        second_worker(worker, shared_nats_server) as other,
    ):
        await speak(socket, 1, 20)
        await heard(worker, 1, 20)
        await worker.checkpoint(call_id, needed_from_ms=5 * 20, state=b"so far")
        await says(worker, call_id, socket, b"one")
        await worker.send(call_id, FrameKind.MARK, b"0:item:20")
        assert (await socket.next())["mark"] == {"name": "0:item:20"}

        await lose(worker, how)
        await speak(socket, 21, 25)
        own, said = await other.own()
        replayed = await heard(other, 5, 25)
        await speak(socket, 26, 30)
        live = await heard(other, 26, 30)

        assert own.fence >= SECOND
        assert own.seq == 0
        assert said.checkpoint == b"so far"
        assert (said.mark_sent, said.mark_played, said.is_final) == ("0:item:20", "", False)
        assert said.stream_sid == socket.stream_sid
        assert [frame.seq for frame in replayed] == list(range(1, 22))
        assert {frame.flags for frame in replayed[:16]} == {REPLAYED}
        assert {frame.flags for frame in live} == {0}
        assert {frame.fence for frame in (*replayed, *live)} == {own.fence}
        asked = other.assigned[-1]
        assert (asked.kind, asked.caller, asked.called) == (AssignKind.TAKEOVER, CALLER, CALLED)
        assert asked.started_at_ms == worker.assigned[0].started_at_ms

        await worker.send(call_id, FrameKind.AUDIO, b"zombie")
        await says(other, call_id, socket, b"two")
        assert (await worker.frame(FrameKind.REVOKE)).fence == worker.fences[call_id]

    assert await gateway.metric(name, **labels) == before + 1
    line = await gateway.process.wait_for_line(f".*owner-changed.*{call_id}.*|.*{call_id}.*owner-changed.*")
    assert all(word in line.group() for word in (worker.name, other.name, how, '"frames": 2', str(own.fence)))


async def test_a_worker_that_only_knows_new_calls_does_not_get_a_live_one(
    gateway: Gateway, worker: Worker, shared_nats_server: NatsServer
) -> None:
    async with (
        call(gateway, worker) as (_, _, _),
        second_worker(worker, shared_nats_server) as other,
    ):
        other.mistakes = 1
        await worker.disappear()
        own, _ = await other.own()

    assert own.fence == Fence(1, 8)


async def test_a_worker_that_hung_for_a_moment_keeps_its_call_when_nobody_else_has_room(
    gateway: Gateway, worker: Worker
) -> None:
    async with call(gateway, worker) as (call_id, socket, _):
        await worker.leave()
        worker.silent = True
        await gateway.process.wait_for_line(f".*worker-lost.*{worker.name}.*|.*{worker.name}.*worker-lost.*")
        await speak(socket, 1, 10)
        worker.silent = False

        frames = await heard(worker, 1, 10)
        await worker.resumed.acquire()
        await says(worker, call_id, socket, b"back")

    assert {frame.fence for frame in frames} == {worker.fences[call_id]}


async def test_a_worker_that_stops_hands_its_call_over_before_it_lets_go(
    gateway: Gateway, worker: Worker, shared_nats_server: NatsServer
) -> None:
    before = await gateway.metric("trunkline_gateway_handovers_total", result="moved")
    async with (
        call(gateway, worker) as (call_id, socket, _),
        second_worker(worker, shared_nats_server) as other,
    ):
        await worker.send(call_id, FrameKind.MOVE)
        await other.asked(AssignKind.HANDOVER)
        await speak(socket, 1, 10)
        await heard(worker, 1, 10)
        await other.send(call_id, FrameKind.READY)
        assert (await worker.frame()).kind == FrameKind.YIELD
        await says(worker, call_id, socket, b"last words")
        await speak(socket, 11, 12)
        await heard(worker, 11, 12)
        await worker.checkpoint(call_id, needed_from_ms=8 * 20, state=b"all", flags=FINAL)

        own, said = await other.own()
        await heard(other, 8, 12)
        await speak(socket, 13, 15)
        await heard(other, 13, 15)
        await says(other, call_id, socket, b"first words")

    assert own.fence >= SECOND
    assert own.seq == 0
    assert (said.checkpoint, said.is_final) == (b"all", True)
    asked = other.assigned[-1]
    assert (asked.kind, asked.gateway) == (AssignKind.HANDOVER, said.gateway)
    assert await gateway.metric("trunkline_gateway_handovers_total", result="moved") == before + 1


async def test_an_owner_that_dies_while_it_hands_over_is_followed_by_the_candidate(
    gateway: Gateway, worker: Worker, shared_nats_server: NatsServer
) -> None:
    async with (
        call(gateway, worker) as (call_id, socket, _),
        second_worker(worker, shared_nats_server) as other,
    ):
        await ready_to_move(worker, other, call_id)
        await worker.disappear()

        own, said = await other.own()
        await says(other, call_id, socket, b"here")

    assert own.fence >= SECOND
    assert {asked.kind for asked in other.assigned} == {AssignKind.HANDOVER}
    assert not said.is_final


async def test_a_candidate_whose_call_ends_is_told(
    gateway: Gateway, worker: Worker, shared_nats_server: NatsServer
) -> None:
    async with (
        call(gateway, worker) as (call_id, socket, _),
        second_worker(worker, shared_nats_server) as other,
    ):
        await ready_to_move(worker, other, call_id)
        await socket.send("stop", stop={"callSid": call_id})

        assert (await worker.frame()).payload == StopReason.CALLER_HUNG_UP.encode()
        await socket.websocket.close()
        revoke = await other.frame()

    assert revoke.kind == FrameKind.REVOKE
    assert revoke.fence >= SECOND


async def test_words_of_a_handover_under_another_fence_are_refused(gateway: Gateway, worker: Worker) -> None:
    name = "trunkline_gateway_frames_dropped_total"
    reasons = ("stale-fence", "future-fence", "bad-checkpoint", "checkpoint-too-large")
    before = [await gateway.metric(name, reason=reason) for reason in reasons]
    async with call(gateway, worker) as (call_id, socket, _):
        for kind in (FrameKind.MOVE, FrameKind.CHECKPOINT, FrameKind.READY):
            await worker.send(call_id, kind, fence=Fence(1, 0))
            await worker.send(call_id, kind, fence=Fence(9, 9))
        await worker.send(call_id, FrameKind.CHECKPOINT, b"no checkpoint")
        await worker.checkpoint(call_id, 0, bytes(65 * 1024))
        await says(worker, call_id, socket, ULAW)

    after = [await gateway.metric(name, reason=reason) for reason in reasons]
    assert [new - old for new, old in zip(after, before, strict=True)] == [3, 3, 1, 1]


async def test_without_a_worker_the_caller_hears_that_the_line_lives_and_then_the_fallback(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    limits = {"ownership.OWNERLESS_S_MAX": 1.5, "comfort.SILENCE_S": 0.2, "comfort.PERIOD_S": 0.5}
    async with (
        Gateway.start(nats_server.url, tmp_path, limits) as gateway,
        Worker.start(nats_server.url) as worker,
        call(gateway, worker) as (call_id, socket, twiml),
    ):
        await worker.disappear()

        assert await next_audio(socket) == DOUBLE_TICK
        assert await socket.closed() == 1011
        await worker.disown()
        again = await gateway.reattach(call_id, twiml.action, CallStatus="in-progress")
        assert again.verbs == ["Say", "Hangup"]
        labels = {"cause": "gone", "result": "given-up"}
        assert await gateway.metric("trunkline_gateway_takeovers_total", **labels) == 1
        assert await gateway.metric("trunkline_gateway_comfort_seconds_total") > 0


async def test_what_is_left_of_the_comfort_sound_is_cleared_for_the_next_owner(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    # One that lasts, so that the next owner comes in the middle of it.
    limits: dict[str, float | str] = {"comfort.SILENCE_S": 0.2, "comfort.DOUBLE_TICK": "b'~' * 80_000"}
    async with (
        Gateway.start(nats_server.url, tmp_path, limits) as gateway,
        Worker.start(nats_server.url) as worker,
        call(gateway, worker) as (call_id, socket, _),
    ):
        await worker.disappear()
        assert await next_audio(socket) == b"~" * 80_000
        async with Worker.start(nats_server.url) as other:
            await other.own()
            await other.send(call_id, FrameKind.AUDIO, ULAW)

            assert (await socket.next())["event"] == "clear"
            assert await next_audio(socket) == ULAW
            await says(other, call_id, socket, b"and on")


async def test_in_an_outage_of_nats_nothing_of_the_caller_is_lost(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Gateway.start(nats_server.url, tmp_path) as gateway,
        Worker.start(nats_server.url) as worker,
        call(gateway, worker) as (call_id, socket, _),
    ):
        await speak(socket, 1, 5)
        await heard(worker, 1, 5)
        await nats_server.kill()
        await gateway.process.wait_for_line("bus-disconnected")
        await speak(socket, 6, 50)
        await socket.send("dtmf", dtmf={"track": "inbound_track", "digit": "7"})
        await socket.mark("0:item:20")
        assert await next_audio(socket) == DOUBLE_TICK
        await speak(socket, 51, 60)
        await nats_server.restart()
        await worker.reconnected()

        before = await heard(worker, 6, 50)
        digit, mark = await worker.frame(), await worker.frame()
        after = await heard(worker, 51, 60)
        await speak(socket, 61, 70)
        live = await heard(worker, 61, 70)
        await worker.resumed.acquire()
        await says(worker, call_id, socket, b"still here")

        assert (digit.kind, digit.payload) == (FrameKind.DTMF, b"7")
        assert (mark.kind, mark.payload) == (FrameKind.MARK, b"0:item:20")
        assert {frame.fence for frame in (*before, *after, *live)} == {worker.fences[call_id]}
        assert {frame.flags for frame in (*before, *after)} == {REPLAYED}
        numbers = [frame.seq for frame in (*before, digit, mark, *after, *live)]
        assert numbers == sorted(set(numbers))
        assert await gateway.metric("trunkline_gateway_frames_replayed_total") >= 55


async def test_an_outage_that_lasts_too_long_ends_with_the_fallback(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    limits = {"ownership.OWNERLESS_S_MAX": 1.0}
    async with (
        Gateway.start(nats_server.url, tmp_path, limits) as gateway,
        Worker.start(nats_server.url) as worker,
        call(gateway, worker) as (call_id, socket, twiml),
    ):
        await nats_server.kill()
        await gateway.process.wait_for_line("bus-disconnected")
        await socket.media(20)

        assert await socket.closed() == 1011
        again = await gateway.reattach(call_id, twiml.action, CallStatus="in-progress")
        assert again.verbs == ["Say", "Hangup"]


async def test_the_hops_of_a_new_owner_are_measured_too(
    gateway: Gateway, worker: Worker, shared_nats_server: NatsServer
) -> None:
    async with (
        call(gateway, worker) as (_, _, _),
        second_worker(worker, shared_nats_server) as other,
    ):
        await worker.disappear()
        await other.own()
        report = control.decode((await other.frame(FrameKind.LINE)).payload, LineReport)

    assert report.bus_rtt_ms
