"""The Realtime simulator as a server: who gets in, a spoken turn over a real websocket, faults, traces."""

import asyncio
import base64
import json
import signal
import socket
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from infra import MS
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from trunkline_simulators import recordings
from trunkline_simulators.openai_audio import FORMATS
from trunkline_simulators.openai_command import command
from trunkline_simulators.openai_faults import Losses, parse_fault
from trunkline_simulators.openai_replies import Behaviour, sound
from trunkline_simulators.openai_server import RealtimeServer, ServerOptions, run_server

MODEL = "gpt-realtime-2.1-mini"
QUICK = Behaviour(pace=100, latency_ms=0)
ULAW = {"format": {"type": "audio/pcmu"}}


@asynccontextmanager
async def connected(
    server: RealtimeServer, *, query: str = f"?model={MODEL}", **headers: str
) -> AsyncIterator[ClientConnection]:
    given = {"Authorization": "Bearer secret"} | {
        name.replace("_", "-"): text for name, text in headers.items()
    }
    async with connect(
        server.url + query, additional_headers=given, compression=None, close_timeout=1
    ) as client:
        yield client


async def next_event(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(5_000 * MS):
        event: dict[str, Any] = json.loads(await client.recv())
    return event


async def events_until(client: ClientConnection, kind: str) -> list[dict[str, Any]]:
    events = [await next_event(client)]
    while events[-1]["type"] != kind:
        events.append(await next_event(client))
    return events


async def send(client: ClientConnection, kind: str, **fields: Any) -> None:
    await client.send(json.dumps({"type": kind} | fields))


async def say(client: ClientConnection, utterance_id: str) -> int:
    """Append an utterance and a second of silence as μ-law, as fast as it goes; return how many bytes."""
    audio = FORMATS["audio/pcmu"].encode(np.pad(recordings.samples(utterance_id, 8_000), (0, 8_000)))
    for start in range(0, len(audio), 160):
        piece = base64.b64encode(audio[start : start + 160]).decode()
        await send(client, "input_audio_buffer.append", audio=piece)
    return len(audio)


async def close_of(client: ClientConnection) -> tuple[int | None, str | None]:
    """Wait for the end; return code and reason."""
    async with asyncio.timeout(5_000 * MS):
        await client.wait_closed()
    return client.close_code, client.close_reason


async def test_the_first_event_is_session_created() -> None:
    async with run_server(ServerOptions()) as server, connected(server) as client:
        event = await next_event(client)

    assert event["type"] == "session.created"
    assert event["session"]["model"] == MODEL


async def test_a_wrong_key_is_accepted_and_then_closed_with_3000() -> None:
    async with run_server(ServerOptions(api_key="right")) as server, connected(server) as client:
        assert await close_of(client) == (3000, "invalid_request_error.invalid_api_key")


async def test_the_right_key_is_let_in() -> None:
    async with run_server(ServerOptions(api_key="secret")) as server, connected(server) as client:
        assert (await next_event(client))["type"] == "session.created"


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic secret", "secret"])
async def test_without_a_bearer_key_nobody_is_let_in(authorization: str) -> None:
    async with (
        run_server(ServerOptions()) as server,
        connected(server, Authorization=authorization) as client,
    ):
        assert (await close_of(client))[0] == 3000


async def test_the_beta_header_is_answered_with_an_error_and_4000() -> None:
    async with run_server(ServerOptions()) as server, connected(server, OpenAI_Beta="realtime=v1") as client:
        event = await next_event(client)
        close = await close_of(client)

    assert event["error"]["code"] == "beta_api_shape_disabled"
    assert event["error"]["message"] == (
        "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API."
    )
    assert close == (4000, "invalid_request_error.beta_api_shape_disabled")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "missing_model"),
        ("?model=gpt-4o-realtime-preview-2024-12-17", "model_not_found"),
        ("?model=gpt-5", "model_not_found"),
    ],
)
async def test_no_model_or_a_dead_one_is_an_error(query: str, code: str) -> None:
    async with run_server(ServerOptions()) as server, connected(server, query=query) as client:
        event = await next_event(client)
        close_code, _ = await close_of(client)

    assert (event["error"]["code"], close_code) == (code, 4000)


async def test_there_is_only_one_path() -> None:
    async with run_server(ServerOptions()) as server:
        with pytest.raises(InvalidStatus) as caught:
            await connect(server.url + "/else").__aenter__()

    assert caught.value.response.status_code == 404


async def test_a_spoken_turn(tmp_path: Path) -> None:
    options = ServerOptions(behaviour=QUICK, record=tmp_path)
    async with run_server(options) as server, connected(server) as client:
        session_id = (await next_event(client))["session"]["id"]
        await send(
            client, "session.update", session={"type": "realtime", "audio": {"input": ULAW, "output": ULAW}}
        )
        assert (await next_event(client))["type"] == "session.updated"

        size_bytes = await say(client, "caller-hours")
        events = await events_until(client, "rate_limits.updated")

    audio = b"".join(
        base64.b64decode(event["delta"]) for event in events if event["type"] == "response.output_audio.delta"
    )
    assert audio == sound("agent-hours", "audio/pcmu")
    with wave.open(str(tmp_path / f"{session_id}.wav")) as recorded:
        assert (recorded.getframerate(), recorded.getnframes()) == (8_000, size_bytes)
    trace = [json.loads(line) for line in (tmp_path / f"{session_id}.jsonl").read_text().splitlines()]
    (heard,) = [line for line in trace if line["event"] == "heard"]
    assert (heard["utterance"], heard["text"]) == ("caller-hours", recordings.utterance("caller-hours").text)
    appends = [line for line in trace if line["event"] == "append-received"]
    assert (appends[0]["from_ms"], appends[-1]["to_ms"]) == (0, size_bytes / 8)
    deltas = [line for line in trace if line["event"] == "delta-sent"]
    assert deltas[-1]["to_ms"] == len(audio) / 8
    assert all(earlier["at_ns"] <= later["at_ns"] for earlier, later in pairwise(trace))


