"""Exports: every form holds every row once, however often it is cut and taken up again."""

import csv
import io
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import analysts_calls
import console_world
import event_logs
import httpx
import pyarrow.parquet
import pytest
import pytest_asyncio
from console_world import OFFICER, READER, TAKER, console

from trunkline_local.postgres_server import PostgresServer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def many_calls_url(postgres_server: PostgresServer, migrated_template: str) -> AsyncIterator[str]:
    """The address of a database with the six calls, and forty that all began in the same millisecond."""
    name = "export"
    url = await postgres_server.create_database(name, migrated_template)
    more = (event_logs.call(f"CB{number:02}", turns=3) for number in range(40))
    await console_world.store(url, itertools.chain(analysts_calls.logs(), *more))
    yield url
    await postgres_server.drop_database(name)


@pytest.fixture
async def client(many_calls_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with console(many_calls_url, TAKER) as client:
        yield client


async def export(client: httpx.AsyncClient, **parameters: Any) -> bytes:
    response = await client.get("/v1/export", params=parameters)
    assert response.status_code == 200, response.text
    return response.content


async def lines(client: httpx.AsyncClient, **parameters: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await export(client, format="jsonl", **parameters)).splitlines()]


async def test_every_form_holds_the_same_rows(client: httpx.AsyncClient) -> None:
    for what in ("calls", "turns"):
        json_lines = await lines(client, what=what)
        text = (await export(client, format="csv", what=what)).decode()
        table = pyarrow.parquet.read_table(io.BytesIO(await export(client, format="parquet", what=what)))

        cursors = [line["cursor"] for line in json_lines]
        assert len(set(cursors)) == len(json_lines) == {"calls": 46, "turns": 252}[what]
        assert [row["cursor"] for row in csv.DictReader(io.StringIO(text))] == cursors
        assert table.column("cursor").to_pylist() == cursors
        assert table.column_names == list(json_lines[0])


@pytest.mark.parametrize(("what", "page"), [("calls", 7), ("turns", 17)])
async def test_an_export_goes_on_where_it_was_cut(client: httpx.AsyncClient, what: str, page: int) -> None:
    whole = await lines(client, what=what)
    taken: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while lot := await lines(client, what=what, limit=page, **after):
        taken += lot
        after = {"after": lot[-1]["cursor"]}

    assert taken == whole


async def test_an_export_takes_filters(client: httpx.AsyncClient) -> None:
    found = await lines(client, what="turns", agent="front-desk", interrupted="true")

    assert {line["call_id"] for line in found} == {"CA02"}
    assert [line["position"] for line in found] == [1, 2, 3, 4]


async def test_numbers_of_callers_are_exported_for_those_who_may_see_them(many_calls_url: str) -> None:
    for key, expected in ((TAKER, {None}), (OFFICER, {analysts_calls.CALLER})):
        async with console(many_calls_url, key) as client:
            assert {line["caller"] for line in await lines(client)} == expected


async def test_an_export_takes_its_scope(many_calls_url: str) -> None:
    async with console(many_calls_url, READER) as client:
        response = await client.get("/v1/export?format=csv")

    assert response.status_code == 403


async def test_parquet_that_is_not_installed_is_a_problem(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trunkline_transcripts.console.export_formats.find_spec", lambda _: None)

    response = await client.get("/v1/export?format=parquet")

    assert response.status_code == 501
    assert "trunkline-transcripts[parquet]" in response.json()["detail"]


async def test_a_spoken_formula_stays_text_in_a_spreadsheet(migrated_database_url: str) -> None:
    spoken = event_logs.caller_turn(text="=1+1")
    await console_world.store(migrated_database_url, event_logs.log_of([event_logs.started(), spoken]))
    async with console(migrated_database_url, TAKER) as client:
        text = (await export(client, format="csv", what="turns")).decode()

    (row,) = csv.DictReader(io.StringIO(text))
    assert row["text"] == "'=1+1"
