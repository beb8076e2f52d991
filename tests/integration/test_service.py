"""How every service runs, seen from outside: a child process, its pages, its signals and its exit code."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from infra import MS
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process

PROGRAM = Path(__file__).parents[1] / "tiny_service.py"
LIMIT_S = 10_000 * MS


class Service:
    """A tiny service: a process, and a client of its pages."""

    def __init__(self, process: Process, client: httpx.AsyncClient) -> None:
        self.process = process
        self._client = client

    @property
    def address(self) -> str:
        return self._client.base_url.netloc.decode()

    async def get(self, path: str) -> tuple[int, str]:
        answer = await self._client.get(path)
        return answer.status_code, answer.text.strip()

    async def ready(self) -> str:
        return (await self.get("/readyz"))[1]

    async def until_ready_says(self, text: str) -> str:
        async def says() -> str | None:
            said = await self.ready()
            return said if text in said else None

        return await self.process.wait_until(says, lambda: f"/readyz to say {text!r}", LIMIT_S) or ""

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def exit_code(self) -> int:
        async with asyncio.timeout(LIMIT_S):
            return await self.process.exited()

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.process.log_path.read_text().splitlines()]

    def errors(self) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["level"] == "error"]


Start = Callable[..., Awaitable[Service]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start the tiny service with one of its bodies; it is stopped after the test."""
    async with contextlib.AsyncExitStack() as started:

        async def start(body: str, **environment: str) -> Service:
            process = await started.enter_async_context(
                Process.start(
                    body, [sys.executable, str(PROGRAM), body], tmp_path, {"PORT": "0"} | environment
                )
            )
            listening = await process.wait_for_line(r'"address": "([^"]+)", "event": "service-listening"')
            client = httpx.AsyncClient(base_url=f"http://{listening[1]}", trust_env=False, verify=False)
            return Service(process, await started.enter_async_context(client))

        yield start


class TestPages:
    async def test_alive_ready_measured_and_nothing_else(self, start: Start) -> None:
        service = await start("drains")
        await service.until_ready_says("ready")

        assert await service.get("/livez") == (200, "alive")
        assert await service.get("/readyz") == (200, "ready")
        status, metrics = await service.get("/metrics")
        assert status == 200
        assert "# TYPE trunkline_loop_lag_seconds histogram" in metrics

    async def test_requests_are_counted_by_route_and_class_of_status(self, start: Start) -> None:
        service = await start("waits_for_a_part")
        await service.get("/readyz")
        await service.get("/wp-login.php")

        _, metrics = await service.get("/metrics")

        assert 'trunkline_http_requests_total{route="/readyz",status="5xx"} 1.0' in metrics
        assert 'trunkline_http_requests_total{route="other",status="4xx"} 1.0' in metrics
        assert 'trunkline_http_requests_total{route="/livez",status="2xx"} 0.0' in metrics
        assert "wp-login" not in metrics
        assert "trunkline_ready 0.0" in metrics

    async def test_how_long_a_drain_takes_stands_beside_its_deadline(self, start: Start) -> None:
        service = await start("drains")
        _, before = await service.get("/metrics")
        service.signal()
        await service.until_ready_says("draining")

        _, metrics = await service.get("/metrics")

        assert "trunkline_draining_seconds 0.0" in before
        assert "trunkline_draining_seconds 0.0\n" not in metrics
        assert "trunkline_drain_deadline_seconds 0.3" in metrics
        assert (await service.get("/"))[0] == 404
        with pytest.raises(InvalidStatus) as refusal:
            await connect(f"ws://{service.address}/media-stream", proxy=None)
        assert refusal.value.response.status_code == 403
        assert service.errors() == []

    async def test_ready_only_while_nothing_is_missing(self, start: Start) -> None:
        service = await start("waits_for_a_part")
        await service.until_ready_says("postgres: cannot reach db:5432")
        assert (await service.get("/readyz"))[0] == 503
        assert (await service.get("/livez"))[0] == 200

        service.signal(signal.SIGUSR1)
        await service.until_ready_says("ready")
        service.signal(signal.SIGUSR2)

        assert await service.until_ready_says("it went away") == "postgres: it went away"


