"""Debian's Chromium, driven by Playwright: a page that notes whatever goes wrong in it."""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

from infra import MS
from optional_tools import path_of
from playwright.async_api import Browser, Page, async_playwright, expect

expect.set_options(timeout=20_000 * 1000 * MS)

# Reported by the browser itself, so that what a policy blocked is seen wherever it happens.
_NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start a browser; the test is skipped, or fails in CI, where there is none."""
    program = path_of("chromium", "Debian's package chromium")
    # As root, in a container, there is nothing for its sandbox to stand on.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def page_of(browser: Browser, base_url: str, **options: Any) -> AsyncIterator[Page]:
    """Open a page in a profile of its own; at the end nothing may have been blocked, thrown or complained about."""
    context = await browser.new_context(base_url=base_url, timezone_id="Asia/Tokyo", **options)
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.add_init_script(_NOTE_VIOLATIONS)
    yield page
    complaints += await page.evaluate("window.violations")
    await context.close()
    assert not complaints, complaints
