"""The tools' HTTP client against a real server with every bad habit, and against addresses it must not reach."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from conftest import ErrorLogs
from tool_server import ToolServer, tool_server

from trunkline_common.call_events import ToolOutcome
from trunkline_worker.agent_tools import HttpRequest
from trunkline_worker.events import ToolReturned
from trunkline_worker.tool_hosts import ToolHosts
from trunkline_worker.tool_runner import TRIES_MAX, ToolRunner

ENOUGH_S = 10.0
HOSTS = ToolHosts(["127.0.0.1", "desk.internal.example", "*.rebound.example"])


@pytest.fixture
async def server() -> AsyncIterator[ToolServer]:
    async with tool_server() as served:
        yield served


class Names:
    """A name server of our own."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[list[str]]] = {}
        self.asked = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked += 1
        answers = self.addresses.get(host, [[host]])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def names() -> Names:
    return Names()


Run = Callable[[HttpRequest], Awaitable[ToolReturned]]


@pytest.fixture
async def runner(names: Names) -> AsyncIterator[ToolRunner]:
    runner = ToolRunner(HOSTS, names.resolve)
    yield runner
    await runner.close()


@pytest.fixture
async def run(runner: ToolRunner) -> Run:
    async def _run(request: HttpRequest) -> ToolReturned:
        answers: list[ToolReturned] = []
        await runner.start("call_1", request, answers.append)
        (answer,) = answers
        return answer

    return _run


def get(url: str, timeout_s: float = ENOUGH_S, *, retry: bool = False) -> HttpRequest:
    return HttpRequest("GET", url, (), b"", timeout_s, retry, result_bytes_max=8192)


@pytest.mark.parametrize(
    ("path", "result"),
    [("/json", {"free": ["09:00", "10:30"]}), ("/text", "Täglich ab neun"), ("/empty", None)],
)
async def test_an_answer_reaches_the_model_as_json(
    server: ToolServer, run: Run, path: str, result: object
) -> None:
    answer = await run(get(server.url(path)))

    assert answer.outcome is ToolOutcome.OK
    assert json.loads(answer.output) == {"ok": True, "result": result}


@pytest.mark.parametrize(
    ("path", "why", "status"),
    [
        ("/broken-json", "The service gave an answer that cannot be read.", 200),
        ("/deep-json", "The service gave an answer that cannot be read.", 200),
        ("/no-utf8", "The service gave an answer that cannot be read.", 200),
        ("/gzip", "The service gave an answer that cannot be read.", 200),
        ("/html", "The service's answer is neither JSON nor plain text.", 200),
        ("/huge", "The service's answer is too large.", 200),
        ("/conflict", 'The service refused (HTTP 409): {"reason":"the slot is taken"}.', 409),
        ("/long-refusal", f"The service refused (HTTP 400): {'x' * 500}.", 400),
        ("/html-refusal", "The service refused (HTTP 404).", 404),
        ("/down", "The service has a problem of its own (HTTP 503).", 503),
        ("/redirect", "The service wants to be called elsewhere.", 302),
        ("/closes", "The service cannot be reached.", None),
        ("/cut-off", "The service cannot be reached.", None),
        ("/not-http", "The service cannot be reached.", None),
    ],
)
async def test_what_is_no_answer_is_told_in_a_sentence(
    server: ToolServer, run: Run, path: str, why: str, status: int | None
) -> None:
    answer = await run(get(server.url(path)))

    assert answer.outcome is ToolOutcome.FAILED
    assert json.loads(answer.output) == {"ok": False, "error": why}
    assert answer.http_status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize("path", ["/late", "/drip"])
async def test_a_service_that_takes_too_long_is_left(server: ToolServer, run: Run, path: str) -> None:
    answer = await run(get(server.url(path), timeout_s=0.2))

    assert answer.outcome is ToolOutcome.TIMEOUT


async def test_a_given_up_call_closes_its_connection_and_says_nothing(
    server: ToolServer, runner: ToolRunner
) -> None:
    answers: list[ToolReturned] = []
    task = runner.start("call_1", get(server.url("/late")), answers.append)
    await server.held.wait()

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    await asyncio.wait_for(server.dropped.wait(), ENOUGH_S)
    assert answers == []


async def test_a_passing_problem_is_tried_again_where_that_is_safe(server: ToolServer, run: Run) -> None:
    answer = await run(get(server.url("/second-time"), retry=True))

    assert answer.outcome is ToolOutcome.OK
    assert len(server.requests) == 2


async def test_a_lasting_problem_is_tried_only_so_often(server: ToolServer, run: Run) -> None:
    answer = await run(get(server.url("/down"), retry=True))

    assert answer.outcome is ToolOutcome.FAILED
    assert len(server.requests) == TRIES_MAX


async def test_a_refusal_is_not_tried_again(server: ToolServer, run: Run) -> None:
    await run(get(server.url("/conflict"), retry=True))

    assert len(server.requests) == 1


async def test_body_and_headers_arrive_and_nothing_of_the_environment(
    server: ToolServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    request = HttpRequest(
        "POST", server.url("/json"), (("Authorization", "Bearer s"),), b'{"a":1}', ENOUGH_S, False, 8192
    )

    answer = await run(request)

    assert answer.outcome is ToolOutcome.OK
    assert "Authorization: Bearer s" in server.requests[0]
    assert server.requests[0].endswith('\r\n\r\n{"a":1}')


async def test_a_host_that_is_named_literally_may_lie_at_a_private_address(
    server: ToolServer, run: Run, names: Names
) -> None:
    names.addresses["desk.internal.example"] = [["127.0.0.1"]]

    answer = await run(get(server.url("/json", "desk.internal.example")))

    assert answer.outcome is ToolOutcome.OK
    assert f"Host: desk.internal.example:{server.port}" in server.requests[0]


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
        *("224.0.0.1", "ff02::1"),
    ],
)
async def test_a_host_behind_a_wildcard_must_not_lie_at_a_private_address(
    server: ToolServer, run: Run, names: Names, address: str
) -> None:
    names.addresses["a.rebound.example"] = [[address]]

    answer = await run(get(server.url("/json", "a.rebound.example"), retry=True))

    assert answer.outcome is ToolOutcome.FAILED
    assert server.requests == []
    assert names.asked == 1, "it is not tried again"


async def test_a_name_that_points_elsewhere_a_moment_later_leads_nowhere(
    server: ToolServer, run: Run, names: Names
) -> None:
    # TEST-NET-3 answers nobody; what matters is that the second answer of the name is never used.
    names.addresses["a.rebound.example"] = [["203.0.113.1"], ["127.0.0.1"]]

    answer = await run(get(server.url("/json", "a.rebound.example"), timeout_s=0.2))

    assert answer.outcome in {ToolOutcome.TIMEOUT, ToolOutcome.FAILED}
    assert names.asked == 1
    assert server.requests == []


async def test_a_host_that_is_not_listed_is_not_even_looked_up(run: Run, names: Names) -> None:
    answer = await run(replace(get("https://elsewhere.example/json")))

    assert answer.outcome is ToolOutcome.FAILED
    assert names.asked == 0


async def test_a_fault_of_ours_is_an_answer_too(names: Names, run: Run, error_logs: ErrorLogs) -> None:
    # What `is_public` raises for it is an exception that nobody planned for.
    error_logs.expect("tool-fault")
    names.addresses["a.rebound.example"] = [["no address at all"]]

    answer = await run(get("https://a.rebound.example/"))

    assert answer.outcome is ToolOutcome.FAILED
    assert json.loads(answer.output) == {"ok": False, "error": "The service cannot be called."}
