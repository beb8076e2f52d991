"""NATS for a service: one connection for audio, one for control and events.

They differ in what happens when the link is down. Audio is worthless a second later, so the audio connection
never buffers: a frame that cannot leave now is dropped and counted. Control and events wait for the link.

Handlers of one subscription run one after another, so ours only hand over and never wait.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import nats.errors
import prometheus_client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from trunkline_common import log, subjects
from trunkline_common.link import Handler, Link, NoAnswerError, Subscription
from trunkline_common.service import Life, ServiceError
from trunkline_common.settings import CommonSettings

__all__ = ["Bus", "Handler", "NoAnswerError", "NobodyListensError", "Subscription"]

AUDIO_PENDING_BYTES_MAX: Final = 256 * 1024
"""What may wait for the socket: 1,200 frames, as many as one turn of a busy loop hands over before nats-py's
flusher runs. A link that stalls keeps a quarter second of 100 calls; receivers drop what is then too late."""

SUBSCRIPTION_PENDING_MESSAGES_MAX: Final = 4_096
"""Frames that one subscription may hold while the loop is busy: 80 ms of 1,000 calls in both kinds."""

JETSTREAM_TIMEOUT_S: Final = 2
JETSTREAM_RETRY_S: Final = 1

ANSWERS_MAX: Final = 256
"""Answers to one question that may wait to be read; a worker for each would be a very large fleet."""

EVENT_STREAM_MAX_AGE_S: Final = 72 * 3600
"""Postgres may be away for three days before events are lost."""

EVENT_BYTES_MAX: Final = 256 * 1024
"""Far above any turn of a conversation."""

DUPLICATE_WINDOW_S: Final = 120

_NO_RESPONDERS: Final = "503"

_NOBODY: Final = subjects.owner("nobody")
"""No call has this name, so nobody listens there; and every service may ask the owner of a call."""

_STREAM_EXISTS: Final = 10058
"""JetStream's `err_code`: the name is in use with another configuration."""

_TOO_FEW_SERVERS: Final = 10005
"""JetStream's `err_code`: no suitable peers, as when a cluster starts and some of it are not there yet."""

FRAMES_DROPPED = prometheus_client.Counter(
    "trunkline_bus_frames_dropped",
    "Audio, marks and other frames not sent: too large, or the link to NATS was down or stalled.",
)
MESSAGES_DROPPED = prometheus_client.Counter(
    "trunkline_bus_messages_dropped",
    "Control messages not sent: too large, or the buffer for the time without a link (2 MB) was full.",
)

_log = log.get(__name__)

_NOT_SENT: Final = (
    nats.errors.ConnectionClosedError,
    nats.errors.OutboundBufferLimitError,
    nats.errors.MaxPayloadError,
)

_SOCKET_GONE: Final = (OSError, RuntimeError)
"""Writing to a socket whose loss nats-py has not noticed yet; RuntimeError is uvloop's word for it."""


class _NotYetError(Exception):
    """JetStream cannot do it now."""


class NobodyListensError(Exception):
    """No process subscribes to the request's subject (NATS status 503)."""


