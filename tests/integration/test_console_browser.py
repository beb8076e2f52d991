"""The console's pages in a real browser, served by a real process from a real Postgres and a real nats-server."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import console_world
import pytest
import pytest_asyncio
import shown_calls
from browser import chromium, page_of
from playwright.async_api import Browser, Page, StorageState, ViewportSize, expect
from shown_calls import CALL_ID
from transcripts_world import World, client_of

from trunkline_local.nats_server import NatsServer
from trunkline_local.postgres_server import PostgresServer
from trunkline_local.processes import Process, free_port, trunkline

BEGAN = datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
COLOURS: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
IN_TOKYO = "2026-11-21 03:00:00"

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Console:
    """A running console, and what it reads."""

    url: str
    world: World
    browser: Browser
    session: StorageState


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def console(
    postgres_server: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Console]:
    """Start everything once, and sign in: these tests only look."""
    folder = tmp_path_factory.mktemp("console")
    async with chromium() as browser, NatsServer.start(folder / "nats") as nats, client_of(nats) as client:
        database_url = await postgres_server.create_database("console_browser", migrated_template)
        await console_world.store(database_url, shown_calls.everything(BEGAN))
        await console_world.store(
            database_url, shown_calls.weeks(BEGAN - timedelta(hours=1), days=12, calls_a_day=3)
        )
        world = World(folder, nats.url, client, database_url)
        await world.make_stream()
        port = free_port()
        variables = {"DATABASE_URL": database_url, "NATS_URL": nats.url, "PORT": str(port)}
        variables["CONSOLE_API_KEYS"] = console_world.KEYS
        async with Process.start("console", trunkline("console"), folder, variables) as process:
            url = f"http://127.0.0.1:{port}"
            await process.wait_until_ready(f"{url}/readyz")
            async with page_of(browser, url) as page:
                await page.goto("/days")
                await page.get_by_label("API key").fill(console_world.OFFICER)
                await page.get_by_role("button", name="Sign in").click()
                await expect(page.get_by_role("heading", name="Days")).to_be_visible()
                session = await page.context.storage_state()
            yield Console(url, world, browser, session)
        await postgres_server.drop_database("console_browser")


@pytest_asyncio.fixture(loop_scope="session")
async def page(console: Console) -> AsyncIterator[Page]:
    """The first page, seen by somebody who has signed in."""
    size: ViewportSize = {"width": 1280, "height": 860}
    async with page_of(console.browser, console.url, storage_state=console.session, viewport=size) as page:
        await page.goto("/")
        yield page


async def test_calls_are_listed_in_the_viewers_zone_and_filtered(page: Page) -> None:
    row = page.get_by_role("row").filter(has_text=CALL_ID)
    await expect(row.locator("time")).to_have_text(IN_TOKYO)
    await expect(page.get_by_text("Times are in your zone, Asia/Tokyo.")).to_be_visible()

    await page.get_by_label("Ended by").select_option("caller-silent")
    await page.get_by_label("At least (s)").fill("50")
    await page.get_by_role("button", name="Filter").click()

    await expect(page.get_by_role("row")).to_have_count(2)
    await row.get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(CALL_ID)


async def test_what_was_searched_for_is_one_link_from_where_it_was_said(page: Page) -> None:
    await page.get_by_role("searchbox").fill('"two small x rays"')
    await page.keyboard.press("Enter")
    await expect(page.locator("mark").first).to_have_text("two")
    await page.get_by_role("link", name="at 0:14.4").click()

    await expect(page.locator("li:target")).to_contain_text("A check up is sixty dollars.")


async def test_an_interruption_shows_in_the_drawing_and_in_the_text_and_spoken_markup_is_text(
    page: Page,
) -> None:
    await page.goto(f"/calls/{CALL_ID}")

    drawing = page.get_by_role("img", name="Who spoke when, over 55.0 s.")
    heard = await drawing.locator("rect.bar.agent").nth(2).bounding_box()
    unheard = await drawing.locator("rect.bar.unheard").bounding_box()
    caller = await drawing.locator("rect.bar.caller").nth(2).bounding_box()
    assert heard is not None
    assert unheard is not None
    assert caller is not None
    assert unheard["x"] == pytest.approx(heard["x"] + heard["width"], abs=1)
    assert unheard["width"] / heard["width"] == pytest.approx(5_500 / 3_900, rel=0.02)
    assert caller["x"] < unheard["x"], "the caller cut in before the voice stopped"
    cut = page.get_by_role("listitem").filter(has_text="interrupted after 3.9 s")
    await expect(cut.get_by_role("deletion")).to_contain_text("Said, but not heard: a cleaning")
    await expect(page.get_by_role("paragraph").filter(has_text=shown_calls.MARKUP)).to_be_visible()


async def test_everything_is_reached_by_keyboard(page: Page) -> None:
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_be_focused()
    await page.get_by_role("link", name="Days").focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Days")).to_be_visible()
    await page.get_by_role("button", name="Sign out").focus()
    await page.keyboard.press("Enter")

    await expect(page.get_by_label("API key")).to_be_focused()


async def test_calls_come_and_go_in_the_list_by_themselves(page: Page, console: Console) -> None:
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    log = shown_calls.everything(datetime.now(UTC), "CAnew")
    await console.world.publish(log[:6])
    row = page.locator("#now").get_by_role("row").filter(has_text="CAnew")
    await expect(row).to_contain_text("Hello, Riverside Dental")
    await expect(page.locator("#announced")).to_have_text("A call began: front-desk.")
    await expect(page.locator("#now-count")).to_have_text("1")

    await console.world.publish(log[6:])
    await expect(row).to_contain_text("ended: caller-silent")
    await expect(page.locator("#now-count")).to_have_text("0")


async def test_a_call_that_goes_on_shows_what_was_said_last(page: Page, console: Console) -> None:
    log = shown_calls.everything(datetime.now(UTC), "CAlong")
    database_url = console.world.database_url
    await console_world.store(database_url, log[:6])
    await page.goto("/calls/CAlong")
    await expect(page.get_by_text("live", exact=True)).to_be_visible()
    await console_world.store(database_url, log[6:])
    await console.world.publish(log[6:])

    last = page.get_by_role("listitem").filter(has_text="I will call you back. Goodbye.")
    await expect(last).to_be_visible()
    await expect(page.locator(".call-head .verdict")).to_have_text("caller-silent")


async def test_pages_follow_the_colours_of_the_system(page: Page) -> None:
    for scheme in COLOURS:
        await page.emulate_media(color_scheme=scheme)
        for path in ("/days", f"/calls/{CALL_ID}"):
            await page.goto(path)
            picture = await page.screenshot()
            ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")

            channels = [int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")]
            assert (sum(channels) / 3 > 128) == (scheme == "light")
            assert len(picture) > 20_000, "something is on it"
