"""How fast `trunkline console` answers on 100,000 calls with 3,000,000 turns.

    python -m bench.console_api --calls 100000

Makes the calls inside Postgres, from a seed, spread over six months; words are as unevenly common as in speech. Then
asks one question after the other, as a person does, each kind of question many times with other values.
"""

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import asyncpg
import click
import httpx

from trunkline_local.nats_server import NatsServer
from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, free_port, trunkline
from trunkline_transcripts.months import TABLES

TURNS_PER_CALL: Final = 30
DAYS: Final = 180
MONTHS: Final = 7
CALLS_PER_LOT: Final = 2_000
VOCABULARY: Final = 20_000
WORDS_PER_TURN: Final = 9
TARGET_P95_MS: Final = 100
AGENTS: Final = ("front-desk", "after-hours", "billing", "sales", "dutch-desk", "rare-desk")


@click.command()
@click.option("--calls", default=100_000, show_default=True, help=f"Calls of {TURNS_PER_CALL} turns each.")
@click.option("--minutes", default=10.0, show_default=True, help="How long making them may take.")
@click.option("--requests", default=200, show_default=True, help="Questions of each kind.")
@click.option("--seed", default=1, show_default=True, help="Draws the calls and the questions.")
def command(calls: int, minutes: float, requests: int, seed: int) -> None:
    """Measure lists, filters, search and single calls."""
    asyncio.run(_measure(calls, minutes, requests, seed))


async def _measure(calls: int, minutes: float, requests: int, seed: int) -> None:
    async with contextlib.AsyncExitStack() as at_the_end:
        folder = Path(at_the_end.enter_context(tempfile.TemporaryDirectory()))
        nats_server = await at_the_end.enter_async_context(NatsServer.start(folder / "nats"))
        postgres = await at_the_end.enter_async_context(PostgresServer.start(folder / "postgres"))
        port = free_port()
        environment = {"NATS_URL": nats_server.url, "DATABASE_URL": postgres.url, "PORT": str(port)}
        environment["CONSOLE_REQUESTS_PER_MINUTE"] = "100000"
        async with Process.start("migrate", trunkline("migrate"), folder, environment) as migrate:
            await migrate.exited()
        database = await asyncpg.connect(postgres.url.replace("+asyncpg", ""), password="")
        at_the_end.push_async_callback(database.close)
        draw = random.Random(seed)  # noqa: S311
        words = vocabulary(draw)
        made = await _fill(database, words, calls, minutes * 60)
        await at_the_end.enter_async_context(
            Process.start("console", trunkline("console"), folder, environment)
        )
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await _ready(client)
            await _ask_all(client, draw, words, made, requests)


async def _ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get("/readyz")).is_success:
                    return
            await asyncio.sleep(0.1)


def vocabulary(draw: random.Random) -> list[str]:
    """Return made-up words, the most common first."""
    parts = ["ba", "ne", "to", "li", "sur", "men", "ka", "dor", "vi", "pel", "shu", "gra", "on", "ter", "ist"]
    words: dict[str, None] = dict.fromkeys(["the", "and", "you", "open", "price", "saturday"])
    while len(words) < VOCABULARY:
        words["".join(draw.choices(parts, k=draw.randint(2, 4)))] = None
    return list(words)