class TestStopping:
    async def test_when_asked_it_drains_and_exits_with_0(self, start: Start) -> None:
        service = await start("drains")
        await service.until_ready_says("ready")

        service.signal()
        assert await service.until_ready_says("draining") == "stop: draining"
        assert (await service.get("/livez"))[0] == 200
        service.signal(signal.SIGUSR1)

        assert await service.exit_code() == 0
        assert [(line["level"], line["event"]) for line in service.log()] == [
            ("info", "service-listening"),
            ("info", "service-stop-requested"),
            ("info", "service-draining"),
            ("info", "service-stopped"),
        ]

    async def test_after_the_drain_deadline_it_exits_with_3(self, start: Start) -> None:
        service = await start("drains")
        await service.until_ready_says("ready")

        service.signal()

        assert await service.exit_code() == 3
        assert [line["event"] for line in service.errors()] == ["service-drain-deadline"]

    async def test_even_when_its_body_cannot_be_cancelled(self, start: Start) -> None:
        service = await start("ignores_everything")
        await service.until_ready_says("ready")

        service.signal()

        assert await service.exit_code() == 3
        assert [line["event"] for line in service.errors()] == ["service-drain-deadline", "service-stuck"]

    async def test_a_second_signal_ends_it_at_once(self, start: Start) -> None:
        service = await start("drains")
        await service.until_ready_says("ready")

        service.signal(signal.SIGINT)
        await service.process.wait_for_line('"service-stop-requested"')
        service.signal(signal.SIGTERM)

        assert await service.exit_code() == 130

    async def test_before_it_was_ready_it_has_nothing_to_drain(
        self, start: Start, nats_server: NatsServer
    ) -> None:
        await nats_server.kill()
        service = await start("connects_to_nats", NATS_URL=nats_server.url)
        await service.until_ready_says(f"no link to NATS at {nats_server.url}: ")

        service.signal()

        assert await service.exit_code() == 0
        assert service.log()[-1]["why"] == "asked to before it was ready"

    async def test_with_a_connection_to_nats_it_ends_as_quietly(
        self, start: Start, nats_server: NatsServer
    ) -> None:
        service = await start("connects_to_nats", NATS_URL=nats_server.url)
        await service.until_ready_says("ready")

        service.signal()

        assert await service.exit_code() == 0
        assert {line["level"] for line in service.log()} == {"info"}

    async def test_open_websockets_are_told_and_do_not_keep_it(self, start: Start) -> None:
        service = await start("drains", WITH_APP="1")
        await service.until_ready_says("ready")
        async with websocket(service, "/polite") as polite, websocket(service, "/deaf") as deaf:
            service.signal()
            service.signal(signal.SIGUSR1)

            assert await service.exit_code() == 0
            assert [await closing_code(peer) for peer in (polite, deaf)] == [1012, 1012]


class TestDying:
    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ("has_a_task_that_gives_up", {"why": "the disk is full: make room"}),
            ("is_failed_by_a_callback", {"why": "NATS closed the connection for good"}),
            ("returns_too_early", {"why": "it ended without being asked"}),
            ("is_cancelled_by_its_own_mistake", {"why": "it was cancelled"}),
        ],
    )
    async def test_exits_with_1_and_says_why_in_a_line(
        self, start: Start, body: str, told: dict[str, str]
    ) -> None:
        service = await start(body)

        assert await service.exit_code() == 1
        (error,) = service.errors()
        assert error.items() >= told.items()
        assert "exception" not in error

    async def test_a_bug_is_told_with_its_traceback(self, start: Start) -> None:
        service = await start("has_a_task_that_dies")

        assert await service.exit_code() == 1
        (error,) = service.errors()
        assert error["event"] == "service-died"
        assert "ValueError: a bug" in error["exception"]


class TestNotStarting:
    async def test_a_port_that_is_taken_is_one_line_and_exit_code_2(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = holder.getsockname()[1]
            process = await Process.launch(
                "tiny", [sys.executable, str(PROGRAM), "drains"], tmp_path, {"PORT": str(port)}
            )
            async with asyncio.timeout(LIMIT_S):
                assert await process.exited() == 2

        (line,) = process.log_path.read_text().splitlines()
        assert line.startswith(f"trunkline: cannot listen on 127.0.0.1:{port}: Address already in use")
        assert line.endswith("choose another port")


@contextlib.asynccontextmanager
async def websocket(service: Service, path: str) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://{service.address}{path}", proxy=None, close_timeout=LIMIT_S) as peer:
        yield peer


async def closing_code(peer: ClientConnection) -> int:
    with contextlib.suppress(ConnectionClosed):
        await peer.recv()
    assert peer.close_code is not None
    return peer.close_code
