"""Pure: measures the way to Twilio and back with marks, and tells when the worker should hear of it.

Twilio echoes a mark once everything before it was played, or at once when nothing is. So a mark that follows
nothing measures the line; such probes are sent only when nothing of ours is left to play there.
"""

from typing import Final

from trunkline_common.control import LineReport

PROBE_PREFIX: Final = "probe:"

PROBE_INTERVAL_S: Final = 5.0
"""Often enough to see a line change, rarely enough to cost nothing."""

PROBE_RETRY_S: Final = 0.5
"""When audio is being played as a probe falls due."""

ECHO_OVERDUE_S: Final = 5.0
"""A mark that is not back so long after everything was played is lost; it holds up no more probes."""

REPORT_INTERVAL_S: Final = 1.0
"""The worker is pinged five times a second; a report a second tells it enough."""

BYTES_PER_S: Final = 8_000


class LineProbe:
    """What of ours Twilio still holds, and the newest round trips."""

    def __init__(self, now: float) -> None:
        self.due_at = now
        """When to ask for the next probe."""
        self.played_at = now
        """When Twilio will have played what it was sent."""
        self._marks_outstanding = 0
        self._probes = 0
        self._probe_sent_at = now
        self._twilio_rtt_ms: float | None = None
        self._bus_rtt_ms: float | None = None
        self._is_new = False
        self._reported_at = float("-inf")

    def audio_sent(self, payload_bytes: int, now: float) -> None:
        """μ-law audio of so many bytes went to Twilio."""
        self.played_at = max(self.played_at, now) + payload_bytes / BYTES_PER_S

    def mark_sent(self) -> None:
        """A mark of the worker's went to Twilio."""
        self._marks_outstanding += 1

    def mark_echoed(self) -> None:
        """A mark of the worker's came back."""
        self._marks_outstanding = max(self._marks_outstanding - 1, 0)

    def cleared(self, now: float) -> None:
        """Twilio was told to drop what it holds; what it had is echoed at once."""
        self.played_at = now
        self._marks_outstanding = 0

    def is_quiet(self, now: float) -> bool:
        """Whether nothing of ours is left to play at Twilio."""
        return now >= self.played_at and (
            not self._marks_outstanding or now >= self.played_at + ECHO_OVERDUE_S
        )

    def next_probe(self, now: float) -> str | None:
        """Return the name of the mark to send now, or None when audio is in its way; sets `due_at`."""
        if not self.is_quiet(now):
            self.due_at = now + PROBE_RETRY_S
            return None
        self.due_at = now + PROBE_INTERVAL_S
        self._probes += 1
        self._probe_sent_at = now
        return f"{PROBE_PREFIX}{self._probes}"

    def probe_echoed(self, name: str, now: float) -> float | None:
        """Return the round trip in seconds that the echo of the newest probe tells; None for any older one."""
        if name != f"{PROBE_PREFIX}{self._probes}":
            return None
        round_trip_s = now - self._probe_sent_at
        self._twilio_rtt_ms = round_trip_s * 1000
        self._is_new = True
        self._reported_at = float("-inf")
        return round_trip_s

    def worker_answered(self, round_trip_ms: float) -> None:
        """A ping to the worker came back."""
        self._bus_rtt_ms = round_trip_ms
        self._is_new = True

    def tell_again(self) -> None:
        """Whoever is told from now on knows nothing yet."""
        self._is_new = True
        self._reported_at = float("-inf")

    def report(self, now: float) -> LineReport | None:
        """Return what the worker should be told now, if there is anything new."""
        if not self._is_new or now < self._reported_at + REPORT_INTERVAL_S:
            return None
        self._is_new = False
        self._reported_at = now
        return LineReport(twilio_rtt_ms=self._twilio_rtt_ms, bus_rtt_ms=self._bus_rtt_ms)
