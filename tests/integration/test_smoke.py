"""`trunkline smoke` as a person runs it, against the simulated model: good, refused, silent, of another shape."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trunkline_local.processes import Process, trunkline
from trunkline_simulators import g711, recordings
from trunkline_simulators.openai_faults import parse_fault
from trunkline_simulators.openai_server import RealtimeServer, ServerOptions, run_server

QUESTION = "And what does a check up cost?"


@dataclass
class Ran:
    code: int
    output: str

    @property
    def report(self) -> Any:
        return json.loads(self.output.splitlines()[-1])

    @property
    def found(self) -> list[tuple[str, str]]:
        return [(each["level"], each["what"]) for each in self.report["findings"]]


Smoke = Callable[..., Any]


@pytest.fixture
def smoke(tmp_path: Path) -> Smoke:
    async def run(server: RealtimeServer, *arguments: str, **settings: str) -> Ran:
        environment = {"OPENAI_API_KEY": "test", "OPENAI_REALTIME_URL": server.url, **settings}
        command = [*trunkline("smoke"), *arguments]
        async with Process.start("smoke", command, tmp_path, environment) as process:
            code = await process.exited()
        return Ran(code, process.log_path.read_text())

    return run


@asynccontextmanager
async def model(*faults: str, **options: Any) -> AsyncIterator[RealtimeServer]:
    armed = tuple(parse_fault(fault) for fault in faults)
    async with run_server(ServerOptions(faults=armed, **options)) as server:
        yield server


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        pytest.param({}, {"AUDIO_PATH": "pcm24k"}, id="pcm24k"),
        pytest.param(
            {"azure": True},
            {"OPENAI_AUTH_HEADER": "api-key", "OPENAI_REALTIME_MODEL": "front-desk", "AUDIO_PATH": "pcmu"},
            id="azure",
        ),
        pytest.param({"dialect": "beta"}, {"OPENAI_REALTIME_DIALECT": "beta"}, id="beta"),
    ],
)
async def test_a_talk_is_understood_answered_and_interrupted(
    smoke: Smoke, options: dict[str, Any], settings: dict[str, str], tmp_path: Path
) -> None:
    async with model(record=tmp_path / "trace", **options) as server:
        ran = await smoke(server, "--json", **settings)

    assert ran.code == 0, ran.output
    report = ran.report
    assert report["caller_said"] == [QUESTION, QUESTION]
    assert report["agent_said"][-1].startswith("A check up is sixty dollars.")
    assert 0 < report["cut_at_ms"] < report["cut_of_ms"]
    assert report["output_tokens"] > 0
    assert report["cost_usd"] > 0
    assert all(
        report[name] is not None
        for name in ("connect_ms", "configured_ms", "ping_ms", "answer_ms", "transcript_ms")
    )
    trace = next((tmp_path / "trace").glob("*.jsonl")).read_text()
    assert "conversation.item.truncated" in trace
    assert '"rejected"' not in trace


async def test_a_refused_configuration_ends_it(smoke: Smoke, tmp_path: Path) -> None:
    profile = tmp_path / "desk.yaml"
    profile.write_text('name: desk\nnumbers: any\ninstructions: "Be brief."\ngreeting: "Hello."\n')
    async with model("error=unsupported_parameter@session.update") as server:
        ran = await smoke(server, "--json", "--agent", str(profile))

    assert ran.code == 1
    assert ran.report["agent"] == "desk"
    assert ran.found == [("fault", "refused: unsupported_parameter, about configure_1")]


@pytest.mark.parametrize(
    ("options", "settings", "advice"),
    [
        ({"api_key": "right"}, {}, "OPENAI_API_KEY"),
        ({"azure": True}, {}, "OPENAI_AUTH_HEADER=api-key"),
        (
            {"azure": True},
            {"OPENAI_AUTH_HEADER": "api-key", "OPENAI_REALTIME_MODEL": "gpt-4o-realtime-preview-desk"},
            "the deployment) to one that still exists",
        ),
        ({"dialect": "beta"}, {}, "and OPENAI_REALTIME_DIALECT"),
        ({}, {"OPENAI_REALTIME_DIALECT": "beta"}, "OPENAI_REALTIME_DIALECT"),
        ({}, {"OPENAI_REALTIME_MODEL": "gpt-unknown"}, "OPENAI_REALTIME_MODEL"),
    ],
)
async def test_who_is_not_let_in_learns_why(
    smoke: Smoke, options: dict[str, Any], settings: dict[str, str], advice: str
) -> None:
    async with model(**options) as server:
        ran = await smoke(server, "--json", **settings)

    assert ran.code == 1
    assert advice in " ".join(each["detail"] for each in ran.report["findings"])


async def test_a_socket_that_breaks_is_a_fault(smoke: Smoke) -> None:
    async with model("close=1011@response.created") as server:
        ran = await smoke(server, "--json")

    assert ran.code == 1
    assert ("fault", "session lost: close-1011") in ran.found


async def test_a_model_that_says_nothing_is_late(smoke: Smoke) -> None:
    async with model("stall@session.created") as server:
        ran = await smoke(server, "--json")

    assert ran.code == 3
    assert ran.found == [("late", "session.updated")]


async def test_a_wrong_profile_is_one_line_and_exit_2(smoke: Smoke, tmp_path: Path) -> None:
    profile = tmp_path / "desk.yaml"
    profile.write_text("name: desk\n")
    async with model() as server:
        ran = await smoke(server, "--agent", str(profile))

    assert ran.code == 2
    assert "trunkline: desk.yaml:1: numbers: is missing" in ran.output


async def test_the_models_of_the_key_are_listed_with_their_end(smoke: Smoke) -> None:
    async with model() as server:
        lasting = await smoke(server, "--models")
        ending = await smoke(server, "--models", "--json", OPENAI_REALTIME_MODEL="gpt-realtime")

    assert lasting.code == 0
    assert "gpt-realtime           2027-01-20" in lasting.output
    assert "gpt-5" not in lasting.output
    assert ending.code == 1
    assert ending.report["ending"] == {"gpt-realtime": "2027-01-20"}


async def test_a_server_without_a_list_of_models_is_no_fault(smoke: Smoke) -> None:
    async with model(dialect="beta") as server:
        ran = await smoke(server, "--models", OPENAI_REALTIME_DIALECT="beta")

    assert ran.code == 0
    assert "no list of models (HTTP 404)" in ran.output


async def test_a_wrong_key_has_no_list(smoke: Smoke) -> None:
    async with model(api_key="right") as server:
        ran = await smoke(server, "--models")

    assert ran.code == 1
    assert "OPENAI_API_KEY" in ran.output


def test_the_recording_is_a_callers_own_without_the_silence_around_it() -> None:
    whole = g711.encode(recordings.samples("caller-price", 8_000))

    shipped = resources.files("trunkline_worker").joinpath("caller.ulaw").read_bytes()

    assert shipped in whole
    assert np.abs(g711.decode(shipped[-200:])).max() > 200
