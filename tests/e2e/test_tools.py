"""A whole call whose agent looks something up over HTTP and ends the call itself."""

from pathlib import Path

from e2e.conftest import StartSystem, dial_and_read_back
from tool_server import ToolServer, tool_server

PROFILE = """
name: desk
numbers: any
instructions: Be brief.
end_call: true
tools:
  - type: http
    name: free_slots
    description: Free slots of a day.
    parameters: {type: object, properties: {day: {type: string}}, required: [day]}
    url: URL?day={day}
    headers: {Authorization: 'Bearer ${TOOL_SECRET_CALENDAR}'}
"""


async def test_an_agent_calls_a_tool_and_ends_the_call_once_it_was_heard(
    start_system: StartSystem, tmp_path: Path
) -> None:
    async with tool_server() as server:
        with_tools = start_system(
            settings={"worker": worker_settings(tmp_path, server)},
            simulator_options=(
                "--call",
                'caller-digits-1=free_slots:{"day":"2026-11-28"}',
                "--call",
                "caller-digits-4=agent-digits-4>end_call:{}",
            ),
        )
        async with with_tools as running:
            call = await dial_and_read_back(running, "digits")

    (request,) = server.requests
    assert request.startswith("GET /json?day=2026-11-28 HTTP/1.1")
    assert "Authorization: Bearer calendar-key" in request
    assert call.rows.call.reason == "agent-hung-up"
    assert call.rows.events == call.rows.call.events_expected
    assert [event for event in call.model_trace if event["event"] == "rejected"] == []
    assert call.rows.turns[-1].heard == call.rows.turns[-1].said, "the goodbye was not cut off"
    logs = "".join(path.read_text() for path in (running.folder / "logs").iterdir())
    assert "2026-11-28" not in logs
    assert "calendar-key" not in logs


def worker_settings(folder: Path, server: ToolServer) -> dict[str, str]:
    agents = folder / "agents"
    agents.mkdir()
    (agents / "desk.yaml").write_text(PROFILE.replace("URL", server.url("/json")))
    return {
        "TRUNKLINE_AGENTS": str(agents),
        "TOOL_HOSTS": "127.0.0.1",
        "TOOL_SECRET_CALENDAR": "calendar-key",
    }
