"""A connection to one NATS server for a person who waits: it tries once, and tells what the server thinks of us.

What is tried must harm nobody: probes go to subjects of a process and of a call that do not exist, and an event is
published such that JetStream refuses to store it.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import nats.errors
import nkeys  # type: ignore[import-untyped]  # ships no types
from nats.aio.client import RawCredentials
from nats.aio.msg import Msg
from nats.js.api import Header

from trunkline_common import subjects
from trunkline_common.link import MendedClient
from trunkline_common.settings import CommonSettings

CONNECT_S: Final = 3
ANSWER_S: Final = 3.0

NOBODY: Final = f"doctor-{secrets.token_hex(4)}"
"""Stands for a worker, a gateway or a call in subjects; there is none of this name."""

_OTHER_STREAM: Final = "no-such-stream"
"""What a probe expects its event to be stored in; JetStream refuses it then, and says so (NATS: ADR-22)."""


INBOXES: Final = ("_INBOX", *(f"_INBOX.{service}" for service in ("gateway", "worker", "transcripts")))
"""Where answers may come: a service's user may be allowed its own inboxes only, and we do not know whose user we are."""

_NO_RESPONDERS: Final = "503"


class UnreachedError(Exception):
    """No connection; the text says why, free of credentials."""


class RefusedError(Exception):
    """The server did not answer a request, or answered with an error; the text says why."""


class ForbiddenError(RefusedError):
    """This user may not ask."""


class NatsProbe:
    """One connected client and what the server complained of."""

    def __init__(self, client: MendedClient, complaints: list[str]) -> None:
        self._client = client
        self._complaints = complaints
        self._inbox: str | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def connected(cls, settings: CommonSettings, server: str) -> AsyncIterator["NatsProbe"]:
        """Connect to this one server; raises `UnreachedError`."""
        client, complaints, is_up = MendedClient(), list[str](), False

        async def on_error(error: Exception) -> None:
            if not is_up:
                # nats-py would go on trying; raised here, it ends the attempt.
                raise UnreachedError(_why_unreached(error))
            complaints.append(str(error).lower())

        try:
            credentials = None
            if settings.nats_creds is not None:
                credentials = RawCredentials(await asyncio.to_thread(Path(settings.nats_creds).read_text))
            async with asyncio.timeout(2 * CONNECT_S):
                await client.connect(
                    servers=[server],
                    name="doctor",
                    user_credentials=credentials,
                    connect_timeout=CONNECT_S,
                    allow_reconnect=False,
                    error_cb=on_error,
                )
            is_up = True
        except (nats.errors.Error, OSError, nkeys.NkeysError) as error:
            client.give_up()
            raise UnreachedError(_why_unreached(error)) from None
        except UnreachedError:
            client.give_up()
            raise
        probe = cls(client, complaints)
        try:
            yield probe
        finally:
            await client.close()

    @property
    def server_info(self) -> dict[str, Any]:
        """The server's INFO (NATS: client protocol)."""
        return self._client._server_info

    async def jetstream(self, api: str) -> dict[str, Any]:
        """Return the answer of a question to JetStream's API, such as `INFO`; raises `RefusedError`."""
        answer = json.loads((await self._asked(f"$JS.API.{api}")).data)
        if not isinstance(answer, dict):
            raise RefusedError("an answer of another shape")
        if error := answer.get("error"):
            raise RefusedError(str(error.get("description", error)))
        return answer

    async def denied(
        self, *, subscribe: Sequence[str] = (), publish: Sequence[str] = (), event: bool = False
    ) -> list[str]:
        """Return what the server does not let this user do, of what a service does; raises `RefusedError`."""
        self._complaints.clear()
        for subject in subscribe:
            await self._client.forget(await self._client.subscribe(subject))
        for subject in publish:
            await self._client.publish(subject, b"")
        await self._confirmed()
        denied = [f"subscribe to {subject}" for subject in subscribe if self._complains_of(subject)]
        denied += [f"publish to {subject}" for subject in publish if self._complains_of(subject)]
        if event:
            subject, question = (
                subjects.event(NOBODY, "probe"),
                f"$JS.API.STREAM.INFO.{subjects.EVENT_STREAM}",
            )
            with contextlib.suppress(RefusedError):
                await self._asked(subject, {Header.EXPECTED_STREAM.value: _OTHER_STREAM})
            with contextlib.suppress(RefusedError):
                await self._asked(question)
            denied += [f"publish to {each}" for each in (subject, question) if self._complains_of(each)]
        return denied

    async def _asked(self, subject: str, headers: dict[str, str] | None = None) -> Msg:
        inbox = f"{await self._own_inbox()}.{NOBODY}.{secrets.token_hex(4)}"
        incoming = await self._client.subscribe(inbox)
        try:
            await self._client.publish(subject, b"", reply=inbox, headers=headers)
            answer = await incoming.next_msg(timeout=ANSWER_S)
        except (nats.errors.Error, TimeoutError):
            if self._complains_of(subject):
                raise ForbiddenError(f"this user may not publish to {subject}") from None
            raise RefusedError(f"no answer in {ANSWER_S} s") from None
        finally:
            await self._client.forget(incoming)
        if answer.headers and answer.headers.get("Status") == _NO_RESPONDERS:
            raise RefusedError("nobody answers")
        return answer

    async def _own_inbox(self) -> str:
        """Return the first of `INBOXES` that this user may subscribe to; raises `RefusedError`."""
        if self._inbox is None:
            tried = {inbox: f"{inbox}.{NOBODY}.*" for inbox in INBOXES}
            for subject in tried.values():
                await self._client.forget(await self._client.subscribe(subject))
            await self._confirmed()
            self._inbox = next((inbox for inbox in INBOXES if not self._complains_of(tried[inbox])), "")
        if not self._inbox:
            raise RefusedError(f"this user may subscribe to no inbox ({', '.join(INBOXES)})")
        return self._inbox

    async def _confirmed(self) -> None:
        """Wait until the server has judged all that was sent before; raises `RefusedError`."""
        try:
            # nats-py writes a PING at once and the rest a moment later: the second PING surely follows it.
            await self._client.flush(CONNECT_S)
            await self._client.flush(CONNECT_S)
        except (nats.errors.Error, TimeoutError):
            raise RefusedError(f"no answer in {CONNECT_S} s") from None

    def _complains_of(self, subject: str) -> bool:
        # The server puts the subject into quotes.
        return any(
            "permissions violation" in each and f'"{subject.lower()}"' in each for each in self._complaints
        )


def _why_unreached(error: Exception) -> str:
    if isinstance(error, nkeys.NkeysError):
        return "the seed in the credentials file cannot be used"
    if isinstance(error, TimeoutError):
        return f"no answer in {CONNECT_S} s"
    told = str(error)
    if "authorization" in told.lower() or "authentication" in told.lower():
        return "refuses our credentials"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return told.removeprefix("nats: ") or type(error).__name__
