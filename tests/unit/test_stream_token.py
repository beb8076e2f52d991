import pytest

from trunkline_gateway.reasons import Rejection
from trunkline_gateway.stream_token import LIFETIME_MS, USED_TOKENS_MAX, Facts, TokenIssuer, derive_key

KEY = derive_key(b"auth token")
FACTS = Facts("CA1", "AC1", "+12025550100", "+12025550101", attach=2, started_at_ms=1_700_000_000_000)
NOW_MS = 1_700_000_000_500


def redeem(
    issuer: TokenIssuer,
    token: str,
    now_ms: int = NOW_MS,
    call_id: str = FACTS.call_id,
    account_sid: str = FACTS.account_sid,
    caller: str = FACTS.caller,
    called: str = FACTS.called,
) -> Facts | Rejection:
    return issuer.redeem(
        token, call_id=call_id, account_sid=account_sid, caller=caller, called=called, now_ms=now_ms
    )


def test_a_token_brings_back_what_it_vouches_for() -> None:
    issuer = TokenIssuer((KEY,))

    assert redeem(issuer, issuer.issue(FACTS, NOW_MS)) == FACTS


def test_a_token_works_once() -> None:
    issuer = TokenIssuer((KEY,))
    token = issuer.issue(FACTS, NOW_MS)
    redeem(issuer, token)

    assert redeem(issuer, token) is Rejection.TOKEN_USED


def test_a_token_is_used_before_its_minute_is_over() -> None:
    issuer = TokenIssuer((KEY,))
    token = issuer.issue(FACTS, NOW_MS)

    assert redeem(issuer, token, NOW_MS + LIFETIME_MS) is Rejection.TOKEN_EXPIRED
    assert redeem(issuer, token, NOW_MS + LIFETIME_MS - 1) == FACTS


@pytest.mark.parametrize("name", ["call_id", "account_sid", "caller", "called"])
def test_a_token_is_for_one_call_of_one_account_between_two_numbers(name: str) -> None:
    issuer = TokenIssuer((KEY,))

    changed = {name: "other"}
    assert redeem(issuer, issuer.issue(FACTS, NOW_MS), NOW_MS, **changed) is Rejection.TOKEN_FOREIGN


def test_the_attach_number_the_start_and_the_expiry_cannot_be_changed() -> None:
    issuer = TokenIssuer((KEY,))
    parts = issuer.issue(FACTS, NOW_MS).split(".")

    for index in range(3):
        forged = [str(int(part) + 1) if index == position else part for position, part in enumerate(parts)]
        assert redeem(issuer, ".".join(forged)) is Rejection.TOKEN_FOREIGN


def test_another_gateway_with_the_same_auth_token_accepts_it() -> None:
    token = TokenIssuer((derive_key(b"auth token"),)).issue(FACTS, NOW_MS)

    assert redeem(TokenIssuer((derive_key(b"auth token"),)), token) == FACTS
    assert redeem(TokenIssuer((derive_key(b"another"),)), token) is Rejection.TOKEN_FOREIGN


def test_while_rotating_the_first_key_signs_and_every_key_is_accepted() -> None:
    old, new = derive_key(b"old"), derive_key(b"new")

    assert redeem(TokenIssuer((new, old)), TokenIssuer((old,)).issue(FACTS, NOW_MS)) == FACTS
    assert redeem(TokenIssuer((new,)), TokenIssuer((new, old)).issue(FACTS, NOW_MS)) == FACTS


@pytest.mark.parametrize(
    "token",
    ["x", ".", "...", "1.2.3.", "-1.2.3.x", "1.2.x", "1.2.3.4.5", "1.2.3.é", "²." * 4, "9" * 500, "\0"],
)
def test_text_that_is_no_token(token: str) -> None:
    assert redeem(TokenIssuer((KEY,)), token) is Rejection.TOKEN_FOREIGN


def test_no_token_at_all() -> None:
    assert redeem(TokenIssuer((KEY,)), "") is Rejection.TOKEN_MISSING


def test_used_tokens_are_forgotten_once_they_have_expired() -> None:
    issuer = TokenIssuer((KEY,))

    for minute in range(3):
        now_ms = NOW_MS + minute * 2 * LIFETIME_MS
        for call in range(10):
            token = issuer.issue(FACTS._replace(call_id=f"CA{minute}x{call}"), now_ms)
            assert isinstance(redeem(issuer, token, now_ms, call_id=f"CA{minute}x{call}"), Facts)
        assert len(issuer._used) <= 10
    assert USED_TOKENS_MAX > 10


def test_a_token_fits_into_a_parameter_with_room_to_spare() -> None:
    token = TokenIssuer((KEY,)).issue(FACTS._replace(attach=5, started_at_ms=10**13), 10**13)

    assert len(token) < 100
