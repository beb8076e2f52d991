"""Remembers in JetStream which Idempotency-Key has led to which answer, for all gateways and for a day.

A key is claimed before Twilio is asked, by creating it in a key-value bucket, which one gateway alone can do. So
two requests with one key place one call, whichever gateways they reach; a gateway that dies in between leaves the
claim behind, and the key is refused rather than called twice. This is not on the way of any call's audio.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec
import nats.errors
from nats.js.errors import (
    APIError,
    BucketNotFoundError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
)
from nats.js.kv import KeyValue

from trunkline_common import subjects
from trunkline_common.bus import Bus

REMEMBERED_S: Final = 24 * 3600

BUCKET_BYTES_MAX: Final = 64 * 1024**2
"""Some 100,000 answers; when it is full, no further call is placed until some are a day old."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a key led to; `status` 0 while Twilio is being asked."""

    fingerprint: str
    status: int = 0
    body: dict[str, str | int] = {}


class ClaimsUnavailableError(Exception):
    """JetStream does not answer: nothing can be claimed."""


class CallClaims:
    """The bucket, made on first use."""

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._bucket: KeyValue | None = None

    async def claim(self, bus: Bus, name: str, fingerprint: str) -> Answer | None:
        """Claim `name` and return None, or return what its first claim led to.

        Raises `ClaimsUnavailableError`; the name may then be claimed all the same.
        """
        async with self._jetstream_answers():
            bucket = await self._opened(bus)
            try:
                await bucket.create(name, msgspec.json.encode(Answer(fingerprint=fingerprint)))
            except KeyWrongLastSequenceError:
                try:
                    entry = await bucket.get(name)
                except KeyNotFoundError:
                    # Released in this moment, or a replica that lags behind.
                    return Answer(fingerprint=fingerprint)
                return msgspec.json.decode(entry.value or b"", type=Answer)
        return None

    async def settle(self, bus: Bus, name: str, answer: Answer) -> None:
        """Remember what a claimed name led to; raise `ClaimsUnavailableError` when that is not possible."""
        async with self._jetstream_answers():
            await (await self._opened(bus)).put(name, msgspec.json.encode(answer))

    async def release(self, bus: Bus, name: str) -> None:
        """Forget a claim that led to nothing; raise `ClaimsUnavailableError` when that is not possible."""
        async with self._jetstream_answers():
            await (await self._opened(bus)).delete(name)

    @contextlib.asynccontextmanager
    async def _jetstream_answers(self) -> AsyncIterator[None]:
        try:
            yield
        except (APIError, nats.errors.Error, OSError, RuntimeError, msgspec.MsgspecError) as error:
            # The bucket may be gone with the server that held it.
            self._bucket = None
            raise ClaimsUnavailableError(type(error).__name__) from error

    async def _opened(self, bus: Bus) -> KeyValue:
        if self._bucket is None:
            try:
                self._bucket = await bus.jetstream.key_value(subjects.CALL_CLAIMS)
            except BucketNotFoundError:
                self._bucket = await bus.jetstream.create_key_value(
                    bucket=subjects.CALL_CLAIMS,
                    ttl=REMEMBERED_S,
                    max_bytes=BUCKET_BYTES_MAX,
                    replicas=self._replicas,
                )
        return self._bucket
