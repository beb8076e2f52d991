"""The read API on the six made-up calls: lists, filters, one call, search, keys and problems."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import analysts_calls
import console_world
import event_logs
import httpx
import pytest
import pytest_asyncio
from console_world import OFFICER, TAKER, console

from trunkline_local.postgres_server import PostgresServer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def six_calls_url(postgres_server: PostgresServer, migrated_template: str) -> AsyncIterator[str]:
    """The address of a database with the six calls."""
    name = "console"
    url = await postgres_server.create_database(name, migrated_template)
    await console_world.store(url, analysts_calls.logs())
    yield url
    await postgres_server.drop_database(name)


@pytest.fixture
async def client(six_calls_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with console(six_calls_url) as client:
        yield client


async def get(client: httpx.AsyncClient, path: str, **parameters: Any) -> Any:
    response = await client.get(path, params=parameters)
    assert response.status_code == 200, response.text
    return response.json()


async def listed(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    return [call["call_id"] for call in (await get(client, "/v1/calls", **parameters))["calls"]]


async def test_calls_are_listed_newest_first(client: httpx.AsyncClient) -> None:
    assert await listed(client) == ["CA05", "CA04", "CA03", "CA02", "CA01", "CA06"]


async def test_a_call_in_a_list_has_its_figures(client: httpx.AsyncClient) -> None:
    page = await get(client, "/v1/calls", **{"from": "2026-11-20T09:30:00Z", "to": "2026-11-20T09:30:01Z"})

    (call,) = page["calls"]
    assert call["turns"] == 4
    assert call["tool_calls"] == 2
    assert call["median_response_ms"] == 700
    assert call["cost_usd"] == pytest.approx(0.0306 + 0.031 + 5 * 0.017 / 60)
    assert call["caller"] is None
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"agent": "after-hours"}, ["CA04", "CA03"]),
        ({"outcome": "upstream"}, ["CA04"]),
        ({"reason": "never-attached"}, ["CA03"]),
        ({"from": "2026-11-21", "to": "2026-12-01"}, ["CA04", "CA03"]),
        ({"min_duration_ms": 30_000, "max_duration_ms": 60_000}, ["CA02", "CA01"]),
        ({"interrupted": "true"}, ["CA02"]),
        ({"live": "true"}, ["CA06"]),
        ({"live": "false", "agent": "front-desk"}, ["CA05", "CA02", "CA01"]),
        ({"min_cost_usd": "0.05"}, ["CA02"]),
        ({"max_cost_usd": "0"}, ["CA05", "CA03"]),
        ({"agent": "' or 1=1 --"}, []),
    ],
)
async def test_a_filter_leaves_the_calls_that_it_says(
    client: httpx.AsyncClient, filters: dict[str, Any], expected: list[str]
) -> None:
    assert await listed(client, **filters) == expected


async def test_pages_are_stable_while_calls_come_in(migrated_database_url: str) -> None:
    logs = [event_logs.call(f"CA{number:03}", turns=1) for number in range(30)]
    await console_world.store(migrated_database_url, itertools.chain.from_iterable(logs[:20]))
    async with console(migrated_database_url) as client:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while page := await get(client, "/v1/calls", limit=7, **cursor):
            seen += [call["call_id"] for call in page["calls"]]
            # Newer than everything on the pages to come.
            await console_world.store(migrated_database_url, logs[20 + len(seen) // 7])
            if not page["next_cursor"]:
                break
            cursor = {"cursor": page["next_cursor"]}

    assert seen == [f"CA{number:03}" for number in reversed(range(20))]


async def test_pages_by_cost_go_on_where_the_last_one_stopped_looking(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline_transcripts.console.calls_queries.SCANNED_MAX", 2)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while page := await get(client, "/v1/calls", max_cost_usd=0, **cursor):
        seen += [call["call_id"] for call in page["calls"]]
        if not page["next_cursor"]:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen == ["CA05", "CA03"]


async def test_one_call_is_told_whole(client: httpx.AsyncClient) -> None:
    call = await get(client, "/v1/calls/CA02")

    assert [turn["text"] for turn in call["conversation"]] == [
        "What does a check up cost?",
        "Sixty dollars. That includes two x rays.",
        "Thanks, please book me in.",
        "You are booked.",
    ]
    assert call["conversation"][1]["latency"]["model_ms"] == 428
    assert call["conversation"][0]["latency"] is None
    (interruption,) = call["interrupted_turns"]
    assert interruption["heard_text"] == "Sixty dollars."
    assert interruption["unheard_ms"] == 2600
    assert interruption["caller_text"] == "Thanks, please book me in."
    assert [(tool["name"], tool["outcome"]) for tool in call["tools"]] == [
        ("book", "timeout"),
        ("book", "ok"),
    ]
    assert call["cost"]["cost_usd"] == pytest.approx(
        call["cost"]["response_usd"] + call["cost"]["transcription_usd"]
    )


async def test_one_call_tells_its_owners(client: httpx.AsyncClient) -> None:
    call = await get(client, "/v1/calls/CA05")

    assert [(owner["worker"], owner["cause"], owner["lost_ms"]) for owner in call["owners"]] == [
        ("w1", None, None),
        ("w2", "worker-lost", 420),
        ("w3", "handover", None),
    ]


async def test_search_shows_what_was_found_and_where(client: httpx.AsyncClient) -> None:
    page = await get(client, "/v1/search", q='"two x" rays -price')

    assert page["match"] == "words"
    (hit,) = page["hits"]
    assert (hit["call_id"], hit["speaker"], hit["agent"]) == ("CA02", "agent", "front-desk")
    assert [part["text"] for part in hit["snippet"] if part["match"]] == ["two", "x", "rays"]
    assert "".join(part["text"] for part in hit["snippet"]) == "Sixty dollars. That includes two x rays"


async def test_search_takes_the_same_filters(client: httpx.AsyncClient) -> None:
    everywhere = await get(client, "/v1/search", q="open")
    there = await get(client, "/v1/search", q="open", agent="front-desk", to="2026-02-01")

    assert [hit["call_id"] for hit in everywhere["hits"]] == ["CA05", "CA01", "CA06"]
    assert [hit["call_id"] for hit in there["hits"]] == ["CA06"]


async def test_a_misspelt_word_finds_what_is_spelt_like_it(client: httpx.AsyncClient) -> None:
    page = await get(client, "/v1/search", q="opne saterday")

    assert (page["match"], page["searched_for"]) == ("similar", "open saturday")
    assert [hit["call_id"] for hit in page["hits"]] == ["CA01", "CA06"]


async def test_pages_of_a_search_go_on(client: httpx.AsyncClient) -> None:
    first = await get(client, "/v1/search", q="opne", limit=2)
    second = await get(client, "/v1/search", q=first["searched_for"], limit=2, cursor=first["next_cursor"])

    assert [hit["call_id"] for hit in first["hits"] + second["hits"]] == ["CA05", "CA01", "CA06"]
    assert second["next_cursor"] is None


async def test_spoken_markup_stays_text(migrated_database_url: str) -> None:
    spoken = "<script>alert(1)</script> \ue000open\ue001 sesame"
    await console_world.store(
        migrated_database_url, event_logs.log_of([event_logs.started(), event_logs.caller_turn(text=spoken)])
    )
    async with console(migrated_database_url) as client:
        page = await get(client, "/v1/search", q="sesame")

    assert [part["text"] for part in page["hits"][0]["snippet"] if part["match"]] == ["sesame"]


async def test_the_number_of_a_caller_takes_a_scope(six_calls_url: str) -> None:
    for key, expected in ((console_world.READER, None), (OFFICER, analysts_calls.CALLER)):
        async with console(six_calls_url, key) as client:
            call = await get(client, "/v1/calls/CA01")
            (listed_call,) = (await get(client, "/v1/calls", to="2026-02-01"))["calls"]

        assert call["caller"] == listed_call["caller"] == expected


def _problem(response: httpx.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == response.status_code
    return f"{response.status_code} {body['type'].removeprefix('urn:trunkline:problem:')}"


@pytest.mark.parametrize(
    ("key", "expected"),
    [(None, "401 unauthorized"), ("wrong", "401 unauthorized"), (TAKER, "403 forbidden")],
)
async def test_a_key_without_the_scope_is_refused(six_calls_url: str, key: str | None, expected: str) -> None:
    async with console(six_calls_url, key) as client:
        response = await client.get("/v1/calls")

    assert _problem(response) == expected


async def test_a_key_may_ask_only_so_often(six_calls_url: str) -> None:
    async with console(six_calls_url, console_requests_per_minute=1) as client:
        responses = [await client.get("/v1/calls", params={"limit": 1}) for _ in range(6)]

    assert [response.status_code for response in responses] == [200] * 5 + [429]
    assert _problem(responses[-1]) == "429 too-many-requests"
    assert int(responses[-1].headers["retry-after"]) in range(1, 61)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/calls?limit=0", "422 invalid"),
        ("/v1/calls?limit=201", "422 invalid"),
        ("/v1/calls?limit=99999999999999999999999", "422 invalid"),
        ("/v1/calls?agent=a%00b", "422 invalid"),
        ("/v1/calls?from=0001-01-01", "422 invalid"),
        ("/v1/calls?from=yesterday", "422 invalid"),
        ("/v1/calls?from=2026-11-21&to=2026-11-20", "422 invalid"),
        ("/v1/calls?min_duration_ms=9&max_duration_ms=8", "422 invalid"),
        ("/v1/calls?min_cost_usd=NaN", "422 invalid"),
        ("/v1/calls?min_cost_usd=1e400", "422 invalid"),
        ("/v1/calls?outcome=bad", "422 invalid"),
        ("/v1/calls?agnet=desk", "422 invalid"),
        ("/v1/calls?cursor=AAAA", "400 bad-cursor"),
        ("/v1/calls?cursor=%F0%9F%98%80", "422 invalid"),
        (f"/v1/calls?cursor={'A' * 500}", "422 invalid"),
        ("/v1/search", "422 invalid"),
        ("/v1/search?q=", "422 invalid"),
        ("/v1/search?q=%00", "422 invalid"),
        ("/v1/search?q=%22-%22", "422 invalid"),
        (f"/v1/search?q={'a' * 201}", "422 invalid"),
        ("/v1/calls/CA99", "404 no-such-call"),
        ("/v1/calls/CA%00", "422 invalid"),
        ("/v1/calls/CA01'%20or%201=1", "422 invalid"),
        ("/v2", "404 no-such-page"),
    ],
)
async def test_bad_input_gets_a_problem(client: httpx.AsyncClient, path: str, expected: str) -> None:
    assert _problem(await client.get(path)) == expected


async def test_a_cursor_of_another_question_is_refused(client: httpx.AsyncClient) -> None:
    cursor = (await get(client, "/v1/calls", limit=1))["next_cursor"]

    for path, parameters in (("/v1/calls", {"agent": "front-desk"}), ("/v1/search", {"q": "open"})):
        response = await client.get(path, params={**parameters, "cursor": cursor})
        assert _problem(response) == "400 bad-cursor"


async def test_only_get_is_served_and_without_a_body(client: httpx.AsyncClient) -> None:
    posted = await client.post("/v1/calls")
    large = await client.request("GET", "/v1/calls", content=b"x" * 100_000)

    assert _problem(posted) == "405 method-not-allowed"
    assert posted.headers["allow"] == "GET"
    assert _problem(large) == "413 body-too-large"


async def test_without_postgres_the_answer_says_when_to_try_again() -> None:
    async with console("postgresql+asyncpg://nobody@127.0.0.1:1/nothing?ssl=disable") as client:
        response = await client.get("/v1/calls")

    assert _problem(response) == "503 database-away"
    assert response.headers["retry-after"] == "2"
