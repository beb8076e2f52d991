"""The console's keys: what they open, and texts that hold none."""

import hashlib

import pytest

from trunkline_transcripts.console.access import Access
from trunkline_transcripts.console.keys import KeysError, Scope, find, read_keys
from trunkline_transcripts.console.problems import Kind, ProblemError

KEY = "0123456789abcdef"


def test_a_key_is_found_by_itself_or_by_its_digest() -> None:
    digest = hashlib.sha256(b"another-long-key").hexdigest()
    keys = read_keys(f"one:calls:{KEY},\n two:calls+export:sha256={digest}\n")

    assert [key.name for key in keys] == ["one", "two"]
    assert find(keys, "another-long-key") == keys[1]
    assert keys[1].scopes == {Scope.CALLS, Scope.EXPORT}
    assert find(keys, digest) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (KEY, "entry 1 is not of the form name:scopes:key"),
        ("a:calls:short", "entry 1 (a) has a key of less than 16 characters"),
        (f"a:calls:{KEY},b:all:{KEY}", "entry 2 (b) has 1 unknown scope(s)"),
        (f"a:calls:{KEY},a:calls:{KEY}", "two keys of one name"),
        ("a:calls:sha256=abc", "64 hex digits"),
    ],
)
def test_a_text_that_holds_no_keys_says_why_without_them(text: str, why: str) -> None:
    with pytest.raises(KeysError) as raised:
        read_keys(text)

    assert why in str(raised.value)
    assert KEY not in str(raised.value)


def test_a_key_that_asked_too_often_may_ask_again_later() -> None:
    access = Access(read_keys(f"a:calls:{KEY}"), requests_per_minute=60)
    for _ in range(10):
        access.admit(KEY, Scope.CALLS, now_s=0)

    with pytest.raises(ProblemError) as refused:
        access.admit(KEY, Scope.CALLS, now_s=0.5)

    assert (refused.value.kind, refused.value.retry_after_s) == (Kind.TOO_MANY, 1)
    assert access.admit(KEY, Scope.CALLS, now_s=1.5).name == "a"
