"""Sessions of the console's pages: who a cookie stands for, and who has sent too many wrong keys."""

import pytest

from trunkline_transcripts.console.keys import read_keys
from trunkline_transcripts.console.pages import sessions
from trunkline_transcripts.console.pages.sessions import (
    ADDRESSES_MAX,
    FAILURES_MAX,
    FAILURES_WINDOW_S,
    Failures,
)
from trunkline_transcripts.console.pages.visitors import own_path
from trunkline_transcripts.console.settings import is_loopback

SECRET = b"secret-of-the-tests"
KEYS = read_keys("reader:calls:reader-key-of-the-tests,other:calls:other-key-of-the-tests")
NOW_S = 1_795_353_000.5


def test_a_cookie_stands_for_its_key_until_it_expires() -> None:
    cookie = sessions.issue(SECRET, KEYS[0], NOW_S)

    assert sessions.read(SECRET, KEYS, cookie, NOW_S + sessions.LIFETIME_S - 1) is KEYS[0]
    assert sessions.read(SECRET, KEYS, cookie, NOW_S + sessions.LIFETIME_S) is None


def test_a_cookie_ends_with_its_key_and_with_the_secret() -> None:
    cookie = sessions.issue(SECRET, KEYS[0], NOW_S)

    assert sessions.read(SECRET, read_keys("reader:calls:another-key-of-the-tests"), cookie, NOW_S) is None
    assert sessions.read(SECRET, KEYS[1:], cookie, NOW_S) is None
    assert sessions.read(b"another", KEYS, cookie, NOW_S) is None


@pytest.mark.parametrize("change", ["name", "expiry", "signature", "length"])
def test_a_changed_cookie_is_nobodys(change: str) -> None:
    name, expires, signature = sessions.issue(SECRET, KEYS[0], NOW_S).split(".")
    changed = {
        "name": f"other.{expires}.{signature}",
        "expiry": f"{name}.{int(expires) + 1}.{signature}",
        "signature": f"{name}.{expires}.{'0' * 64}",
        "length": f"{name}.{expires}.{signature}\n",
    }

    assert sessions.read(SECRET, KEYS, changed[change], NOW_S) is None


def test_an_address_that_sent_too_many_wrong_keys_waits() -> None:
    failures = Failures()
    for _ in range(FAILURES_MAX - 1):
        failures.count("10.0.0.1", 100)
    before = failures.wait_s("10.0.0.1", 100)
    failures.count("10.0.0.1", 160)

    assert before == 0
    assert failures.wait_s("10.0.0.1", 160) == FAILURES_WINDOW_S - 60
    assert failures.wait_s("10.0.0.2", 160) == 0
    assert failures.wait_s("10.0.0.1", 100 + FAILURES_WINDOW_S) == 0


def test_failures_of_many_addresses_take_little_memory() -> None:
    failures = Failures()
    for number in range(ADDRESSES_MAX + 1):
        for _ in range(FAILURES_MAX):
            failures.count(str(number), 100)

    assert failures.wait_s("0", 100) == 0
    assert failures.wait_s("1", 100) > 0


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/calls/CA1?x=1", "/calls/CA1?x=1"),
        ("//elsewhere.example", "/"),
        ("/\\elsewhere.example", "/"),
        ("/a\\b", "/"),
        ("/a\r\nSet-Cookie: x=1", "/"),
        ("https://elsewhere.example", "/"),
        ("", "/"),
    ],
)
def test_only_paths_of_ours_are_gone_to(path: str, expected: str) -> None:
    assert own_path(path) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("127.0.0.1.elsewhere.example", False),
        ("localhost.elsewhere.example", False),
        ("", False),
    ],
)
def test_a_name_that_begins_like_loopback_is_none(host: str, expected: bool) -> None:
    assert is_loopback(host) == expected
