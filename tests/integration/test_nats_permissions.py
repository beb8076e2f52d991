"""What each service's user of NATS may do on a cluster, and what it may not: deploy/k8s/nats/values.yaml."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import event_logs
import nats
import nats_accounts
import pytest
from bus_bench import WatchedLife
from infra import MS
from nats.aio.client import Client
from nats.js.api import StreamConfig

from trunkline_common import call_events, subjects
from trunkline_common.bus import Bus
from trunkline_common.service import Life, ServiceError
from trunkline_common.settings import CommonSettings
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, trunkline
from trunkline_transcripts import dead_letters
from trunkline_transcripts.console.live import LiveCalls

LIMIT_S = 5000 * MS
STREAM_API = "$JS.API.STREAM"

PUBLISHED_BY = {
    "gateway": [
        subjects.assign("eu"),
        subjects.treatment("eu"),
        subjects.worker_assign("wk-1"),
        subjects.worker_ping("wk-1"),
        subjects.worker_up("wk-1", "CA1"),
        subjects.owner("CA1"),
        subjects.caller("0123456789abcdef"),
    ],
    "worker": [
        subjects.gateway_down("gw-1", "CA1"),
        subjects.gateway_ping("gw-1"),
        subjects.REDIRECT,
        subjects.heartbeat("wk-1"),
        subjects.owner("CA1"),
        subjects.event("CA1", "turn"),
    ],
    "transcripts": [subjects.DEAD_LETTERS],
    "console": [],
}

HEARD_BY = {
    "gateway": [
        (subjects.every_gateway_down("gw-1"), ""),
        (subjects.gateway_ping("gw-1"), ""),
        (subjects.REDIRECT, subjects.REDIRECT_QUEUE),
        (subjects.EVERY_HEARTBEAT, ""),
    ],
    "worker": [
        (subjects.assign("eu"), subjects.ASSIGN_QUEUE),
        (subjects.treatment("eu"), subjects.TREATMENT_QUEUE),
        (subjects.worker_assign("wk-1"), ""),
        (subjects.worker_ping("wk-1"), ""),
        (subjects.every_worker_up("wk-1"), ""),
        (subjects.EVERY_HEARTBEAT, ""),
        (subjects.owner("CA1"), ""),
        (subjects.caller("0123456789abcdef"), ""),
    ],
    "transcripts": [],
    "console": [],
}

INBOX_OF = {user: subjects.inbox(user) for user in PUBLISHED_BY} | {"console": subjects.inbox("console-live")}

EVERY_PUBLISHED = {subject for allowed in PUBLISHED_BY.values() for subject in allowed}
EVERY_HEARD = {heard for allowed in HEARD_BY.values() for heard in allowed}

REFUSED_TO_PUBLISH = [
    *[
        (user, subject)
        for user, mine in PUBLISHED_BY.items()
        for subject in sorted(EVERY_PUBLISHED - {*mine})
    ],
    # Nobody removes or changes what was said.
    *[
        (user, f"{STREAM_API}.{verb}.{stream}")
        for user in PUBLISHED_BY
        for verb in ("DELETE", "PURGE", "UPDATE", "MSG.DELETE", "SNAPSHOT")
        for stream in ("EV", "DLQ", "KV_outbound-calls")
        if (user, verb, stream) != ("transcripts", "MSG.DELETE", "DLQ")
    ],
    # The event log is read by those who need it.
    ("gateway", "$JS.API.DIRECT.GET.EV"),
    ("gateway", f"{STREAM_API}.MSG.GET.EV"),
    ("gateway", "$JS.API.CONSUMER.CREATE.EV.mine"),
    ("gateway", "$JS.API.CONSUMER.MSG.NEXT.EV.store"),
    ("gateway", "$JS.ACK.EV.store.1.2.3.4.5"),
    # A worker takes nothing away from the transcripts service.
    ("worker", "$JS.API.CONSUMER.MSG.NEXT.EV.store"),
    ("worker", "$JS.API.CONSUMER.CREATE.EV.store"),
    ("worker", "$JS.API.CONSUMER.CREATE.EV.store.ev.v1.>"),
    ("worker", "$JS.API.CONSUMER.DURABLE.CREATE.EV.store"),
    ("worker", "$JS.ACK.EV.store.1.2.3.4.5"),
    ("worker", "$KV.outbound-calls.key"),
    ("transcripts", "$JS.API.CONSUMER.DELETE.EV.store"),
    # Nor does a console, which only looks.
    ("console", "$JS.API.CONSUMER.MSG.NEXT.EV.store"),
    ("console", "$JS.API.CONSUMER.CREATE.EV"),
    ("console", "$JS.API.CONSUMER.CREATE.EV.store"),
    ("console", "$JS.API.CONSUMER.CREATE.EV.store.ev.v1.>"),
    ("console", "$JS.API.CONSUMER.DURABLE.CREATE.EV.store"),
    ("console", "$JS.API.CONSUMER.DELETE.EV.store"),
    ("console", "$JS.ACK.EV.store.1.2.3.4.5"),
    ("console", f"{STREAM_API}.CREATE.EV"),
    # Answers that nobody asked for.
    *[(user, f"{INBOX_OF[other]}.forged") for user in PUBLISHED_BY for other in PUBLISHED_BY],
    *[(user, "$SYS.REQ.SERVER.PING") for user in PUBLISHED_BY],
]

REFUSED_TO_HEAR = [
    *[(user, *heard) for user, mine in HEARD_BY.items() for heard in sorted(EVERY_HEARD - {*mine})],
    *[(user, f"{INBOX_OF[other]}.>", "") for user in HEARD_BY for other in HEARD_BY if user != other],
    *[
        (user, subject, "")
        for user in HEARD_BY
        for subject in (">", "_INBOX.>", "ev.v1.>", "rt.v1.>", "$JS.>")
    ],
    # Outside the queue group one would hear what the others were asked.
    ("gateway", subjects.REDIRECT, ""),
    ("worker", subjects.assign("eu"), ""),
]


@asynccontextmanager
async def signed_in(server: NatsServer, user: str) -> AsyncIterator[tuple[Client, list[Exception]]]:
    """Connect as a service's user; the list is of what the server refused."""
    refused: list[Exception] = []

    async def on_error(error: Exception) -> None:
        refused.append(error)

    client = await nats.connect(
        nats_accounts.url_of(user, server.url), inbox_prefix=INBOX_OF[user], error_cb=on_error
    )
    try:
        yield client, refused
    finally:
        await client.close()


