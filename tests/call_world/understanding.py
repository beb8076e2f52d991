"""Whether all that the caller said became a turn, and nothing of it two, however many sessions were lost."""

from trunkline_common.call_events import CallerTurn

SPEECH_MS_MAX = 6_000
"""A turn that may still be under way when the caller hangs up."""


class Understanding:
    """The caller's speech against the turns that were written down; media times, of the first stream."""

    def __init__(self, speech_starts_ms: list[int]) -> None:
        self.turns: dict[str, CallerTurn] = {}
        self.first_ms = 0
        """What was said before was dropped: there was no session yet."""
        self._speech_starts_ms = speech_starts_ms
        self._turn_of_speech: dict[int, str] = {}

    def error_ms(self, turn: CallerTurn, began_ms: int) -> int:
        """Return how far the turn's beginning is from that of the speech nearest to it."""
        nearest_ms = min(self._speech_starts_ms, key=lambda start_ms: abs(began_ms - start_ms))
        understood = self._turn_of_speech.setdefault(nearest_ms, turn.item_id)
        assert understood == turn.item_id, "the caller's words were understood twice"
        return abs(began_ms - nearest_ms)

    def check_that_nothing_was_lost(self, duration_ms: int) -> None:
        """All speech of a call, unless just before its end, is part of a turn."""
        for start_ms in self._speech_starts_ms:
            if self.first_ms <= start_ms < duration_ms - SPEECH_MS_MAX:
                covered = any(turn.start_ms <= start_ms <= turn.end_ms for turn in self.turns.values())
                assert covered, f"what the caller said at {start_ms} ms was lost"
