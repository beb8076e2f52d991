"""How a gateway starts, refuses to start, survives an outage of NATS, and stops."""

import asyncio
import json
import os
import signal
import socket as sockets
from pathlib import Path

import pytest
from gateway_driver import PUBLIC_URL, Gateway, call, call_fields, new_call_id
from infra import MS
from played_worker import LIMIT_S, Worker

from trunkline_common.control import StopReason
from trunkline_common.frames import FrameKind
from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, trunkline

NOWHERE = "nats://127.0.0.1:1"


async def run_to_its_end(folder: Path, **environment: str) -> tuple[int, list[str]]:
    async with (
        asyncio.timeout(LIMIT_S),
        Process.start("gateway", trunkline("gateway"), folder, environment) as process,
    ):
        code = await process.exited()
    return code, (await asyncio.to_thread(process.log_path.read_text)).splitlines()


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, "trunkline: PUBLIC_URL: is not set (the base address as Twilio sees it, https://…)"),
        (
            {"PUBLIC_URL": "ws://calls.example.com"},
            "trunkline: PUBLIC_URL: is no http(s) URL such as https://calls.example.com",
        ),
        (
            {"PUBLIC_URL": PUBLIC_URL, "HOST": "0.0.0.0"},
            "trunkline: TWILIO_AUTH_TOKEN: is not set, and HOST 0.0.0.0 can be reached from other machines",
        ),
    ],
)
async def test_a_wrong_setting_is_one_line_and_exit_code_2(
    tmp_path: Path, environment: dict[str, str], line: str
) -> None:
    code, lines = await run_to_its_end(tmp_path, **environment)

    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith(line)


async def test_a_port_that_is_taken_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        code, lines = await run_to_its_end(tmp_path, PUBLIC_URL=PUBLIC_URL, PORT=str(port))

    assert code == 2
    assert f"127.0.0.1:{port}" in lines[-1]