async def settled(client: Client) -> None:
    """Return once the server has judged all that was sent before."""
    # nats-py writes a PING at once and what was sent before it a moment later: the second one surely follows it.
    await client.flush()
    await client.flush()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with NatsServer.start(tmp_path / "nats", extra_settings=nats_accounts.server_settings()) as server:
        yield server


@pytest.mark.parametrize("user", PUBLISHED_BY)
async def test_each_service_may_do_its_work(server: NatsServer, user: str) -> None:
    async with signed_in(server, user) as (client, refused):
        for subject in PUBLISHED_BY[user]:
            await client.publish(subject, b"")
        for subject, queue in HEARD_BY[user]:
            await client.subscribe(subject, queue)
        await settled(client)

        assert refused == []


async def test_nobody_may_do_what_is_anothers(server: NatsServer) -> None:
    for user in PUBLISHED_BY:
        async with signed_in(server, user) as (client, refused):
            for subject in [subject for whose, subject in REFUSED_TO_PUBLISH if whose == user]:
                await client.publish(subject, b"")
                await settled(client)
                assert refused, f"{user} may publish to {subject}"
                refused.clear()
            for subject, queue in [
                (subject, queue) for whose, subject, queue in REFUSED_TO_HEAR if whose == user
            ]:
                await client.subscribe(subject, queue)
                await settled(client)
                assert refused, f"{user} may subscribe to {subject} {queue}"
                refused.clear()


async def test_who_was_asked_may_answer_once(server: NatsServer) -> None:
    async with signed_in(server, "gateway") as (gateway, _), signed_in(server, "worker") as (worker, refused):
        asked = await worker.subscribe(subjects.worker_ping("wk-1"))
        await worker.flush()
        asking = asyncio.create_task(gateway.request(subjects.worker_ping("wk-1"), b"", timeout=LIMIT_S))
        question = await asked.next_msg(LIMIT_S)

        await question.respond(b"here")
        assert (await asking).data == b"here"

        await question.respond(b"again")
        await settled(worker)
        assert refused


async def test_nobody_gets_in_without_a_password(server: NatsServer) -> None:
    with pytest.raises(ServiceError, match="refuses our credentials"):
        await Bus.connect(CommonSettings(nats_url=server.url), WatchedLife())


async def test_a_stream_that_exists_is_not_changed_by_who_may_create_it(server: NatsServer) -> None:
    async with signed_in(server, "transcripts") as (client, _):
        stream = await client.jetstream().add_stream(StreamConfig(name="EV", subjects=["ev.v1.>"]))
        with pytest.raises(nats.js.errors.BadRequestError, match="in use"):
            await client.jetstream().add_stream(StreamConfig(name="EV", subjects=["ev.v1.>"], max_msgs=1))

        assert (await client.jetstream().stream_info("EV")).config == stream.config


async def test_the_console_tells_of_live_calls(server: NatsServer) -> None:
    live = LiveCalls(listeners_max=1)
    settings = CommonSettings(nats_url=nats_accounts.url_of("console", server.url))
    async with signed_in(server, "transcripts") as (client, _), signed_in(server, "worker") as (worker, _):
        await client.jetstream().add_stream(StreamConfig(name="EV", subjects=["ev.v1.>"]))
        bus = await Bus.connect(settings, Life("console-live", drain_deadline_s=1))
        live.open(bus)
        listening = live.listen(None, None, with_numbers=False)
        async with asyncio.timeout(LIMIT_S):
            assert b"listening" in await anext(listening)
            for envelope in event_logs.call("CA1", turns=0):
                await worker.publish(subjects.event("CA1", envelope.kind), call_events.encode(envelope))
            assert b"event: call_started" in await anext(listening)
        await listening.aclose()
        await bus.close()

    assert "Violation" not in server.log_path.read_text()


async def test_dead_letters_are_looked_at_and_dropped_as_the_service(
    server: NatsServer, tmp_path: Path
) -> None:
    command = trunkline("transcripts", "dead-letters", "list")
    environment = {"NATS_URL": nats_accounts.url_of("transcripts", server.url)}
    async with signed_in(server, "transcripts") as (client, refused):
        await dead_letters.ensure_stream(client.jetstream(), replicas=1)
        await client.jetstream().publish(subjects.DEAD_LETTERS, b"not an event")

        async with Process.start("dead-letters", command, tmp_path, environment) as listing:
            assert await listing.exited() == 0, listing.log_path.read_text()
        await dead_letters.delete(client.jetstream(), 1)

        assert await dead_letters.find(client.jetstream(), 1) is None
        assert refused == []
    assert "Violation" not in server.log_path.read_text()
