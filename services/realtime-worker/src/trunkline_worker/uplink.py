"""Pure: places the caller's audio on the media clock and turns it into what the model's session takes.

Rules:

* Twilio's timestamp decides where audio belongs, never its arrival. Twilio may stop sending during silence,
  and a VAD that gets no audio never ends the turn, so a jump in the timestamps becomes silence.
* Each stream of Twilio's counts from zero. The first frame of a later one (the call was attached again) belongs
  where the clock says; from there on its timestamps decide.
* When the caller is speaking and media stops altogether, silence is filled in as time goes by.
* Nothing leaves before the session is open; what waits is bounded, and the oldest is dropped.
* The last seconds are kept although they were sent: what the model had not taken as a turn when its session was
  lost, the next one is given again.
* The model counts ms of audio appended in its session; `media_ms` translates that back to media time.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Final

from trunkline_worker import g711, resample
from trunkline_worker.commands import Command, Count, Measure
from trunkline_worker.events import AudioPath

BYTES_PER_MS: Final = 8
_SILENCE: Final = bytes([g711.ULAW_SILENCE])

BACKLOG_MS_MAX: Final = 2_000
"""Older words would be answered out of place; connecting takes well under a second."""

RESTORED_MS_MAX: Final = 15_000
"""What a session after the first may be given at once: an unfinished turn and the time without a session."""

KEPT_MS_MAX: Final = 20_000
"""160 KB a call. A longer turn is known by its transcript."""

GAP_MS_MIN: Final = 20
"""Less than a frame is rounding of the timestamps, not a gap."""

GAP_MS_MAX: Final = 10_000
"""A longer jump (a call on hold) ends every turn anyway."""

STALL_MS: Final = 1_200
"""No media for this long in mid-speech: Twilio stopped sending, for a gateway that does not answer is noticed before."""

FILL_STEP_MS: Final = 100
"""As time goes on, this much more at least; smaller pieces would only wake the call more often."""

ANCHORS_MAX: Final = 1_024
"""Positions are asked for within a turn of speech; this many gaps ago is long past."""

POSITION_MS_MAX: Final = 86_400_000
"""No session lasts a day."""

FILL_MS_MAX: Final = 2_000
"""Enough silence for any VAD to end the turn."""


class Uplink:
    """The caller's direction of one call."""

    def __init__(self, audio_path: AudioPath, resampler: resample.ResamplerKind) -> None:
        self.audio_path = audio_path
        self._resampler = resampler
        self._upsampler = self._new_upsampler()
        self.is_open = False
        """A session takes audio."""
        self.is_delayed = False
        """The way to here is broken: what the caller says meanwhile comes later, and belongs to the same words."""
        self.told_ms = 0
        """Media time at which the model last said anything: of what it was sent since, it may have noticed nothing."""
        self.opened_ms = 0
        """Media time at which the session was first given audio: what is older it got in one piece."""
        self._kept: deque[tuple[float, bytes]] = deque()
        """The last of the caller's audio by media time, sent or not."""
        self._kept_bytes = 0
        self._sent_end_ms: float | None = None
        """Media time up to which audio was sent to some session; at first, where it begins."""
        self._stream_starts = True
        self._stream_shift_ms = 0.0
        """From the stream's timestamps to media time."""
        self._media_end_ms: float | None = None
        self._restored_ms = 0
        """Where another owner of the call had come to."""
        self._filled_ms = 0
        self._last_arrival: float | None = None
        self._session_ms = 0.0
        self._anchor_shift_ms = 0.0
        self._anchors: list[tuple[float, float]] = []
        self._dropped_ms = 0.0
        self.padded_ms = 0
        self.repeated_frames = 0

    @property
    def stream_shift_ms(self) -> float:
        """What is added to the stream's timestamps to get media time."""
        return self._stream_shift_ms

    def restore(self, media_ms: int, stream_shift_ms: float | None) -> None:
        """Go on at this media time, where another owner of the call was; in mid-stream its shift is known."""
        self._restored_ms = media_ms
        if stream_shift_ms is not None:
            self._stream_starts = False
            self._stream_shift_ms = stream_shift_ms

    def sent_until(self, media_ms: int) -> None:
        """Up to this media time another owner of the call sent the caller's audio, and it was taken."""
        self._sent_end_ms = float(media_ms)

    @property
    def media_end_ms(self) -> int:
        """Media time up to which the caller's audio is known."""
        return round(self._restored_ms if self._media_end_ms is None else self._media_end_ms)

    @property
    def dropped_ms(self) -> float:
        """How much of the caller's audio no session was given, and none will be."""
        if self.is_open or self._media_end_ms is None or self._sent_end_ms is None:
            return self._dropped_ms
        return self._dropped_ms + max(self._media_end_ms - self._sent_end_ms - BACKLOG_MS_MAX, 0)

    @property
    def given_ms(self) -> int:
        """Media time up to which the session was given audio, the silence that was filled in included."""
        return self.media_end_ms + self._filled_ms

    def counts(self) -> list[Command]:
        """Return what the whole call is counted with."""
        amounts = (
            (Measure.CALLER_AUDIO_DROPPED_MS, self.dropped_ms),
            (Measure.CALLER_GAP_PADDED_MS, self.padded_ms),
            (Measure.CALLER_AUDIO_REPEATED, self.repeated_frames),
        )
        return [Count(measure, amount) for measure, amount in amounts if amount]

    def start_stream(self) -> None:
        """A new stream of Twilio's carries the call: its timestamps start again."""
        self._stream_starts = True

    def push(self, t_ms: int, ulaw: bytes, now: float) -> bytes:
        """Take one frame; return the audio to append now, in the session's format (may be empty)."""
        duration_ms = len(ulaw) / BYTES_PER_MS
        if self._stream_starts:
            self._stream_starts = False
            self._stream_shift_ms = self._shift_of_new_stream(t_ms, duration_ms, now)
        media_ms = t_ms + self._stream_shift_ms
        expected_ms = self._media_end_ms
        self._last_arrival = now
        if expected_ms is None:
            return self._take(media_ms, ulaw, media_ms + duration_ms)
        if media_ms + duration_ms <= expected_ms:
            self.repeated_frames += 1
            return b""
        gap_ms = media_ms - expected_ms
        filled_ms, self._filled_ms = self._filled_ms, 0
        if gap_ms < GAP_MS_MIN:
            # Contiguous: the end follows the audio itself, or rounding would add up.
            return self._take(expected_ms, ulaw, expected_ms + duration_ms)
        missing_ms = min(max(round(gap_ms) - filled_ms, 0), GAP_MS_MAX)
        self.padded_ms += missing_ms
        silence = _SILENCE * (missing_ms * BYTES_PER_MS)
        return self._take(media_ms - missing_ms, silence + ulaw, media_ms + duration_ms)

    def open(self, since_ms: int | None = None) -> tuple[bytes, int | None]:
        """Start a session: return the audio that it gets at once, and the media time at which that starts.

        It is what no session was sent yet; with `since_ms`, everything from that media time on.
        """
        self.is_open = True
        self.opened_ms = self.media_end_ms
        self._session_ms = 0.0
        self._filled_ms = 0
        self._anchors = []
        self._upsampler = self._new_upsampler()
        if self._media_end_ms is None or self._sent_end_ms is None:
            return b"", None
        unsent_ms = self._sent_end_ms
        limit_ms = BACKLOG_MS_MAX if since_ms is None else RESTORED_MS_MAX
        start_ms = max(unsent_ms if since_ms is None else since_ms, self._media_end_ms - limit_ms)
        self._dropped_ms += max(start_ms - unsent_ms, 0)
        self._sent_end_ms = self._media_end_ms
        waiting = list(self._between(start_ms, self._media_end_ms))
        if not waiting:
            return b"", None
        return b"".join(self._encode(media_ms, ulaw) for media_ms, ulaw in waiting), round(waiting[0][0])

    def between(self, start_ms: int, end_ms: int) -> bytes:
        """Return the caller's audio of a media time in the session's format; empty unless all of it is kept."""
        if not self._kept or start_ms < self._kept[0][0] or end_ms <= start_ms:
            return b""
        ulaw = b"".join(ulaw for _, ulaw in self._between(start_ms, end_ms))
        upsampler = self._new_upsampler()
        if upsampler is None:
            return ulaw
        return upsampler.process(g711.ulaw_to_pcm16(ulaw)).astype("<i2", copy=False).tobytes()

    def heard_since(self, start_ms: int) -> bytes:
        """Return the caller's audio from a media time on as it came, μ-law, gaps left out."""
        return b"".join(ulaw for _, ulaw in self._between(start_ms, self._media_end_ms or 0))

    def close(self) -> None:
        """The session is gone: audio waits for the next one."""
        self.is_open = False

    def fill_at(self) -> float | None:
        """Return when silence is due, if media stays away; to be asked only while the caller speaks."""
        if (
            not self.is_open
            or self.is_delayed
            or self._last_arrival is None
            or self._filled_ms >= FILL_MS_MAX
        ):
            return None
        return self._last_arrival + max(STALL_MS, self._filled_ms + FILL_STEP_MS) / 1000

    def fill(self, now: float) -> bytes:
        """Return the silence that is due at `now`."""
        fill_at = self.fill_at()
        if fill_at is None or now < fill_at or self._last_arrival is None or self._media_end_ms is None:
            return b""
        # Up to now in one piece: the first one makes up for the whole stall, or speech would end late by it.
        missing_ms = min(round((now - self._last_arrival) * 1000), FILL_MS_MAX)
        step_ms = missing_ms - self._filled_ms
        silence = self._encode(self._media_end_ms + self._filled_ms, _SILENCE * (step_ms * BYTES_PER_MS))
        self._filled_ms += step_ms
        self.padded_ms += step_ms
        return silence

    def media_ms(self, session_ms: int) -> int:
        """Return the media time of a position in the session's audio, whatever position a model names."""
        session_ms = min(max(session_ms, 0), POSITION_MS_MAX)
        index = bisect_right(self._anchors, (session_ms, 1 << 62)) - 1
        if index < 0:
            return session_ms
        anchor_session_ms, anchor_media_ms = self._anchors[index]
        return round(anchor_media_ms + session_ms - anchor_session_ms)

    def _shift_of_new_stream(self, t_ms: int, duration_ms: float, now: float) -> float:
        if self._media_end_ms is None or self._last_arrival is None:
            return float(self._restored_ms - t_ms if self._restored_ms else 0)
        away_ms = round((now - self._last_arrival) * 1000) - duration_ms
        return self._media_end_ms + (away_ms if away_ms >= GAP_MS_MIN else 0) - t_ms

    def _take(self, media_ms: float, ulaw: bytes, end_ms: float) -> bytes:
        self._media_end_ms = end_ms
        if self._sent_end_ms is None:
            self._sent_end_ms = media_ms
        self._kept.append((media_ms, ulaw))
        self._kept_bytes += len(ulaw)
        while self._kept_bytes > KEPT_MS_MAX * BYTES_PER_MS and len(self._kept) > 1:
            self._kept_bytes -= len(self._kept.popleft()[1])
        if not self.is_open:
            return b""
        self._sent_end_ms = end_ms
        return self._encode(media_ms, ulaw)

    def _between(self, start_ms: float, end_ms: float) -> Iterator[tuple[float, bytes]]:
        """Yield what is kept of a media time, what follows without a gap in one piece."""
        piece_ms, piece = 0.0, bytearray()
        for media_ms, ulaw in self._kept:
            if media_ms >= end_ms or media_ms + len(ulaw) / BYTES_PER_MS <= start_ms:
                continue
            skipped_ms = max(round(start_ms - media_ms), 0)
            kept = ulaw[skipped_ms * BYTES_PER_MS : max(round(end_ms - media_ms), 0) * BYTES_PER_MS]
            if piece and media_ms - piece_ms - len(piece) / BYTES_PER_MS >= GAP_MS_MIN:
                yield piece_ms, bytes(piece)
                piece = bytearray()
            if not piece:
                piece_ms = media_ms + skipped_ms
            piece += kept
        if piece:
            yield piece_ms, bytes(piece)

    def _new_upsampler(self) -> resample.Resampler | None:
        return resample.upsampler(self._resampler) if self.audio_path == "pcm24k" else None

    def _encode(self, media_ms: float, ulaw: bytes) -> bytes:
        if not self._anchors or self._anchor_shift_ms != media_ms - self._session_ms:
            self._anchor_shift_ms = media_ms - self._session_ms
            self._anchors.append((self._session_ms, media_ms))
            del self._anchors[:-ANCHORS_MAX]
        self._session_ms += len(ulaw) / BYTES_PER_MS
        if self._upsampler is None:
            return ulaw
        return self._upsampler.process(g711.ulaw_to_pcm16(ulaw)).astype("<i2", copy=False).tobytes()
