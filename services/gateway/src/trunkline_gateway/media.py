"""ASGI: the media websocket. What Twilio did not sign is refused before it is accepted."""

from typing import Final

from trunkline_common import log
from trunkline_common.service import AsgiApp, Receive, Scope, Send
from trunkline_gateway import twilio
from trunkline_gateway.connection import Connection
from trunkline_gateway.gateway import Gateway
from trunkline_gateway.public_url import STREAM_PATH
from trunkline_gateway.reasons import Rejection
from trunkline_gateway.signature import SIGNATURE_HEADER

WEBSOCKET_OPTIONS: Final = {
    "ws": "websockets-sansio",
    "ws_max_size": twilio.MESSAGE_BYTES_MAX,
    # Compression would cost both sides time on audio, and let 15 KB on the wire become 15 MB here.
    "ws_per_message_deflate": False,
    # Audio may pause (Twilio sends none for silence at times), so only pings find a peer that is gone: within ten seconds,
    # for the caller, who is there all the same, hears nothing until Twilio is told to come again.
    "ws_ping_interval": 5.0,
    "ws_ping_timeout": 5.0,
}
"""For uvicorn."""

TRY_AGAIN_LATER: Final = 1013

_PATHS: Final = frozenset({STREAM_PATH, f"{STREAM_PATH}/"})
_log = log.get(__name__)


class MediaStreams:
    """Serves `/media-stream`, with and without a slash behind it, for Twilio signs either."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one websocket from its upgrade to its end."""
        await receive()  # websocket.connect
        if scope["path"] not in _PATHS:
            rejection: Rejection | None = Rejection.WRONG_PATH
        else:
            rejection = self._gateway.verifier.websocket(_header(scope, SIGNATURE_HEADER))
        if rejection:
            self._gateway.rejections.note(rejection)
            # Before the accept this is HTTP 403; Twilio reports error 31920.
            await send({"type": "websocket.close"})
            return
        await send({"type": "websocket.accept"})
        link, streams = self._gateway.link, self._gateway.streams
        if link is None or streams.is_closing or streams.is_full:
            self._gateway.rejections.note(Rejection.STREAMS_FULL if streams.is_full else Rejection.NOT_READY)
            # After the accept: only when the server closes a stream, Twilio is documented to go on with the call.
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "try another gateway"})
            return
        try:
            await Connection(self._gateway, link, receive, send).run()
        except* Exception as faults:  # noqa: BLE001 - the border of this socket's task
            _log.error("stream-died", exc_info=faults)


def serve(webhooks: AsgiApp, media_streams: AsgiApp) -> AsgiApp:
    """Return one application; frames of media streams pass none of the webhooks' layers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (media_streams if scope["type"] == "websocket" else webhooks)(scope, receive, send)

    return app


def _header(scope: Scope, name: str) -> str | None:
    wanted = name.encode()
    for key, value in scope["headers"]:
        if key.lower() == wanted:
            assert isinstance(value, bytes)
            return value.decode("latin-1")
    return None
