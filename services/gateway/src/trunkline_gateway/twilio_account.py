"""Asks Twilio's REST API about the account: may we sign in, and which numbers does it have? It changes nothing."""

import base64
import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from trunkline_common import http_probe
from trunkline_common.http_probe import Answer, NoAnswerError

PAGE_SIZE: Final = 1_000
"""The most that Twilio puts into one page."""
PAGES_MAX: Final = 10
"""Ten thousand numbers; whoever has more names those that count."""

_HEAD: Final = "/2010-04-01/Accounts"


class TwilioError(Exception):
    """Twilio did not tell; the text says why. `refused`: it knows us not."""

    def __init__(self, text: str, *, refused: bool = False) -> None:
        super().__init__(text)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class TwilioAccount:
    """The account by one pair of credentials: the SID and an auth token, or the SID and secret of an API key."""

    api_url: str
    account_sid: str
    user: str
    password: str

    def fetch(self) -> tuple[dict[str, Any], float | None]:
        """Return the account (Twilio: Account resource) and how far our clock is behind; blocks.

        Only an auth token may: Twilio refuses this to standard API keys. Raises `TwilioError`.
        """
        answer = self._get(f"{_HEAD}/{self.account_sid}.json")
        return _body(answer), answer.skew_s

    def numbers(self, number: str | None = None) -> list[dict[str, Any]]:
        """Return the account's numbers, or the one (Twilio: IncomingPhoneNumber resource); blocks.

        Raises `TwilioError`.
        """
        wanted = {"PageSize": str(PAGE_SIZE)} | ({"PhoneNumber": number} if number else {})
        target: Any = f"{_HEAD}/{self.account_sid}/IncomingPhoneNumbers.json?{urlencode(wanted)}"
        found: list[dict[str, Any]] = []
        for _ in range(PAGES_MAX):
            page = _body(self._get(str(target)))
            rows = page.get("incoming_phone_numbers")
            if not isinstance(rows, list):
                raise TwilioError("an answer of another shape")
            found += [row for row in rows if isinstance(row, dict)]
            target = page.get("next_page_uri")
            if not target:
                break
        return found

    def _get(self, target: str) -> Answer:
        basic = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        try:
            return http_probe.get(self.api_url + target, {"Authorization": f"Basic {basic}"})
        except NoAnswerError as error:
            raise TwilioError(str(error)) from None


def _body(answer: Answer) -> dict[str, Any]:
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise TwilioError(f"HTTP {answer.status} without JSON: is this Twilio?")
    if answer.status == 401:
        raise TwilioError(f"not accepted (error {body.get('code')})", refused=True)
    if answer.status != 200:
        raise TwilioError(f"HTTP {answer.status}, error {body.get('code')}: {body.get('message')}")
    return body
