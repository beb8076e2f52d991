"""One model session over a real websocket: what an ignored event leaves behind, and how each dialect gets in."""

import asyncio
import logging
from typing import Any, get_args

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from trunkline_simulators.openai_faults import parse_fault
from trunkline_simulators.openai_server import ServerOptions, run_server
from trunkline_worker import commands, events
from trunkline_worker.agent import Agent
from trunkline_worker.dialects import Dialect
from trunkline_worker.session import Session
from trunkline_worker.settings import ModelSettings

LIMIT_S = 20.0


def ignored(kind: str) -> float:
    return REGISTRY.get_sample_value("trunkline_model_events_ignored_total", {"kind": kind}) or 0.0


async def until(inbox: "asyncio.Queue[events.Event]", wanted: type[Any]) -> Any:
    async with asyncio.timeout(LIMIT_S):
        while not isinstance(event := await inbox.get(), wanted):
            pass
    return event


@pytest.mark.parametrize("dialect", get_args(Dialect))
async def test_an_answer_that_nobody_hears_is_counted_and_told_once(
    dialect: Dialect, caplog: pytest.LogCaptureFixture
) -> None:
    faults = (parse_fault("text-only@response.created:1"), parse_fault("unknown-event@response.created:1"))
    before = {kind: ignored(kind) for kind in ("text-part", "unknown")}
    inbox: asyncio.Queue[events.Event] = asyncio.Queue()
    async with run_server(ServerOptions(faults=faults, dialect=dialect)) as server:
        settings = ModelSettings(
            openai_api_key=SecretStr("test"), openai_realtime_url=server.url, openai_realtime_dialect=dialect
        )
        session = Session(1, "gpt-realtime-2.1", settings, inbox.put_nowait)
        await until(inbox, events.SessionCreated)
        session.send(commands.ConfigureSession("configure_1", Agent().session()))
        await until(inbox, events.SessionConfigured)
        with caplog.at_level(logging.WARNING):
            session.send(commands.CreateResponse("greet_1"))
            done = await until(inbox, events.ResponseDone)
        session.close()

    assert done.status == "completed"
    assert {kind: ignored(kind) - count for kind, count in before.items()} == {"text-part": 1, "unknown": 1}