async def _fill(database: asyncpg.Connection, words: list[str], calls: int, limit_s: float) -> int:
    """Make the calls; return how many there are when the time is up."""
    began_s = time.monotonic()
    await database.execute("select setseed(0.5)")
    for table in TABLES:
        for ago in range(MONTHS):
            await database.execute(
                "select make_month($1, cast(now() - make_interval(months => $2) as date))", table, ago
            )
    # Its index of words is made at the end at once, as it would be for a copy of a table.
    await database.execute("drop index turns_words")
    await database.execute("create temporary table vocabulary (n integer primary key, word text)")
    await database.copy_records_to_table("vocabulary", records=list(enumerate(words)))
    made = 0
    while made < calls and time.monotonic() < began_s + limit_s:
        lot = min(CALLS_PER_LOT, calls - made)
        async with database.transaction():
            for statement in FILL:
                await database.execute(
                    statement, made, made + lot - 1, *([calls, AGENTS[:5]] if statement is FILL[0] else [])
                )
        made += lot
    await database.execute("create index turns_words on turns using gin (words)")
    learned_s = time.monotonic()
    await database.execute("set work_mem = '64MB'")
    learned = await database.fetchval(
        "select learn_turn_words(now() - make_interval(days => $1), 3)", DAYS // 6
    )
    click.echo(f"{learned:,} words learned in {time.monotonic() - learned_s:.1f} s")
    await database.execute("vacuum analyze")
    size = await database.fetchval("select pg_size_pretty(pg_database_size(current_database()))")
    click.echo(
        f"{made:,} of {calls:,} calls, {made * TURNS_PER_CALL:,} turns, {size}, "
        f"made in {time.monotonic() - began_s:.0f} s"
    )
    return made


FILL: Final = (
    """
    insert into calls (
        call_started_at, call_id, caller, called, agent, worker, model, answered_at, ended_at, duration_ms, outcome,
        reason, interruptions, started_from, ended_from
    )
    select
        at, 'CA' || lpad(to_hex(n), 8, '0'), '+1555' || lpad(cast(n % 9999 as text), 7, '0'), '+15550002222',
        case when n % 1000 = 7 then 'rare-desk' else (cast($4 as text[]))[1 + n % 5] end,
        'w' || n % 20, 'gpt-realtime', at + interval '1 second',
        case when n >= $3::integer - 50 then null else at + interval '2 minutes' end,
        cast(20000 + 200000 * random() as integer),
        case when n >= $3::integer - 50 then null when n % 200 = 3 then 'upstream' else 'success' end,
        case when n >= $3::integer - 50 then null when n % 200 = 3 then 'model-lost' else 'caller-hung-up' end,
        cast(floor(3 * random()) as integer), '{1,1,0}', '{1,1,99}'
    from (
        select n, now() - make_interval(secs => 86400.0 * 180 * ($3::integer - n) / $3::integer) as at
        from generate_series($1::integer, $2::integer) as n
    ) as numbered
    """,
    """
    insert into turns (
        call_started_at, call_id, attach, assign, item_id, speaker, position, start_ms, end_ms, text, heard_text,
        generated_ms, heard_ms, interrupted, transcription, revision, response_ms, model_ms, worker_ms
    )
    select
        call_started_at, call_id, 1, 1, 'item_' || position, case when is_agent then 'agent' else 'caller' end,
        position, 4000 * position, 4000 * position + 3000, said, case when is_agent then said end,
        case when is_agent then 3000 end, case when is_agent then 3000 end, case when is_agent then false end,
        case when not is_agent then 'completed' end, 1, case when is_agent then 300 + 600 * random() end,
        case when is_agent then 250 end, case when is_agent then 1 end
    from (
        select
            call_started_at, call_id, position, position % 2 = 0 as is_agent,
            (
                select string_agg(word, ' ')
                from (
                    select cast(floor(20000 * power(random(), 5 + 0 * position)) as integer) as n
                    from generate_series(1, 9)
                    where position > 0 and call_id <> ''
                ) as drawn
                join vocabulary using (n)
            ) as said
        from calls
        cross join generate_series(1, 30) as position
        where call_id between 'CA' || lpad(to_hex($1::integer), 8, '0') and 'CA' || lpad(to_hex($2::integer), 8, '0')
    ) as spoken
    """,
    """
    insert into usage (
        call_started_at, call_id, attach, assign, n, at, response_id, input_tokens, input_text_tokens,
        input_audio_tokens, cached_tokens, output_tokens, output_text_tokens, output_audio_tokens, model, cost_usd
    )
    select call_started_at, call_id, 1, 1, position, call_started_at, 'resp_' || position, 900, 200, 700, 500, 300,
        100, 200, 'gpt-realtime', round(cast(0.02 * random() as numeric), 6)
    from turns
    where speaker = 'agent'
      and call_id between 'CA' || lpad(to_hex($1::integer), 8, '0') and 'CA' || lpad(to_hex($2::integer), 8, '0')
    """,
    """
    insert into transcription_usage (
        call_started_at, call_id, attach, assign, n, at, item_id, model, seconds, cost_usd
    )
    select call_started_at, call_id, 1, 1, 100 + position, call_started_at, item_id, 'whisper', 3, 0.00085
    from turns
    where speaker = 'caller'
      and call_id between 'CA' || lpad(to_hex($1::integer), 8, '0') and 'CA' || lpad(to_hex($2::integer), 8, '0')
    """,
    """
    insert into tool_calls (call_started_at, call_id, tool_call_id, called_at, name, arguments, at_ms, outcome)
    select call_started_at, call_id, 'call_' || position, call_started_at, 'book', '{}', 4000, 'ok'
    from turns
    where position % 10 = 4
      and call_id between 'CA' || lpad(to_hex($1::integer), 8, '0') and 'CA' || lpad(to_hex($2::integer), 8, '0')
    """,
)
"""Each makes the rows of the calls from number $1 to $2 of $3; their names sort by age. The numbers above stand in it."""


