"""Shell: one short talk with the model and no telephone, by the parts that carry a real call.

The worker's own session, codec, transcoder and playback; what stands in for Twilio is a recording, a stream of
20 ms frames, and marks that come back when a telephone would have played them. The recording asks a question,
then interrupts its answer with the same question. Whatever the model refuses, changes or leaves out is a finding.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Final

from trunkline_common.call_events import TranscriptionUsage, Usage
from trunkline_worker import commands, events, g711, realtime_api, realtime_refusals
from trunkline_worker.agent import Agent
from trunkline_worker.beliefs import TRUNCATE_MARGIN_MS
from trunkline_worker.dialects import CODECS
from trunkline_worker.playback import Playback
from trunkline_worker.playing_item import BYTES_PER_MS, FRAME_BYTES
from trunkline_worker.prices import PriceList
from trunkline_worker.session import Session
from trunkline_worker.settings import ModelSettings
from trunkline_worker.smoke_report import Level, Report, what_to_change
from trunkline_worker.spend import Spend
from trunkline_worker.uplink import Uplink

TALK_S: Final = 110.0
"""All of it; what takes longer would not do on a telephone."""

SETUP_S: Final = 6.0
"""A little more than a connect may take; a call gives up earlier still."""

ANSWER_S: Final = 20.0
"""Semantic VAD with low eagerness waits 8 s for the end of a turn, and then the model thinks."""

TRANSCRIPT_S: Final = 10.0

INTERRUPT_AFTER_MS: Final = 800
"""Of the answer heard; most answers are longer."""

_SESSION: Final = 1
_FRAME_MS: Final = FRAME_BYTES // BYTES_PER_MS
_SILENCE: Final = bytes([g711.ULAW_SILENCE]) * FRAME_BYTES


class _Ended(Exception):  # noqa: N818 - the talk is over, which is a finding and no fault of ours
    """The talk cannot go on; the report says why."""


async def talk(settings: ModelSettings, agent: Agent, prices: PriceList) -> Report:
    """Talk with the model by these settings and return what was found; raises nothing for what a model does."""
    report = Report(
        url=settings.openai_realtime_url,
        model=agent.model,
        agent=agent.name,
        audio_path=agent.audio_path,
        dialect=settings.openai_realtime_dialect,
    )
    async with _talk(settings, agent, prices, report) as one:
        try:
            async with asyncio.timeout(TALK_S):
                await one.connect()
                await one.configure()
                await one.ask()
                await one.interrupt()
                await one.hear_out()
        except TimeoutError:
            report.find(Level.LATE, "the talk", f"took longer than {TALK_S:.0f} s")
        except _Ended:
            pass
    return report


@asynccontextmanager
async def _talk(
    settings: ModelSettings, agent: Agent, prices: PriceList, report: Report
) -> AsyncIterator["_Talk"]:
    one = _Talk(settings, agent, prices, report)
    try:
        yield one
    finally:
        await one.close()


class _Talk:
    """The state of one talk; its steps are methods, in order."""

    def __init__(self, settings: ModelSettings, agent: Agent, prices: PriceList, report: Report) -> None:
        self._agent = agent
        self._spend = Spend(prices, agent.model, agent.transcription_model)
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[tuple[events.Event, float]] = asyncio.Queue()
        self._began_at = self._loop.time()
        self._codec = CODECS[settings.openai_realtime_dialect]
        self._session = Session(_SESSION, agent.model, settings, self._arrived)
        self._uplink = Uplink(agent.audio_path, settings.resampler)
        self._playback = Playback(agent.audio_path, settings.resampler)
        self._recording = resources.files("trunkline_worker").joinpath("caller.ulaw").read_bytes()
        self._to_say = b""
        self._said_at: float | None = None
        """When the recording had been said for the first time."""
        self._line: asyncio.Task[None] | None = None
        self._played_at = 0.0
        """When the telephone has played all that it holds."""
        self._answering = ""
        """The response whose audio comes."""
        self._done: set[str] = set()
        self._caller_items: list[str] = []
        self._transcribed: set[str] = set()

    async def connect(self) -> None:
        """Open the socket and wait for `session.created`."""
        _, at = await self._until(
            "session.created", lambda event: isinstance(event, events.SessionCreated), SETUP_S
        )
        self._report.connect_ms = (at - self._began_at) * 1000

    async def configure(self) -> None:
        """Send the agent's own session and compare the echo with it."""
        asked = self._agent.session()
        sent_at = self._loop.time()
        self._session.send(commands.ConfigureSession("configure_1", asked))
        event, at = await self._until(
            "session.updated",
            lambda event: isinstance(event, events.SessionConfigured | events.ModelError),
            SETUP_S,
        )
        if isinstance(event, events.ModelError):
            raise _Ended
        assert isinstance(event, events.SessionConfigured)
        self._report.configured_ms = (at - sent_at) * 1000
        for path in self._codec.left_out(asked):
            self._report.find(Level.NOTE, path, f"left out: {self._report.dialect} has no such field")
        for path in realtime_api.differences(asked, event.echo):
            self._report.find(Level.DIFFERS, path, f"is not as asked; {what_to_change(path)}")

    async def ask(self) -> None:
        """Say the recording on a line that stays open, and wait until some of the answer was heard."""
        self._uplink.open()
        self._line = asyncio.create_task(self._keep_speaking(), name="smoke-line")
        self._to_say = self._recording
        _, at = await self._until("the answer's first audio", self._is_answer, ANSWER_S)
        if self._said_at is not None:
            self._report.answer_ms = (at - self._said_at) * 1000
        await self._until(
            "the answer's first second",
            lambda event: isinstance(event, events.MarkPlayed) and self._heard_enough(),
            ANSWER_S,
        )

    async def interrupt(self) -> None:
        """Say the recording into the answer, and take back what was not heard of it."""
        self._to_say = self._recording
        _, at = await self._until(
            "speech_started at the interruption",
            lambda event: isinstance(event, events.SpeechStarted),
            ANSWER_S,
        )
        cuts = self._playback.interrupt(at)
        self._played_at = at
        self._done.add(self._answering)
        if not cuts:
            self._report.find(
                Level.NOTE, "the interruption", "came after the answer was over: nothing to cut"
            )
            return
        cut, *unheard = cuts
        end_ms = min(cut.heard_ms, cut.generated_ms - TRUNCATE_MARGIN_MS)
        self._report.cut_at_ms, self._report.cut_of_ms = cut.heard_ms, cut.generated_ms
        if end_ms > 0:
            self._session.send(commands.TruncateItem("truncate_1", cut.item_id, end_ms))
        for number, each in enumerate(unheard):
            self._session.send(commands.DeleteItem(f"delete_{number}", each.item_id))

    async def hear_out(self) -> None:
        """Wait for the second answer and for the words of what was said."""
        cut_off = set(self._done)
        await self._until(
            "the end of the second answer",
            lambda event: isinstance(event, events.ResponseDone) and event.response_id not in cut_off,
            ANSWER_S,
        )
        try:
            async with asyncio.timeout(TRANSCRIPT_S):
                while not self._transcribed.issuperset(self._caller_items):
                    self._take(*await self._inbox.get())
        except TimeoutError:
            self._report.find(
                Level.FAULT,
                "transcript",
                f"none within {TRANSCRIPT_S:.0f} s; {what_to_change('transcription')}",
            )

    async def close(self) -> None:
        """End the line and the session."""
        self._report.audio_in_s = self._uplink.media_end_ms / 1000
        self._session.close()
        if self._line is not None:
            self._line.cancel()
            await asyncio.wait([self._line])

    # --- what comes

    def _arrived(self, event: events.Event) -> None:
        self._inbox.put_nowait((event, self._loop.time()))

    async def _until(
        self, what: str, wanted: Callable[[events.Event], bool], limit_s: float
    ) -> tuple[events.Event, float]:
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    event, at = await self._inbox.get()
                    self._take(event, at)
                    if wanted(event):
                        return event, at
        except TimeoutError:
            self._report.find(Level.LATE, what, f"did not come within {limit_s:.0f} s")
            raise _Ended from None

    def _take(self, event: events.Event, at: float) -> None:
        match event:
            case events.AudioDelta(_, response_id, item_id, audio) if response_id not in self._done:
                self._answering = response_id
                self._report.received(self._agent.audio_path, audio)
                self._play(self._playback.receive(response_id, item_id, audio, at), at)
            case events.AudioDone(_, _, item_id):
                self._play(self._playback.finish(item_id, at), at)
            case events.ResponseDone():
                self._play(self._playback.finish_response(event.response_id, at), at)
                self._report.response_done(event)
                if event.usage is not None:
                    self._paid(self._spend.on_response(event.usage))
            case events.MarkPlayed(name):
                self._play(self._playback.mark_played(name, at) or [], at)
            case events.SpeechStarted(_, item_id):
                self._caller_items.append(item_id)
            case events.CallerText(_, item_id, text, usage):
                self._on_transcript(item_id, text, at)
                if usage is not None:
                    self._paid(self._spend.on_transcription(usage))
            case events.SpokenText(text=text, final=True):
                self._report.agent_said.append(text)
            case events.SessionRoundTrip(_, rtt_ms):
                self._report.ping_ms = min(rtt_ms, self._report.ping_ms or rtt_ms)
            case events.ModelError():
                self._report.refused(event)
            case events.SessionLost(_, reason):
                self._report.find(Level.FAULT, f"session lost: {reason}", realtime_refusals.advice(reason))
                raise _Ended

    def _paid(self, priced: Usage | TranscriptionUsage) -> None:
        if priced.cost_usd is not None:
            self._report.cost_usd, self._report.price_date = self._spend.total_usd, priced.price_date

    def _on_transcript(self, item_id: str, text: str | None, at: float) -> None:
        if self._said_at is not None and self._report.transcript_ms is None:
            self._report.transcript_ms = max((at - self._said_at) * 1000, 0)
        self._transcribed.add(item_id)
        if text is None:
            self._report.find(Level.FAULT, "transcript", f"failed; {what_to_change('transcription')}")
        else:
            self._report.caller_said.append(text)

    def _is_answer(self, event: events.Event) -> bool:
        return isinstance(event, events.AudioDelta) and self._said_at is not None

    def _heard_enough(self) -> bool:
        heard_ms = sum(self._playback.heard_ms(self._loop.time()).values())
        return heard_ms >= INTERRUPT_AFTER_MS or not self._playback.active

    # --- the telephone

    def _play(self, orders: list[commands.Command], now: float) -> None:
        for order in orders:
            match order:
                case commands.Play(_, ulaw):
                    self._played_at = max(self._played_at, now) + len(ulaw) / BYTES_PER_MS / 1000
                case commands.PutMark(_, name):
                    self._loop.call_at(self._played_at, self._arrived, events.MarkPlayed(name))

    async def _keep_speaking(self) -> None:
        started_at, t_ms = self._loop.time(), 0
        while True:
            piece, self._to_say = self._to_say[:FRAME_BYTES], self._to_say[FRAME_BYTES:]
            now = self._loop.time()
            audio = self._uplink.push(t_ms, piece + _SILENCE[len(piece) :], now)
            self._session.send(commands.AppendAudio(audio))
            if piece and not self._to_say and self._said_at is None:
                self._said_at = now
            t_ms += _FRAME_MS
            # The pace of a telephone line.
            await asyncio.sleep(max(started_at + t_ms / 1000 - self._loop.time(), 0))
