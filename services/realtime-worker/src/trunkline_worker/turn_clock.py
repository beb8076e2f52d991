"""Pure: how long an answer took, and on which hop.

The caller's turn ends when the model's VAD says so; the answer begins with its first audio. What lies outside the
worker is measured as round trips, and half of one is one way.
"""

from trunkline_common.call_events import TurnLatency


class TurnClock:
    """The hops around one call, and the turn under way."""

    def __init__(self) -> None:
        self.model_rtt_ms: float | None = None
        self._twilio_rtt_ms: float | None = None
        self._bus_rtt_ms: float | None = None
        self._speech_ended_at: float | None = None

    def line_measured(self, twilio_rtt_ms: float | None, bus_rtt_ms: float | None) -> float:
        """The gateway measured the hops around it; return what is known of the way to Twilio and back, in ms."""
        self._twilio_rtt_ms = twilio_rtt_ms if twilio_rtt_ms is not None else self._twilio_rtt_ms
        self._bus_rtt_ms = bus_rtt_ms if bus_rtt_ms is not None else self._bus_rtt_ms
        return (self._twilio_rtt_ms or 0) + (self._bus_rtt_ms or 0)

    def speech_started(self) -> None:
        """The caller speaks: what was not answered yet is not measured."""
        self._speech_ended_at = None

    def speech_stopped(self, now: float) -> None:
        """The caller's turn is over."""
        self._speech_ended_at = now

    def answered(self, item_id: str, position: int, now: float) -> TurnLatency | None:
        """Audio of an answer came; return the turn's latency when it is the first since the caller's turn."""
        if self._speech_ended_at is None:
            return None
        model_ms = (now - self._speech_ended_at) * 1000
        self._speech_ended_at = None
        twilio_ms = _half(self._twilio_rtt_ms)
        bus_ms = _half(self._bus_rtt_ms)
        network_ms = _half(self.model_rtt_ms)
        outside_ms = sum(part for part in (twilio_ms, bus_ms, network_ms) if part is not None)
        return TurnLatency(
            item_id=item_id,
            position=position,
            response_ms=model_ms + 2 * outside_ms,
            twilio_to_gateway_ms=twilio_ms,
            gateway_to_worker_ms=bus_ms,
            worker_to_model_ms=network_ms,
            model_ms=model_ms,
            model_to_worker_ms=network_ms,
            worker_to_gateway_ms=bus_ms,
            gateway_to_twilio_ms=twilio_ms,
            worker_ms=0,
        )


def _half(round_trip_ms: float | None) -> float | None:
    return None if round_trip_ms is None else round_trip_ms / 2
