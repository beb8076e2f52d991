"""Where the events of one session are numbered, noted, and met by the faults that wait for them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trunkline_simulators.openai_commands import Close, Note, Order, Send, Stall
from trunkline_simulators.openai_dice import Dice
from trunkline_simulators.openai_faults import ArmedFaults, Fault
from trunkline_simulators.openai_rejection import Rejection
from trunkline_simulators.openai_response import ServerEvent

# What OpenAI says when a client is at fault (OpenAI: Realtime guide, connecting with websockets).
_REASONS = {
    3000: "invalid_request_error.invalid_api_key",
    4000: "invalid_request_error.beta_api_shape_disabled",
}


class Outbox:
    """Collects the orders that follow from one fact; once the session has ended, nothing more."""

    def __init__(self, dice: Dice, faults: ArmedFaults) -> None:
        self.ended = False  # closed or stalled
        self.losses = faults.losses
        self._muted = False
        self._later: list[tuple[float, Fault]] = []
        self._dice = dice
        self._faults = faults
        self._happened: Counter[str] = Counter()
        self._orders: list[Order] = []

    def take(self) -> list[Order]:
        """Return the orders collected so far, and forget them."""
        orders, self._orders = self._orders, []
        return orders

    def put(self, order: Order) -> None:
        """Add an order that is not an event."""
        if not self.ended:
            self._orders.append(order)

    def note(self, event: str, **fields: Any) -> None:
        """Add a line to the trace."""
        self.put(Note(event, fields))

    def send(self, event: ServerEvent, now: float) -> list[Fault]:
        """Send an event, and return the faults that strike at it."""
        if self.ended or self._muted:
            return []
        kind = event["type"]
        struck = self._struck(kind)
        kinds = {fault.kind for fault in struck}
        if "anonymous-error" in kinds:
            event["error"]["event_id"] = None
        if not kinds & {"no-created", "withhold"}:
            response = event.get("response_id") or event.get("response", {}).get("id")
            item = event.get("item_id") or event.get("item", {}).get("id")
            sent = Send({"event_id": self._dice.id("event")} | event)
            for _ in range(2 if "twice" in kinds else 1):
                self.note("server-event", type=kind, response_id=response, item_id=item)
                self.put(sent)
        self._meet(struck, now)
        return struck

    def happened(self, kind: str, now: float) -> list[Fault]:
        """Count something that is not sent, and return the faults that strike at it."""
        struck = self._struck(kind)
        self._meet(struck, now)
        return struck

    def lose_at(self, at: float, fault: Fault) -> None:
        """Let a fault strike at a time, whatever happens then."""
        self._later.append((at, fault))

    def next_due(self) -> float | None:
        """Return when a fault strikes next."""
        return min((at for at, _ in self._later), default=None)

    def due(self, now: float) -> list[Fault]:
        """Let the faults strike whose time has come, and return them."""
        struck = [fault for at, fault in self._later if at <= now]
        self._later = [(at, fault) for at, fault in self._later if at > now]
        self._carry_out(struck)
        return struck

    def refuse(self, rejection: Rejection, event_id: str | None, now: float) -> None:
        """Answer a client event, or nothing in particular, with an error."""
        self.note("rejected", code=rejection.code, message=rejection.message)
        error = {
            "type": rejection.error_type,
            "code": rejection.code,
            "message": rejection.message,
            "param": rejection.param,
            "event_id": event_id,
        }
        self.send({"type": "error", "error": error}, now)

    def close(self, code: int, reason: str = "", *, by_fault: bool = False) -> None:
        """End the session by closing its connection."""
        self.note("closed", code=code)
        self.put(Close(code, reason, by_fault))
        self.ended = True

    def _struck(self, kind: str) -> list[Fault]:
        self._happened[kind] += 1
        return self._faults.strike(kind, self._happened[kind])

    def _meet(self, struck: list[Fault], now: float) -> None:
        self._later += [(now + fault.after_ms / 1000, fault) for fault in struck if fault.after_ms]
        self._carry_out([fault for fault in struck if not fault.after_ms])

    def _carry_out(self, struck: list[Fault]) -> None:
        for fault in struck:
            match fault.kind:
                case "close":
                    code = int(fault.value)
                    self.close(code, _REASONS.get(code, ""), by_fault=True)
                case "stall":
                    self.note("stalled")
                    self.put(Stall())
                    self.ended = True
                case "mute":
                    self.note("muted")
                    self._muted = True
                case "unknown-event":
                    self.put(Send({"type": "response.simulated.unknown", "event_id": self._dice.id("event")}))
                case _:
                    pass  # the session's business
