"""Who may ask for what: the key in `Authorization: Bearer …`, its scopes, and how often it may ask.

Without keys there is only this machine's loopback, and then the host that was asked for has to be loopback, too: a web
page elsewhere may let its own name point here (DNS rebinding), and would read everything as the same origin.
"""

import math
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from trunkline_transcripts.console import keys
from trunkline_transcripts.console.keys import ApiKey, Scope
from trunkline_transcripts.console.problems import Kind, ProblemError
from trunkline_transcripts.console.settings import is_loopback

BURST_S: Final = 10
"""How much of the rate may be used at once."""

_bearer: Final = HTTPBearer(auto_error=False, description="A key of CONSOLE_API_KEYS.")


class Access:
    """The keys of this process and how much each has asked lately."""

    def __init__(self, api_keys: tuple[ApiKey, ...], requests_per_minute: int) -> None:
        self.keys = api_keys
        self._per_second = requests_per_minute / 60
        self._burst = max(self._per_second * BURST_S, 5)
        self._left: dict[str, tuple[float, float]] = {}
        """By the key's name: requests left at a moment. As many entries as there are keys."""

    def admit(self, given: str | None, scope: Scope, now_s: float) -> ApiKey:
        """Return the key that was given; raise `ProblemError` when it is none, lacks the scope or asks too often."""
        key = keys.ANYBODY if not self.keys else keys.find(self.keys, given) if given else None
        if key is None:
            raise ProblemError(
                Kind.UNAUTHORIZED, "Send Authorization: Bearer with a key of CONSOLE_API_KEYS."
            )
        return self.admit_key(key, scope, now_s)

    def anybody(self, host: str | None) -> ApiKey:
        """Return who asks where there are no keys; raise `ProblemError` when the host in the address is not loopback."""
        if host is None or not is_loopback(host):
            raise ProblemError(
                Kind.FORBIDDEN, "Without CONSOLE_API_KEYS, ask for localhost or 127.0.0.1 by that name."
            )
        return keys.ANYBODY

    def admit_key(self, key: ApiKey, scope: Scope, now_s: float) -> ApiKey:
        """Return this key; raise `ProblemError` when it lacks the scope or asks too often."""
        self._count(key, now_s)
        if scope not in key.scopes:
            raise ProblemError(Kind.FORBIDDEN, f"The key needs the scope {scope}.")
        return key

    def _count(self, key: ApiKey, now_s: float) -> None:
        left, since_s = self._left.get(key.name, (self._burst, now_s))
        left = min(self._burst, left + (now_s - since_s) * self._per_second)
        if left < 1:
            wait_s = math.ceil((1 - left) / self._per_second)
            raise ProblemError(Kind.TOO_MANY, f"The key {key.name} may ask again in {wait_s} s.", wait_s)
        self._left[key.name] = (left - 1, now_s)


def allowed(scope: Scope) -> Callable[..., Awaitable[ApiKey]]:
    """Return the dependency of a route that takes a key of this scope; it gives the key."""

    async def admitted(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> ApiKey:
        access: Access = request.app.state.access
        if not access.keys:
            access.anybody(request.url.hostname)
        given = credentials.credentials if credentials else None
        return access.admit(given, scope, time.monotonic())

    return admitted
