"""Pure: the addresses that Twilio knows us by, all made from the one configured `PUBLIC_URL`.

Never from a request's Host or X-Forwarded headers: proxies rewrite those, and a signature covers the address
that Twilio was told, not the one that arrived here.
"""

from typing import Final
from urllib.parse import SplitResult, urlsplit

VOICE_PATH: Final = "/voice"
REATTACH_PATH: Final = "/voice/reattach"
DIALED_PATH: Final = "/voice/dialed"
WAIT_PATH: Final = "/voice/wait"
WAITED_PATH: Final = "/voice/waited"
OVERFLOWED_PATH: Final = "/voice/overflowed"
HOLD_MUSIC_PATH: Final = "/voice/hold-music.wav"
MACHINE_PATH: Final = "/voice/machine"
STATUS_PATH: Final = "/voice/status"
CALLS_PATH: Final = "/calls"
STREAM_PATH: Final = "/media-stream"

HTTP_PATHS: Final = (
    VOICE_PATH,
    REATTACH_PATH,
    DIALED_PATH,
    WAIT_PATH,
    WAITED_PATH,
    OVERFLOWED_PATH,
    HOLD_MUSIC_PATH,
    MACHINE_PATH,
    STATUS_PATH,
    CALLS_PATH,
)

RETRIES: Final = "ct=1000&rt=5000&rc=4&rp=all"
"""Twilio's patience (Twilio: Webhooks, Connection overrides): 1 s to connect, 5 s to answer, four retries whatever went
wrong. By default it waits 15 s for a gateway that hangs, and does not ask again after one that died over the question.
Answers come within 4 s, and are the same for the same question."""

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_DEFAULT_PORTS: Final = {"wss": 443, "ws": 80}


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address stays on this machine."""
    return host in _LOOPBACK or host.startswith("127.")


class PublicUrl:
    """The base address as Twilio sees it, such as `https://calls.example.com`."""

    def __init__(self, base: str) -> None:
        """Raise `ValueError` when `base` is not an address that Twilio could call."""
        parts = urlsplit(base)
        _ = parts.port  # raises ValueError for a port that is no number
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("is no http(s) URL such as https://calls.example.com")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("must be https: Twilio opens media streams over TLS only")
        if parts.query or parts.fragment or parts.username:
            raise ValueError("must hold no user, query or fragment")
        self._parts = parts
        self.base = base.rstrip("/")

    def http(self, path: str, query: str = "") -> str:
        """Return the address of a webhook, its query as it was written."""
        return f"{self.base}{path}?{query}" if query else f"{self.base}{path}"

    def webhook(self, path: str, query: str = "") -> str:
        """Return the address of a webhook that a call depends on: Twilio asks it until some gateway answers."""
        return f"{self.http(path, query)}#{RETRIES}"

    @property
    def stream(self) -> str:
        """Address of the media stream as it stands in the TwiML; Twilio strips a query, so it has none."""
        return f"{self._stream_scheme}://{self._parts.netloc}{self._parts.path.rstrip('/')}{STREAM_PATH}"

    def stream_variants(self) -> tuple[str, ...]:
        """Return every address that Twilio may have signed for the media stream.

        Twilio may append a slash (Twilio: Webhooks Security), and it drops the port of secure addresses.
        """
        scheme = self._stream_scheme
        host = _host(self._parts)
        netlocs = dict.fromkeys((self._parts.netloc, host, f"{host}:{_DEFAULT_PORTS[scheme]}"))
        path = self._parts.path.rstrip("/") + STREAM_PATH
        return tuple(f"{scheme}://{netloc}{path}{slash}" for netloc in netlocs for slash in ("", "/"))

    @property
    def _stream_scheme(self) -> str:
        return "wss" if self._parts.scheme == "https" else "ws"


def _host(parts: SplitResult) -> str:
    assert parts.hostname is not None
    return f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
