"""Pure: places the caller's audio on the media clock and turns it into what the model's session takes.

Rules:

* Twilio's timestamp decides where audio belongs, never its arrival. Twilio may stop sending during silence,
  and a VAD that gets no audio never ends the turn, so a jump in the timestamps becomes silence.
* Each stream of Twilio's counts from zero. The first frame of a later one (the call was attached again) belongs
  where the clock says; from there on its timestamps decide.
* When the caller is speaking and media stops altogether, silence is filled in as time goes by.
* Nothing leaves before the session is open; what waits is bounded, and the oldest is dropped.
* The model counts ms of audio appended in its session; `media_ms` translates that back to media time.
"""

from bisect import bisect_right
from collections import deque
from typing import Final

from trunkline_worker import g711, resample
from trunkline_worker.events import AudioPath

BYTES_PER_MS: Final = 8
_SILENCE: Final = bytes([g711.ULAW_SILENCE])

BACKLOG_MS_MAX: Final = 2_000
"""Older words would be answered out of place; connecting takes well under a second."""

GAP_MS_MIN: Final = 20
"""Less than a frame is rounding of the timestamps, not a gap."""

GAP_MS_MAX: Final = 10_000
"""A longer jump (a call on hold) ends every turn anyway."""

STALL_MS: Final = 750
"""No media for this long in mid-speech: Twilio stopped sending, it is not network jitter."""

FILL_STEP_MS: Final = 100
"""As time goes on, this much more at least; smaller pieces would only wake the call more often."""

ANCHORS_MAX: Final = 1_024
"""Positions are asked for within a turn of speech; this many gaps ago is long past."""

FILL_MS_MAX: Final = 2_000
"""Enough silence for any VAD to end the turn."""


class Uplink:
    """The caller's direction of one call."""

    def __init__(self, audio_path: AudioPath, resampler: resample.ResamplerKind) -> None:
        self.audio_path = audio_path
        self._upsampler = resample.upsampler(resampler) if audio_path == "pcm24k" else None
        self._open = False
        self._backlog: deque[tuple[float, bytes]] = deque()
        self._backlog_bytes = 0
        self._stream_starts = True
        self._stream_shift_ms = 0.0
        """From the stream's timestamps to media time."""
        self._media_end_ms: float | None = None
        self._filled_ms = 0
        self._last_arrival: float | None = None
        self._session_ms = 0.0
        self._anchor_shift_ms = 0.0
        self._anchors: list[tuple[float, float]] = []
        self.dropped_ms = 0.0
        self.padded_ms = 0
        self.repeated_frames = 0

    @property
    def media_end_ms(self) -> int:
        """Media time up to which the caller's audio is known."""
        return round(self._media_end_ms or 0)

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

    def open(self) -> tuple[bytes, int | None]:
        """Start a session: return the audio that waited, and the media time at which it starts."""
        self._open = True
        self._session_ms = 0.0
        self._anchors = []
        if self._upsampler:
            self._upsampler.reset()
        waiting = list(self._backlog)
        self._backlog.clear()
        self._backlog_bytes = 0
        if not waiting:
            return b"", None
        return b"".join(self._encode(media_ms, ulaw) for media_ms, ulaw in waiting), round(waiting[0][0])

    def close(self) -> None:
        """The session is gone: audio waits for the next one."""
        self._open = False

    def fill_at(self) -> float | None:
        """Return when silence is due, if media stays away; to be asked only while the caller speaks."""
        if not self._open or self._last_arrival is None or self._filled_ms >= FILL_MS_MAX:
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
        """Return the media time of a position in the session's audio."""
        index = bisect_right(self._anchors, (session_ms, 1 << 62)) - 1
        if index < 0:
            return session_ms
        anchor_session_ms, anchor_media_ms = self._anchors[index]
        return round(anchor_media_ms + session_ms - anchor_session_ms)

    def _shift_of_new_stream(self, t_ms: int, duration_ms: float, now: float) -> float:
        if self._media_end_ms is None or self._last_arrival is None:
            return 0.0
        away_ms = round((now - self._last_arrival) * 1000) - duration_ms
        return self._media_end_ms + (away_ms if away_ms >= GAP_MS_MIN else 0) - t_ms

    def _take(self, media_ms: float, ulaw: bytes, end_ms: float) -> bytes:
        self._media_end_ms = end_ms
        if self._open:
            return self._encode(media_ms, ulaw)
        self._backlog.append((media_ms, ulaw))
        self._backlog_bytes += len(ulaw)
        self._trim_backlog()
        return b""

    def _trim_backlog(self) -> None:
        while (excess_bytes := self._backlog_bytes - BACKLOG_MS_MAX * BYTES_PER_MS) > 0:
            media_ms, oldest = self._backlog.popleft()
            dropped_bytes = min(excess_bytes, len(oldest))
            self._backlog_bytes -= dropped_bytes
            self.dropped_ms += dropped_bytes / BYTES_PER_MS
            if dropped_bytes < len(oldest):
                rest = (media_ms + dropped_bytes / BYTES_PER_MS, oldest[dropped_bytes:])
                self._backlog.appendleft(rest)

    def _encode(self, media_ms: float, ulaw: bytes) -> bytes:
        if not self._anchors or self._anchor_shift_ms != media_ms - self._session_ms:
            self._anchor_shift_ms = media_ms - self._session_ms
            self._anchors.append((self._session_ms, media_ms))
            del self._anchors[:-ANCHORS_MAX]
        self._session_ms += len(ulaw) / BYTES_PER_MS
        if self._upsampler is None:
            return ulaw
        return self._upsampler.process(g711.ulaw_to_pcm16(ulaw)).astype("<i2", copy=False).tobytes()
