"""Pure: what the form of a webhook says of its call (Twilio: TwiML Voice, Request parameters)."""

from starlette.datastructures import FormData

from trunkline_common import subjects
from trunkline_common.subjects import InvalidTokenError
from trunkline_gateway import twiml
from trunkline_gateway.reasons import Rejection
from trunkline_gateway.stream_token import Facts


class RefusedError(Exception):
    """The request is answered with `status` and why."""

    def __init__(self, rejection: Rejection, status: int) -> None:
        super().__init__(rejection)
        self.rejection = rejection
        self.status = status


def facts_of(form: FormData, attach: int, started_at_ms: int) -> Facts:
    """Return what the form says of the call; raise `RefusedError` when it names none, or nobody."""
    account_sid = form.get("AccountSid", "")
    try:
        call_id = subjects.token(str(form.get("CallSid", "")))
    except InvalidTokenError:
        raise RefusedError(Rejection.BAD_REQUEST, 400) from None
    caller, called = (
        twiml.clean_number(str(form.get("From", ""))),
        twiml.clean_number(str(form.get("To", ""))),
    )
    if is_outbound(form):
        # We call: the number that we show is our line, and selects the agent.
        caller, called = called, caller
    return Facts(
        call_id=call_id,
        account_sid=str(account_sid),
        caller=caller,
        called=called,
        attach=attach,
        started_at_ms=started_at_ms,
    )


def is_outbound(form: FormData) -> bool:
    """Tell whether this is a call of ours."""
    return form.get("Direction") == "outbound-api"