class Bus:
    """A service's two connections."""

    def __init__(self, audio: Link, control: Link, settings: CommonSettings, life: Life) -> None:
        self._audio = audio
        self._control = control
        self._settings = settings
        self._life = life
        self.jetstream: JetStreamContext = control.client.jetstream(timeout=JETSTREAM_TIMEOUT_S)

    @classmethod
    async def connect(cls, settings: CommonSettings, life: Life) -> "Bus":
        """Connect, retrying for ever; `life` tells why the service is not ready meanwhile.

        Raises `ServiceError` when NATS refuses our credentials.
        """
        credentials = None
        if settings.nats_creds is not None:
            credentials = await asyncio.to_thread(Path(settings.nats_creds).read_text)
        bus = cls(Link("audio", settings, life), Link("control", settings, life), settings, life)
        try:
            await bus._control.connect(credentials)
            await bus._audio.connect(credentials)
        except BaseException:
            await bus.close()
            raise
        return bus

    @property
    def is_connected(self) -> bool:
        """Whether the control connection's link is up; what is sent while it is down waits for it."""
        return self._control.is_up.is_set()

    @property
    def reconnects(self) -> int:
        """How often the control connection came back: it tells a peer's silence from a gap of our own."""
        return self._control.client.stats["reconnects"]

    def has_just_returned(self, within_s: float) -> bool:
        """Whether the control connection came back less than `within_s` ago: those who were lost with it may be late."""
        returned_at = self._control.returned_at
        return returned_at is not None and asyncio.get_running_loop().time() < returned_at + within_s

    @property
    def audio_reconnects(self) -> int:
        """How often the audio connection came back: frames sent before may never have arrived."""
        return self._audio.client.stats["reconnects"]

    async def audio_flows(self, limit_s: float) -> bool:
        """Return whether within `limit_s` NATS has taken every frame that was sent before."""
        return await self._audio.confirmed(limit_s)

    async def publish_audio(self, subject: str, frame: bytes) -> bool:
        """Send a frame now or drop it; return whether it was sent. Never waits for the link."""
        client = self._audio.client
        if not client.is_connected or client.pending_data_size > AUDIO_PENDING_BYTES_MAX:
            FRAMES_DROPPED.inc()
            return False
        try:
            await client.publish(subject, frame)
        except (*_SOCKET_GONE, nats.errors.MaxPayloadError):
            FRAMES_DROPPED.inc()
            return False
        return True

    async def subscribe_audio(self, subject: str, handler: Handler) -> None:
        """Subscribe on the audio connection; on return the server knows of it.

        Raises `NoAnswerError` when the server does not confirm it.
        """
        await self._audio.subscribe(subject, handler, pending_messages_max=SUBSCRIPTION_PENDING_MESSAGES_MAX)

    def on_audio_link(self, callback: Callable[[bool], None]) -> None:
        """Call back with False when the audio connection's link breaks, with True when it is back; not at `close`.

        Until it is noticed, frames are still taken and lost. When True comes, subscriptions are in place again.
        """
        self._audio.watch(callback)

    async def publish(self, subject: str, payload: bytes) -> None:
        """Send a control message; buffered while the link is down, dropped and counted when the buffer is full."""
        try:
            await self._control.client.publish(subject, payload)
        except _NOT_SENT:
            MESSAGES_DROPPED.inc()
        except _SOCKET_GONE as error:
            # It is in the buffer already and leaves with the next link.
            _log.debug("bus-publish-buffered", why=str(error))

    async def subscribe(self, subject: str, handler: Handler, queue: str = "") -> Subscription:
        """Subscribe on the control connection; on return the server knows of it.

        Raises `NoAnswerError` when the server does not confirm it.
        """
        return await self._control.subscribe(subject, handler, queue)

    async def request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """Return the answer; raise `NobodyListensError` at once or `NoAnswerError` after `timeout_s`.

        While the link is down nothing is sent: a request that nobody waits for any more must not arrive later.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._control.is_up.wait()
                answer = await self._control.client.request(subject, payload, timeout=timeout_s)
        except nats.errors.NoRespondersError:
            raise NobodyListensError(subject) from None
        except TimeoutError:
            raise NoAnswerError(f"{subject}: no answer in {timeout_s} s") from None
        except (nats.errors.Error, *_SOCKET_GONE) as error:
            raise NoAnswerError(f"{subject}: {error}") from error
        return answer.data

    async def works(self, limit_s: float) -> bool:
        """Return whether NATS answers within `limit_s`: that nobody serves a subject it says itself, at once."""
        try:
            await self.request(_NOBODY, b"", limit_s)
        except NobodyListensError:
            return True
        except NoAnswerError:
            return False
        return True

    async def request_all(
        self, subject: str, payload: bytes, timeout_s: float, is_enough: Callable[[list[bytes]], bool]
    ) -> list[bytes]:
        """Return every answer that comes within `timeout_s`, or until `is_enough`; none at once if nobody listens.

        Raises `NoAnswerError` when the link is known to be down, or breaks.
        """
        if not self.is_connected:
            raise NoAnswerError(f"{subject}: no link")
        answers: list[bytes] = []
        try:
            inbox = self._control.client.new_inbox()
            incoming = await self._control.client.subscribe(inbox, pending_msgs_limit=ANSWERS_MAX)
            try:
                await self._control.client.publish(subject, payload, reply=inbox)
                async with asyncio.timeout(timeout_s):
                    while not is_enough(answers):
                        answer = await incoming.next_msg(timeout=timeout_s)
                        if _says_nobody_listens(answer):
                            break
                        answers.append(answer.data)
            except TimeoutError:  # nats-py's is one, too
                return answers
            finally:
                await self._control.client.forget(incoming)
        except (nats.errors.Error, *_SOCKET_GONE) as error:
            raise NoAnswerError(f"{subject}: {error}") from error
        return answers

    async def request_page(
        self, subject: str, payload: bytes, timeout_s: float, is_last: Callable[[Msg], bool], answers_max: int
    ) -> list[Msg]:
        """Return the many answers to one question, up to and with the one that `is_last`.

        Raises `NobodyListensError` at once, `NoAnswerError` when the last one has not come after `timeout_s`.
        """
        client, answers = self._control.client, list[Msg]()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def take(message: Msg) -> None:
            answers.append(message)
            if is_last(message) and not ended.done():
                ended.set_result(None)

        try:
            async with asyncio.timeout(timeout_s):
                await self._control.is_up.wait()
                inbox = client.new_inbox()
                # A callback: waiting for each message in turn takes nats-py several times as long.
                incoming = await client.subscribe(inbox, cb=take, pending_msgs_limit=answers_max)
                try:
                    await client.publish(subject, payload, reply=inbox)
                    await ended
                finally:
                    await client.forget(incoming)
        except TimeoutError:
            raise NoAnswerError(f"{subject}: no answer, or not all of it, in {timeout_s} s") from None
        except (nats.errors.Error, *_SOCKET_GONE) as error:
            raise NoAnswerError(f"{subject}: {error}") from error
        if _says_nobody_listens(answers[0]):
            raise NobodyListensError(subject)
        return answers

    async def ensure_event_stream(self, replicas: int = 1, gib: float = 1) -> None:
        """Create the stream of the event log, on so many servers, if it does not exist; else leave it as it is.

        Full means that publishers are told: `discard=old` would lose events silently that nobody has read.

        Waits until JetStream answers, and `life` tells so meanwhile. Raises `ServiceError` when it says no.
        """
        told = False
        while True:
            try:
                await self._create_event_stream(replicas, gib)
            except (
                nats.errors.TimeoutError,
                nats.errors.NoRespondersError,
                ServiceUnavailableError,
                _NotYetError,
            ) as error:
                why = f"JetStream at {self._settings.nats_address} is not available ({error}); is it enabled?"
                self._life.waiting("jetstream", f"{why} Trying again every {JETSTREAM_RETRY_S} s")
                if not told:
                    _log.warning("bus-jetstream-unavailable", why=why, retry_s=JETSTREAM_RETRY_S)
                    told = True
                await asyncio.sleep(JETSTREAM_RETRY_S)
            else:
                self._life.resolved("jetstream")
                return

    async def close(self) -> None:
        """Send what is pending and close both connections; bounded by `link.CLOSE_TIMEOUT_S`, never raises."""
        await asyncio.gather(self._audio.close(), self._control.close())

    async def _create_event_stream(self, replicas: int, gib: float) -> None:
        try:
            await self.jetstream.stream_info(subjects.EVENT_STREAM)
        except NotFoundError:
            try:
                await self.jetstream.add_stream(_event_stream(replicas, gib))
            except ServiceUnavailableError:
                raise
            except APIError as error:
                if error.err_code == _STREAM_EXISTS:  # another process was faster
                    return
                if error.err_code == _TOO_FEW_SERVERS:
                    raise _NotYetError(error.description) from error
                raise ServiceError(
                    f"cannot create the JetStream stream {subjects.EVENT_STREAM}: {error.description}"
                ) from error


def _says_nobody_listens(answer: Msg) -> bool:
    return bool(answer.headers and answer.headers.get("Status") == _NO_RESPONDERS)


def _event_stream(replicas: int, gib: float) -> StreamConfig:
    return StreamConfig(
        name=subjects.EVENT_STREAM,
        description="Every call's event log",
        subjects=[subjects.EVERY_EVENT],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_age=EVENT_STREAM_MAX_AGE_S,
        max_bytes=int(gib * 1024**3),
        max_msg_size=EVENT_BYTES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S,
        num_replicas=replicas,
        allow_direct=True,
    )
