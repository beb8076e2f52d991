"""A worker as a real process, and what it counts and logs."""

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from trunkline_local.nats_server import NatsServer
from trunkline_local.processes import Process, free_port, trunkline

COUNTED_LIMIT_S = 20.0


@dataclass
class Worker:
    """A worker process and its metrics."""

    process: Process
    port: int

    async def counted(self, sample: str) -> float:
        """Return the value of one sample of its metrics, 0 when there is none."""
        page = await asyncio.to_thread(self._metrics)
        values = [line.rsplit(" ", 1)[1] for line in page.splitlines() if line.startswith(sample + " ")]
        return float(values[0]) if values else 0.0

    async def until_counted(self, sample: str, value: float) -> None:
        """Wait until the sample has this value."""
        async with asyncio.timeout(COUNTED_LIMIT_S):
            while await self.counted(sample) != value:
                pass

    def lines(self, word: str) -> int:
        """Return how many lines of its log hold the word."""
        return sum(word in line for line in self.process.log_path.read_text().splitlines())

    def _metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as page:
            text: bytes = page.read()
        return text.decode()


@asynccontextmanager
async def running_worker(
    nats_server: NatsServer, folder: Path, model_url: str, name: str = "worker", **settings: str
) -> AsyncIterator[Worker]:
    """Run `trunkline worker` until the end of the block; it drains for a second at most."""
    port = free_port()
    environment = {
        "NATS_URL": nats_server.url,
        "OPENAI_API_KEY": "test",
        "OPENAI_REALTIME_URL": model_url,
        "METRICS_PORT": str(port),
        "WORKER_DRAIN_S": "1",
        **settings,
    }
    async with Process.start(name, trunkline("worker"), folder, environment) as process:
        await process.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield Worker(process, port)