async def test_sessions_do_not_share_anything() -> None:
    async with (
        run_server(ServerOptions(behaviour=QUICK)) as server,
        connected(server) as one,
        connected(server) as other,
    ):
        created = [await next_event(client) for client in (one, other)]
        await send(one, "response.create")
        await events_until(one, "response.done")
        await send(other, "response.cancel")
        answer = await next_event(other)

    assert created[0]["session"]["id"] != created[1]["session"]["id"]
    assert answer["error"]["code"] == "response_cancel_not_active"


async def test_a_refused_event_leaves_the_socket_open() -> None:
    async with run_server(ServerOptions()) as server, connected(server) as client:
        await next_event(client)

        await client.send("hello")
        await client.send(b"\x00")
        errors = [await next_event(client) for _ in range(2)]
        await send(client, "session.update", session={"type": "realtime"})

        assert [error["error"]["code"] for error in errors] == ["invalid_event", "invalid_event"]
        assert (await next_event(client))["type"] == "session.updated"


async def test_pings_are_answered() -> None:
    async with run_server(ServerOptions()) as server, connected(server) as client:
        pong = await client.ping()

        async with asyncio.timeout(1_000 * MS):
            await pong


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012, 1013, 3000, 4000])
async def test_a_fault_closes_the_connection(code: int) -> None:
    options = ServerOptions(behaviour=QUICK, faults=(parse_fault(f"close={code}@response.created"),))
    async with run_server(options) as server, connected(server) as client:
        await send(client, "response.create")

        assert (await close_of(client))[0] == code


async def test_a_stalled_session_answers_no_ping() -> None:
    options = ServerOptions(faults=(parse_fault("stall@session.created"),))
    async with run_server(options) as server, connected(server) as client:
        await next_event(client)
        pong = await client.ping()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100 * MS):
                await pong
        client.transport.abort()


async def test_a_mute_session_answers_pings_and_nothing_else() -> None:
    options = ServerOptions(faults=(parse_fault("mute"),))
    async with run_server(options) as server, connected(server) as client:
        async with asyncio.timeout(5_000 * MS):
            await (await client.ping())

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100 * MS):
                await client.recv()


async def test_connecting_can_take_long() -> None:
    async with run_server(ServerOptions(connect_delay_s=600)) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100 * MS), connected(server):
                pass


async def test_a_session_is_lost_at_random() -> None:
    options = ServerOptions(losses=Losses(0.001), seed="5")
    async with run_server(options) as server, connected(server) as client:
        assert (await close_of(client))[0] in {1000, 1001, 1006, 1011, 1012, 1013}


@pytest.mark.parametrize(("status", "expected"), [("", 503), (":429", 429), (":500", 500)])
async def test_after_a_fault_has_closed_a_session_connects_are_refused(status: str, expected: int) -> None:
    faults = (parse_fault("close=1011@session.created"), parse_fault(f"refuse=600{status}"))
    async with run_server(ServerOptions(faults=faults)) as server:
        async with connected(server) as client:
            await close_of(client)

        with pytest.raises(InvalidStatus) as caught:
            await connect(server.url).__aenter__()

    assert caught.value.response.status_code == expected


async def test_the_command_says_where_it_listens_and_stops_on_sigterm(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "trunkline_common.cli",
        "sim-openai",
        "--record",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(20_000 * MS):
        ready = (await process.stdout.readline()).decode().strip()
        url = ready.removeprefix("sim-openai listening on ")
        async with connect(
            f"{url}?model={MODEL}", additional_headers={"Authorization": "Bearer k"}
        ) as client:
            created = await next_event(client)
            process.send_signal(signal.SIGTERM)
            code, _ = await close_of(client)
        status = await process.wait()
        complaints = await process.stderr.read()

    assert url.startswith("ws://127.0.0.1:")
    assert (code, status, complaints) == (1001, 0, b"")
    assert (tmp_path / f"{created['session']['id']}.jsonl").exists()


def test_a_taken_port_is_one_line_and_exit_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = CliRunner().invoke(command, ["--port", str(port)])

    assert result.exit_code == 2
    assert result.output.startswith(f"sim-openai: cannot listen on 127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    ("option", "text", "complaint"),
    [
        ("--fault", "explode", "'explode' is no fault"),
        ("--call", "caller-nobody=book:{}", "there is no utterance 'caller-nobody'"),
        ("--call", "caller-book=book:{", "'{' is not JSON"),
        ("--call", "caller-book=:{}", "names no function"),
        ("--call", "caller-book=agent-nobody>book:{}", "there is no utterance 'agent-nobody'"),
    ],
)
def test_a_wrong_option_is_explained(option: str, text: str, complaint: str) -> None:
    result = CliRunner().invoke(command, [option, text])

    assert result.exit_code == 2
    assert complaint in result.output