def questions(draw: random.Random, words: list[str], calls: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each kind of question, and what makes one: a path and its parameters."""

    def a_day() -> dict[str, str]:
        begin = datetime.now(UTC) - timedelta(days=draw.randint(1, DAYS - 1))
        return {"from": begin.isoformat()[:10], "to": (begin + timedelta(days=1)).isoformat()[:10]}

    def call_id() -> str:
        return f"/v1/calls/CA{draw.randrange(calls):08x}"

    def list_by(**filters: Any) -> Callable[[], Any]:
        return lambda: ("/v1/calls", filters)

    def search_for(first: int, last: int, count: int = 1) -> Callable[[], Any]:
        return lambda: ("/v1/search", {"q": " ".join(draw.choices(words[first:last], k=count))})

    yield "list, newest 50", list_by()
    yield "list, newest 200", list_by(limit=200)
    yield "list, one day", lambda: ("/v1/calls", a_day())
    yield "by agent, 1 of 5", list_by(agent="billing")
    yield "by agent, 1 of 1,000", list_by(agent=AGENTS[-1])
    yield "by agent that there is not", list_by(agent="nobody")
    yield "by outcome, 1 of 200", list_by(outcome="upstream")
    yield "by duration and interrupted", list_by(min_duration_ms=219_000, interrupted="true")
    yield "by duration that there is not", list_by(min_duration_ms=400_000)
    yield "live", list_by(live="true")
    yield "by cost, 1 of 2", list_by(min_cost_usd="0.15")
    yield "by cost that there is not", list_by(min_cost_usd="100")
    yield "one call", lambda: (call_id(), {})
    yield "search, a very common word", search_for(0, 6)
    yield "search, a common word", search_for(100, 400)
    yield "search, a rare word", search_for(10_000, VOCABULARY)
    yield "search, two common words", search_for(20, 200, 2)
    yield "search, three words", search_for(50, 2_000, 3)
    yield "search, misspelt", lambda: ("/v1/search", {"q": draw.choice(words[500:])[:-1] + "zx"})
    yield "search in one day", lambda: ("/v1/search", {"q": draw.choice(words[:50]), **a_day()})


async def _ask_all(
    client: httpx.AsyncClient, draw: random.Random, words: list[str], calls: int, requests: int
) -> None:
    click.echo(f"{'ms':32}{'p50':>8}{'p95':>8}{'p99':>8}")
    for name, make in questions(draw, words, calls):
        took_ms = []
        failed = 0
        for _ in range(requests):
            path, parameters = make()
            began_s = time.perf_counter()
            response = await client.get(path, params=parameters)
            took_ms.append(1000 * (time.perf_counter() - began_s))
            failed += not response.is_success
        cuts = quantiles(took_ms, n=100, method="inclusive")
        note = "" if cuts[94] < TARGET_P95_MS else "  above the target"
        note += f"  {failed} failed" if failed else ""
        click.echo(f"{name:32}{cuts[49]:8.1f}{cuts[94]:8.1f}{cuts[98]:8.1f}{note}")


if __name__ == "__main__":
    command()
