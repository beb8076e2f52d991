"""The console's pages without a browser: what is escaped, who is let in, and what is refused."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import console_world
import httpx
import pytest
import pytest_asyncio
import shown_calls
from console_world import OFFICER, READER, TAKER
from shown_calls import CALL_ID

from trunkline_local.postgres_server import PostgresServer
from trunkline_transcripts.console import app
from trunkline_transcripts.console.pages import rendering, sessions

BEGAN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
HTML = {"Accept": "text/html,*/*;q=0.8"}
ANYBODY = {"console_api_keys": ""}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shown_url(postgres_server: PostgresServer, migrated_template: str) -> AsyncIterator[str]:
    """The address of a database with the call in which everything happened."""
    name = "console_pages"
    url = await postgres_server.create_database(name, migrated_template)
    await console_world.store(url, shown_calls.everything(BEGAN))
    yield url
    await postgres_server.drop_database(name)


@contextlib.asynccontextmanager
async def pages(
    database_url: str, host: str = "localhost", **variables: str | int
) -> AsyncIterator[httpx.AsyncClient]:
    routes, reading = console_world.application(console_world.settings(database_url, **variables))
    transport = httpx.ASGITransport(app.guarded(routes), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}", headers=HTML) as client:
        yield client
    await reading.close()


@contextlib.asynccontextmanager
async def signed_in(database_url: str, key: str = READER) -> AsyncIterator[httpx.AsyncClient]:
    async with pages(database_url) as client:
        response = await client.post("/sign-in", data={"key": key})
        assert (response.status_code, response.headers["location"]) == (303, "/")
        yield client


async def test_without_a_session_every_page_leads_to_the_form_and_the_form_back(shown_url: str) -> None:
    async with pages(shown_url) as client:
        for path in ("/", f"/calls/{CALL_ID}", "/search?q=a&agent=b", "/days"):
            asked = await client.get(path)
            form = await client.get(asked.headers["location"])
            signed = await client.post("/sign-in", data={"key": READER, "next": path})

            assert asked.status_code == 303
            assert f'name="next" value="{path.replace("&", "&amp;")}"' in form.text
            assert signed.headers["location"] == path
            client.cookies.clear()
        live = await client.get("/live", headers={"Accept": "text/event-stream"})

    assert (live.status_code, live.json()["title"]) == (401, "No valid API key")


@pytest.mark.parametrize(
    ("host", "name", "secure"),
    [
        ("127.0.0.1", "trunkline-session", False),
        ("console.example", "__Host-trunkline-session", True),
    ],
)
async def test_the_cookie_is_kept_from_scripts_other_sites_and_plain_http(
    shown_url: str, host: str, name: str, secure: bool
) -> None:
    async with pages(shown_url, host) as client:
        response = await client.post("/sign-in", data={"key": READER})

    cookie, *attributes = response.headers["set-cookie"].split("; ")
    assert cookie.startswith(f"{name}=reader.")
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={sessions.LIFETIME_S}"} <= set(attributes)
    assert ("Secure" in attributes) == secure


async def test_signing_out_ends_the_session(shown_url: str) -> None:
    async with signed_in(shown_url) as client:
        inside = await client.get("/")
        left = await client.post("/sign-out")
        outside = await client.get("/")

    assert (inside.status_code, left.status_code, outside.status_code) == (200, 303, 303)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_form_of_another_site_is_refused(shown_url: str, headers: dict[str, str]) -> None:
    async with pages(shown_url) as client:
        response = await client.post("/sign-in", data={"key": READER}, headers=headers)

    assert response.status_code == 403
    assert "set-cookie" not in response.headers


async def test_wrong_keys_are_refused_and_soon_nobody_from_there_may_try(shown_url: str) -> None:
    async with pages(shown_url) as client:
        wrong = [await client.post("/sign-in", data={"key": "wrong"}) for _ in range(sessions.FAILURES_MAX)]
        right = await client.post("/sign-in", data={"key": READER})

    assert {response.status_code for response in wrong} == {403}
    assert right.status_code == 429
    assert 0 < int(right.headers["retry-after"]) <= sessions.FAILURES_WINDOW_S


async def test_a_key_that_may_not_read_calls_does_not_open_the_pages(shown_url: str) -> None:
    async with pages(shown_url) as client:
        response = await client.post("/sign-in", data={"key": TAKER})

    assert response.status_code == 403
    assert "lacks the scope calls" in response.text


@pytest.mark.parametrize(
    "wanted", ["//elsewhere.example", "/\\elsewhere.example", "https://elsewhere.example", "x"]
)
async def test_signing_in_leads_to_no_other_site(shown_url: str, wanted: str) -> None:
    async with pages(shown_url) as client:
        response = await client.post("/sign-in", data={"key": READER, "next": wanted})

    assert response.headers["location"] == "/"


async def test_a_large_form_is_refused(shown_url: str) -> None:
    async def piecemeal() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"a" * 1000

    async with pages(shown_url) as client:
        response = await client.post("/sign-in", content=piecemeal())

    assert response.status_code == 413


async def test_without_keys_the_pages_are_open_and_say_so_to_this_machine_only(shown_url: str) -> None:
    async with pages(shown_url, **ANYBODY) as client:
        shown = await client.get("/")
    # A name of somebody else's that points to this machine (DNS rebinding).
    async with pages(shown_url, "127.0.0.1.elsewhere.example", **ANYBODY) as client:
        refused = [(await client.get(path)).status_code for path in ("/", "/v1/calls", "/live")]

    assert "open: no keys are set" in shown.text
    assert refused == [403, 403, 403]


async def test_what_was_said_stays_text(shown_url: str) -> None:
    async with signed_in(shown_url) as client:
        call = await client.get(f"/calls/{CALL_ID}")
        search = await client.get("/search", params={"q": "Sons"})
        asked = await client.get("/search", params={"q": '"><script>x</script>'})

    for page in (call, search, asked):
        assert page.status_code == 200
        assert page.text.count("<script") == 1, "only our own"
    assert "&lt;script&gt;alert(&#39;spoken&#39;)&lt;/script&gt;" in call.text
    assert "<mark>Sons</mark>" in search.text


async def test_every_answer_comes_with_the_policy_and_has_nothing_inline(shown_url: str) -> None:
    async with signed_in(shown_url) as client:
        for path in ("/", f"/calls/{CALL_ID}", "/search?q=open", "/days", "/calls/none", "/nowhere"):
            response = await client.get(path)

            assert response.headers["content-security-policy"] == rendering.POLICY, path
            assert response.headers["cache-control"] == "no-store"
            assert " style=" not in response.text
            assert "<style" not in response.text
            assert "onclick" not in response.text


async def test_what_nobody_heard_is_struck_through_and_said_in_words(shown_url: str) -> None:
    async with signed_in(shown_url) as client:
        page = await client.get(f"/calls/{CALL_ID}")

    unheard = '<del><span class="hidden">Said, but not heard: </span>a cleaning, and two small x rays.'
    assert f"That includes an examination, {unheard}" in page.text
    assert "interrupted after 3.9 s" in page.text


async def test_a_call_shows_what_happened_between_its_turns_in_order(shown_url: str) -> None:
    async with signed_in(shown_url) as client:
        page = await client.get(f"/calls/{CALL_ID}")

    told = [
        "Hello, Riverside Dental",
        "Model session 1 lost: close-1006",
        "opening_hours(day: &#34;Saturday&#34;)",
        "On Saturdays we are open",
        "timeout",
        "worker-b took over: worker-lost",
        "You are booked for Saturday at ten.",
        "Transfer to reception: no-answer",
        "No transcript: failed.",
        "Limit reached: silence",
        "I will call you back.",
    ]
    conversation = page.text[page.text.index('id="said-title"') :]
    places = [conversation.find(text) for text in told]
    assert -1 not in places, told[places.index(-1)]
    assert places == sorted(places)


async def test_the_number_of_a_caller_takes_a_scope(shown_url: str) -> None:
    for key, expected in ((READER, False), (OFFICER, True)):
        async with signed_in(shown_url, key) as client:
            found = [await client.get(path) for path in ("/", f"/calls/{CALL_ID}")]

        assert [shown_calls.CALLER in page.text for page in found] == [expected, expected]


async def test_older_calls_are_a_link_away(migrated_database_url: str) -> None:
    await console_world.store(migrated_database_url, shown_calls.weeks(BEGAN, days=2, calls_a_day=60))
    async with signed_in(migrated_database_url) as client:
        first = await client.get("/?agent=front-desk&limit=10")
        link = first.text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
        second = await client.get(link)

    assert "agent=front-desk" in link
    calls = [page.text.count('<th scope="row"><a href="/calls/') for page in (first, second)]
    assert calls == [10, 10]
    assert "⇤ Newest" in second.text


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/?from=yesterday", 422, "from: must be such as 2026-11-20"),
        ("/?min_s=long", 422, "min_duration_ms: "),
        ("/?agnet=desk", 422, "agnet: there is no such filter"),
        ("/?cursor=AAAA", 400, "The cursor is of no use here"),
        ("/?agent=nobody", 200, "No call matches."),
        ("/?outcome=&agent=", 200, CALL_ID),
        ("/?min_s=50", 200, CALL_ID),
        ("/search", 200, "Words that were said in one turn"),
        ("/search?q=%22-%22", 422, "holds no word"),
        ("/search?q=zzzzzz", 200, "Nobody said that."),
        ("/days?until=2026-11-22&days=7", 200, "$0.1480"),
        ("/days?until=2020-01-31", 200, "No calls began in the 14 days"),
        ("/days?days=1000", 422, "days: "),
        ("/days?until=0001-01-01", 422, "until: "),
        ("/calls/none", 404, "There is no such call"),
        ("/calls/a%00b", 404, "There is no such call"),
        ("/nowhere", 404, "There is no such page"),
    ],
)
async def test_every_question_gets_a_page(shown_url: str, path: str, status: int, told: str) -> None:
    async with signed_in(shown_url) as client:
        response = await client.get(path)

    assert response.status_code == status
    assert told in response.text


async def test_static_files_are_kept_for_ever_under_their_version(shown_url: str) -> None:
    async with pages(shown_url) as client:
        form = await client.get("/sign-in")
        script = await client.get(f"/static/{rendering.VERSION}/console.js")
        old = await client.get("/static/another/console.css")
        none = await client.get(f"/static/{rendering.VERSION}/..%2f__init__.py")

    assert f"/static/{rendering.VERSION}/console.css" in form.text
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert "immutable" in script.headers["cache-control"]
    assert (old.status_code, old.headers["cache-control"]) == (200, "no-store")
    assert none.status_code == 404


async def test_without_postgres_the_page_says_so() -> None:
    async with signed_in("postgresql+asyncpg://nobody@127.0.0.1:1/nothing?ssl=disable") as client:
        response = await client.get("/")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert "Postgres cannot be used now" in response.text
