"""Who looks at a page: somebody with a session, or, where there are no keys, anybody on this machine."""

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from fastapi import Request, Response

from trunkline_transcripts.console import keys
from trunkline_transcripts.console.access import Access
from trunkline_transcripts.console.keys import ApiKey, Scope
from trunkline_transcripts.console.pages import sessions
from trunkline_transcripts.console.pages.sessions import Failures
from trunkline_transcripts.console.problems import Kind, ProblemError
from trunkline_transcripts.console.settings import is_loopback

SECRET_BYTES: Final = 32
SIGN_IN_PATH: Final = "/sign-in"
_COOKIE: Final = "trunkline-session"
_OWN_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]{0,500}")
"""A path of ours. `//host` and `/\\host` are other machines to a browser."""


class Visitor(NamedTuple):
    """Whose page it is."""

    key: ApiKey
    signed_in: bool
    """False: there are no keys, and nothing to sign out of."""

    @property
    def sees_numbers(self) -> bool:
        """Whether callers' numbers are shown."""
        return Scope.CALLERS in self.key.scopes

    @property
    def sees_live(self) -> bool:
        """Whether calls can be followed while they go on."""
        return Scope.LIVE in self.key.scopes


class SignInNeededError(Exception):
    """Nobody is signed in; `path` is where they wanted to go."""

    def __init__(self, path: str) -> None:
        super().__init__("nobody is signed in")
        self.path = path


class Visitors:
    """The sessions of one process."""

    def __init__(self, access: Access, secret: bytes | None) -> None:
        self.access = access
        self.failures = Failures()
        self._secret = secret or secrets.token_bytes(SECRET_BYTES)

    def recognise(self, request: Request) -> Visitor | None:
        """Return who asks; None: nobody who is signed in."""
        if not self.access.keys:
            return Visitor(self.access.anybody(request.url.hostname), signed_in=False)
        # Sessions outlive processes, so it is the time of day that ends them.
        cookie = request.cookies.get(_cookie_name(request), "")
        key = sessions.read(self._secret, self.access.keys, cookie, time.time())
        return Visitor(key, signed_in=True) if key else None

    def find(self, given: str) -> ApiKey | None:
        """Return the key that somebody typed."""
        return keys.find(self.access.keys, given)

    def sign_in(self, request: Request, response: Response, key: ApiKey) -> None:
        """Let the response set the cookie."""
        response.set_cookie(
            _cookie_name(request),
            sessions.issue(self._secret, key, time.time()),
            max_age=sessions.LIFETIME_S,
            path="/",
            secure=_needs_secure(request),
            httponly=True,
            samesite="strict",
        )

    def sign_out(self, request: Request, response: Response) -> None:
        """Let the response take the cookie away."""
        response.delete_cookie(
            _cookie_name(request), path="/", secure=_needs_secure(request), httponly=True, samesite="strict"
        )


def visiting(scope: Scope) -> Callable[[Request], Awaitable[Visitor]]:
    """Return the dependency of a page that takes a key of this scope; it gives the visitor."""

    async def visitor(request: Request) -> Visitor:
        visitors: Visitors = request.app.state.visitors
        found = visitors.recognise(request)
        if found is None:
            query = f"?{request.url.query}" if request.url.query else ""
            raise SignInNeededError(request.url.path + query)
        visitors.access.admit_key(found.key, scope, time.monotonic())
        return found

    return visitor


def own_path(path: str) -> str:
    """Return the path when it is one of this console, else the first page: a link must not lead elsewhere after signing in."""
    return path if _OWN_PATH.fullmatch(path) else "/"


def sign_in_path(path: str) -> str:
    """Return the address of the sign-in form that leads on to this path."""
    wanted = own_path(path)
    return SIGN_IN_PATH if wanted == "/" else f"{SIGN_IN_PATH}?next={quote(wanted, safe='')}"


def refuse_other_origins(request: Request) -> None:
    """Raise `ProblemError` when a form of another site sent this (Fetch: Origin header; Fetch Metadata: Sec-Fetch-Site)."""
    # The cookie is SameSite=Strict; this is for the form that sets it, and for browsers that are lax about it.
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    if site not in ("same-origin", "none") or (
        # Behind a proxy the scheme differs, the host does not.
        origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    ):
        raise ProblemError(Kind.FORBIDDEN, "The form was sent by another site.")


def _cookie_name(request: Request) -> str:
    # A browser takes a name with this prefix only over HTTPS, and from no other host (RFC 6265bis, Cookie Prefixes).
    return f"__Host-{_COOKIE}" if _needs_secure(request) else _COOKIE


def _needs_secure(request: Request) -> bool:
    return not is_loopback(request.url.hostname or "")
