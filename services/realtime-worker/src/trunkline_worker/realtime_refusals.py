"""Pure: what the model's refusals, closes and HTTP answers mean, and what a person should do about each.

Codes are OpenAI's and Azure's, the same in every dialect (OpenAI: Realtime API reference, error).
"""

from typing import Final

from trunkline_worker import events

FATAL_CODES: Final = {
    "invalid_api_key": "check OPENAI_API_KEY",
    "account_deactivated": "the OpenAI account is deactivated",
    "insufficient_quota": "the OpenAI account has no quota left; check its billing",
    "credit_balance_exhausted": "the OpenAI account has no credit left; check its billing",
    "billing_hard_limit_reached": "the OpenAI account reached its billing limit",
    "beta_api_shape_disabled": "the server wants the GA shape: set OPENAI_REALTIME_DIALECT to ga",
    "model_not_found": "set OPENAI_REALTIME_MODEL to a model that this key may use",
}
"""Codes after which trying again cannot help, and what a person should do (OpenAI: error events)."""

ACCOUNT_REASONS: Final = frozenset(
    {
        "invalid_api_key",
        "account_deactivated",
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "connect-http-401",
        "connect-http-403",
        "close-3000",
    }
)
"""Why a session may end that every other session of the account will meet too."""

ALREADY_ANSWERING: Final = "conversation_already_has_active_response"

BENIGN_CODES: Final = frozenset(
    {
        ALREADY_ANSWERING,
        "response_cancel_not_active",
        "input_audio_buffer_commit_empty",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "item_retrieve_invalid_item_id",
        "item_create_duplicate_item_id",
    }
)
"""Races that lose nothing: the item is gone, the response has ended, …"""

PASSING_CODES: Final = frozenset(
    {"server_error", "rate_limit_exceeded", "inference_rate_limit_exceeded", "malformed-event"}
)
"""Troubles of the model's own side: while a session is set up they do not mean that its configuration is wrong."""

SESSION_OVER_CODES: Final = frozenset({"session_expired"})

CONFIGURATION_REJECTED: Final = "configuration-rejected"
_HTTP_ADVICE: Final = {
    "connect-http-401": "check OPENAI_API_KEY; a key of Azure's goes with OPENAI_AUTH_HEADER=api-key",
    "connect-http-403": "check OPENAI_API_KEY and what it may use",
    "connect-http-404": (
        "check OPENAI_REALTIME_URL and OPENAI_REALTIME_MODEL (at Azure, the name of the deployment)"
    ),
    "connect-http-410": (
        "the model was retired: set OPENAI_REALTIME_MODEL (at Azure, the deployment) to one that still exists"
    ),
    "connect-http-429": "the account's limit is reached, or raise it",
}
FATAL_CLOSES: Final = {
    3000: "check OPENAI_API_KEY",
    4000: (
        "the server rejected our requests; check OPENAI_REALTIME_URL, OPENAI_REALTIME_MODEL and"
        " OPENAI_REALTIME_DIALECT"
    ),
    1009: "a frame was too big",
}


def is_of_the_profile(reason: str) -> bool:
    """Tell whether a session did not begin because of what the call's agent profile asks for, its model included."""
    return reason.startswith((CONFIGURATION_REJECTED, "model_not_found"))


def lost_by_close(session: int, code: int | None, reason: str) -> events.SessionLost:
    """Return what a closed socket means; `reason` is the close frame's text."""
    known = reason.rpartition(".")[2]
    if known in FATAL_CODES:
        return events.SessionLost(session, known, fatal=True)
    return events.SessionLost(session, f"close-{code or 1006}", fatal=code in FATAL_CLOSES)


def advice(reason: str) -> str:
    """Return what a person should do about a lost session, or an empty string when it passes by itself."""
    if reason in _HTTP_ADVICE:
        return _HTTP_ADVICE[reason]
    if reason == "setup-timeout" or reason.startswith("connect-"):
        return "check OPENAI_REALTIME_URL and the way to it"
    if reason.startswith(CONFIGURATION_REJECTED):
        return (
            "the model does not take this session's configuration; check OPENAI_REALTIME_MODEL and the agent"
        )
    close_code = reason.removeprefix("close-")
    if close_code.isdecimal() and close_code != reason:
        return FATAL_CLOSES.get(int(close_code), "")
    return FATAL_CODES.get(reason, "")
