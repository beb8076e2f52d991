"""Pure: the time in which Twilio does what the agent asked for, without a stream: dial somebody, press keys.

While a target rings, its answer is not announced: Twilio tells how a dial went when it is over, which for an
answered one is the end of the talk. So a silence that outlasts the ringing means that somebody answered.
(Twilio: TwiML Dial, action.)
"""

from typing import Final

from trunkline_common.call_events import TransferChanged
from trunkline_common.control import NextStep, Transfer
from trunkline_common.verdict import Verdict
from trunkline_worker import agent_tools
from trunkline_worker.commands import Command, HangUp, Record
from trunkline_worker.tools import Departure

DIAL_MARGIN_S: Final = 15.0
"""On top of the ringing: Twilio adds some seconds to the time-out, and tells a little later."""

DIALING: Final = "dialing"
DIGIT_S: Final = 0.5
BACK_S: Final = 30.0
"""From the end of what was asked for until the stream is attached again."""

_ANSWERED: Final = frozenset({"completed", "answered"})


class Absence:
    """One departure that Twilio carries out."""

    def __init__(self, departure: Departure, now: float) -> None:
        self.rings = False
        """Twilio dials, and has not told how it went."""
        self._departure = departure
        self._status = ""
        if departure.target is not None:
            self.rings = True
            self.deadline = now + departure.target.timeout_s + DIAL_MARGIN_S
        else:
            self.deadline = now + len(departure.digits) * DIGIT_S + BACK_S

    def begin(self, media_ms: int) -> list[Command]:
        """Return what has Twilio begin."""
        target = self._departure.target
        if target is None:
            return [HangUp(NextStep.SEND_DIGITS, digits=self._departure.digits)]
        transfer = Transfer(number=target.number, timeout_s=target.timeout_s)
        return [self._changed(DIALING, media_ms), HangUp(NextStep.TRANSFER, transfer)]

    def dialed(self, status: str, media_ms: int, now: float) -> tuple[list[Command], bool]:
        """Twilio dialled; return what follows and whether somebody answered."""
        self.rings = False
        self._status = status
        self.deadline = now + BACK_S
        answered = status in _ANSWERED
        return [self._changed("answered" if answered else status, media_ms)], answered

    def overdue(self, media_ms: int) -> tuple[list[Command], Verdict]:
        """Nothing was heard for too long; return what follows and how the call ended."""
        if self.rings:
            return [self._changed("answered", media_ms)], Verdict.TRANSFERRED
        # Twilio would have attached the call: there is no caller any more.
        return [], Verdict.CALLER_HUNG_UP

    def back(self, media_ms: int) -> tuple[list[Command], str, bool]:
        """The stream is attached again; return what follows, what the model is told, and whether it answers."""
        target = self._departure.target
        if target is None:
            return [], "The keys were pressed. The line is open again.", False
        commands = [self._changed("failed", media_ms)] if self.rings else []
        text = (
            f"{agent_tools.TRANSFER_CALL}: nobody could be reached at {target.name} ({self._status or 'failed'}). "
            "The caller is back on the line with you."
        )
        return commands, text, True

    def _changed(self, status: str, media_ms: int) -> Command:
        target = self._departure.target
        assert target is not None
        return Record(TransferChanged(target=target.name, status=status, at_ms=media_ms))
