"""`trunkline sim-twilio`, against a server that answers."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from media_server import MediaServer
from simulated_calls import AUTH_TOKEN, CONNECT, CONNECT_AGAIN, STREAM, WEBHOOK, closes, documents, greets

from trunkline_simulators.twilio_command import command
from trunkline_simulators.twilio_rest_command import command as rest_command


async def run_command(server: MediaServer, tmp_path: Path, *arguments: str) -> tuple[int, str]:
    conversation = tmp_path / "conversation.json"
    conversation.write_text('{"name": "short", "steps": [{"hang_up": true, "after_quiet_ms": 100}]}')
    options = ["--webhook", WEBHOOK, "--connect-to", f"127.0.0.1:{server.port}", "--auth-token", AUTH_TOKEN]
    options += ["--conversation", str(conversation), *arguments]
    ran = await asyncio.to_thread(CliRunner().invoke, command, options)
    return ran.exit_code, ran.output


async def test_the_command_prints_events_for_a_live_view(tmp_path: Path) -> None:
    async with MediaServer(CONNECT, [greets]).running() as server:
        exit_code, output = await run_command(server, tmp_path, "--events")

    events = [json.loads(line) for line in output.splitlines()]
    kinds = [event["event"] for event in events]
    assert exit_code == 0
    assert {"http", "stream-started", "agent-audible", "ended"} <= set(kinds)
    assert not {"frame-sent", "media-received"} & set(kinds)
    assert kinds[-1] == "result"
    assert events[-1]["clean"]


async def test_the_command_tells_of_a_call_and_of_its_warnings(tmp_path: Path) -> None:
    async with MediaServer(CONNECT_AGAIN, [closes, greets]).running() as server:
        exit_code, output = await run_command(server, tmp_path)

    assert exit_code == 1
    assert "warning 31921: close code 1001" in output
    assert "NOT CLEAN" in output
    assert "+1202" not in output


async def test_the_command_places_several_calls_at_once(tmp_path: Path) -> None:
    async with MediaServer(CONNECT, [greets]).running() as server:
        exit_code, output = await run_command(server, tmp_path, "--calls", "3", "--every", "0.05")

    assert exit_code == 0
    assert output.count(": clean, caller-hung-up") == 3
    assert len({session.received[1]["start"]["callSid"] for session in server.sessions}) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--webhook", "voice.example.com"],
        ["--webhook", WEBHOOK, "--connect-to", "8080"],
        ["--webhook", WEBHOOK, "--conversation", "small-talk"],
        ["--webhook", WEBHOOK, "--payload-bytes", "0"],
        ["--webhook", WEBHOOK, "--stall", "soon"],
        [],
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments: list[str]) -> None:
    ran = CliRunner().invoke(command, arguments)

    assert ran.exit_code == 2
    assert "Error" in ran.output


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--auth-token", "secret", "--public-url", WEBHOOK],
        ["--auth-token", "secret", "--connect-to", "127.0.0.1:8080"],
        ["--auth-token", "secret", "--callee", "asleep"],
    ],
    ids=str,
)
def test_bad_arguments_of_the_rest_api_are_named(arguments: list[str]) -> None:
    ran = CliRunner().invoke(
        rest_command, arguments, env={"TWILIO_AUTH_TOKEN": "", "TWILIO_AUTH_TOKEN_FILE": None}
    )

    assert ran.exit_code == 2
    assert "Error" in ran.output


async def test_somebody_who_is_dialled_is_played_as_the_command_says(tmp_path: Path) -> None:
    pages = documents(
        voice="<Dial action='/dialed'>+12025550100</Dial>", dialed=f"<Connect>{STREAM}</Connect>"
    )
    async with MediaServer(pages, [greets]).running() as server:
        exit_code, _ = await run_command(server, tmp_path, "--callee", "busy", "--callee-after", "0")

    assert exit_code == 0
    assert server.asked[-1].fields["DialCallStatus"] == "busy"