async def test_without_nats_it_says_so_answers_callers_and_becomes_ready_when_nats_appears(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    await nats_server.kill()
    async with Gateway.start(nats_server.url, tmp_path, ready=False) as gateway:
        await gateway.process.wait_for_line("service-listening")

        ready = await gateway.get("/readyz")
        assert ready.status_code == 503
        assert nats_server.url in ready.text
        assert (await gateway.get("/livez")).status_code == 200
        assert "sorry" in (await gateway.voice(new_call_id())).sentence
        async with gateway.socket() as socket:
            assert await socket.closed() == 1013

        await nats_server.restart()
        await gateway.process.wait_until_ready(f"{gateway.url}/readyz")
        async with Worker.start(nats_server.url) as worker, call(gateway, worker):
            pass


async def test_without_nats_it_stops_when_told_to(tmp_path: Path) -> None:
    async with Gateway.start(NOWHERE, tmp_path, ready=False) as gateway:
        await gateway.process.wait_for_line("bus-error")

        assert await gateway.process.stop() == os.EX_OK


async def test_a_call_survives_an_outage_of_nats(nats_server: NatsServer, tmp_path: Path) -> None:
    async with (
        Gateway.start(nats_server.url, tmp_path) as gateway,
        Worker.start(nats_server.url) as worker,
        call(gateway, worker) as (call_id, socket, _),
    ):
        await nats_server.kill()
        await gateway.process.wait_for_line("bus-disconnected")
        for number in range(50):
            await socket.media(20 + number * 20, b"kept")
        # More than the pings that would make a worker lost, had the bus been there.
        await asyncio.sleep(1_500 * MS)
        await nats_server.restart()
        await gateway.process.wait_until_ready(f"{gateway.url}/readyz")
        await worker.reconnected()
        await worker.send(call_id, FrameKind.AUDIO, b"again")
        assert (await socket.next())["event"] == "media"
        await socket.media(2_000, b"again")
        kept = 0
        while (frame := await worker.frame(FrameKind.AUDIO)).payload != b"again":
            kept += frame.payload == b"kept"
        assert kept == 50, "what the caller said meanwhile was only late"
        assert await gateway.metric("trunkline_gateway_workers_lost_total", how="gone") == 0
        assert await gateway.metric("trunkline_gateway_workers_lost_total", how="silent") == 0


async def test_a_twilio_that_is_not_there_any_more_is_noticed(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Gateway.start(nats_server.url, tmp_path) as gateway,
        Worker.start(nats_server.url) as worker,
        call(gateway, worker) as (_, socket, _),
    ):
        # Nothing is closed, and nothing answered, not even a ping.
        socket.websocket.transport.pause_reading()

        stop = await worker.frame(FrameKind.STOP, limit_s=2 * LIMIT_S)

        assert stop.payload == StopReason.STREAM_LOST.encode()
        socket.websocket.transport.resume_reading()


async def test_a_call_right_after_an_outage_of_nats_waits_for_the_workers_to_be_back(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Gateway.start(nats_server.url, tmp_path) as gateway,
        Worker.start(nats_server.url, reconnect_wait_s=1.0) as worker,
    ):
        await nats_server.kill()
        await gateway.process.wait_for_line("bus-disconnected")
        await nats_server.restart()
        await gateway.process.wait_for_line("bus-reconnected")

        async with call(gateway, worker):
            pass


async def test_at_the_limit_callers_hear_that_all_lines_are_busy(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Gateway.start(nats_server.url, tmp_path, GATEWAY_STREAMS_MAX="1") as gateway,
        Worker.start(nats_server.url) as worker,
    ):
        waiting = await gateway.voice(new_call_id())
        assert waiting.verbs == ["Connect", "Redirect"]
        async with call(gateway, worker):
            assert "busy" in (await gateway.voice(new_call_id())).sentence
            async with gateway.socket() as socket:
                assert await socket.closed() == 1013
        assert await gateway.rejected("streams-full") == 1


async def test_without_an_auth_token_it_serves_this_machine_and_warns(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Gateway.start(
            nats_server.url,
            tmp_path,
            TWILIO_AUTH_TOKEN="",
            TWILIO_ACCOUNT_SID="",
            PUBLIC_URL="http://127.0.0.1:8080",
        ) as gateway,
        Worker.start(nats_server.url) as worker,
    ):
        call_id = new_call_id()
        response = await gateway.post("/voice", call_fields(call_id), signature=None)

        assert response.status_code == 200
        assert 'url="ws://127.0.0.1:8080/media-stream"' in response.text
        line = await gateway.process.wait_for_line(".*signatures-unchecked.*")
        assert json.loads(line.group())["level"] == "warning"
        assert len(worker.assigned) == 1


async def test_told_to_stop_it_lets_calls_end_and_takes_no_new_traffic(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Gateway.start(nats_server.url, tmp_path) as gateway,
        Worker.start(nats_server.url) as worker,
        call(gateway, worker) as (call_id, socket, _),
    ):
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.process.wait_for_line("service-draining")

        assert (await gateway.get("/readyz")).status_code == 503
        assert (await gateway.get("/livez")).status_code == 200
        await socket.media(20, b"goes on")
        assert (await worker.frame()).payload == b"goes on"

        await socket.send("stop", stop={"callSid": call_id})
        await socket.websocket.close()
        assert await gateway.process.exited() == os.EX_OK


async def test_calls_that_are_left_at_the_drain_deadline_move_elsewhere(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with (
        Gateway.start(nats_server.url, tmp_path / "old", GATEWAY_DRAIN_S="0.2") as old,
        Gateway.start(nats_server.url, tmp_path / "new") as new,
        Worker.start(nats_server.url) as worker,
        call(old, worker) as (call_id, socket, twiml),
    ):
        old.process.send_signal(signal.SIGTERM)

        assert await socket.closed() == 1001
        stop = await worker.frame()
        assert stop.payload == StopReason.GATEWAY_STOPPED.encode()
        again = await new.reattach(call_id, twiml.action, CallStatus="in-progress")
        async with new.socket() as moved:
            await moved.start(call_id, again.parameters)
            await moved.media(0, b"goes on")
            assert (await worker.frame()).payload == b"goes on"
        assert await old.process.exited() == os.EX_OK
