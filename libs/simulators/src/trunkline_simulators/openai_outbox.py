"""Where the events of one session are numbered, noted, and met by the faults that wait for them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trunkline_simulators.openai_commands import Close, Note, Order, Send, Stall
from trunkline_simulators.openai_dice import Dice
from trunkline_simulators.openai_faults import ArmedFaults, Fault
from trunkline_simulators.openai_rejection import Rejection
from trunkline_simulators.openai_response import ServerEvent


class Outbox:
    """Collects the orders that follow from one fact; once the session has ended, nothing more."""

    def __init__(self, dice: Dice, faults: ArmedFaults) -> None:
        self.ended = False
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

    def send(self, event: ServerEvent) -> list[Fault]:
        """Send an event, and return the faults that strike at it."""
        if self.ended:
            return []
        kind = event["type"]
        struck = self._struck(kind)
        kinds = {fault.kind for fault in struck}
        if "anonymous-error" in kinds:
            event["error"]["event_id"] = None
        if "no-created" not in kinds:
            response = event.get("response_id") or event.get("response", {}).get("id")
            item = event.get("item_id") or event.get("item", {}).get("id")
            self.note("server-event", type=kind, response_id=response, item_id=item)
            self.put(Send({"event_id": self._dice.id("event")} | event))
        self._carry_out(struck)
        return struck

    def happened(self, kind: str) -> list[Fault]:
        """Count something that is not sent, and return the faults that strike at it."""
        struck = self._struck(kind)
        self._carry_out(struck)
        return struck

    def refuse(self, rejection: Rejection, event_id: str | None) -> None:
        """Answer a client event, or nothing in particular, with an error."""
        self.note("rejected", code=rejection.code, message=rejection.message)
        error = {
            "type": rejection.error_type,
            "code": rejection.code,
            "message": rejection.message,
            "param": rejection.param,
            "event_id": event_id,
        }
        self.send({"type": "error", "error": error})

    def close(self, code: int, reason: str = "", *, by_fault: bool = False) -> None:
        """End the session by closing its connection."""
        self.note("closed", code=code)
        self.put(Close(code, reason, by_fault))
        self.ended = True

    def _struck(self, kind: str) -> list[Fault]:
        self._happened[kind] += 1
        return self._faults.strike(kind, self._happened[kind])

    def _carry_out(self, struck: list[Fault]) -> None:
        for fault in struck:
            match fault.kind:
                case "close":
                    self.close(int(fault.value), by_fault=True)
                case "stall":
                    self.put(Stall())
                    self.ended = True
                case "unknown-event":
                    self.put(Send({"type": "response.simulated.unknown", "event_id": self._dice.id("event")}))
                case _:
                    pass  # the session's business
