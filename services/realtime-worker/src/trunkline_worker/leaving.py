"""Pure: what the agent asked for at the end of its words happens once they were heard.

A goodbye is generated within a second and heard for three: hanging up, dialling or pressing keys at the model's
word would cut it off. So the words are awaited first, then their last mark, each with a limit.
"""

from enum import Enum
from typing import Final

from trunkline_worker import agent_tools
from trunkline_worker.tools import Departure

WORDS_S: Final = 8.0
"""The model makes its last words within this time, or they are not waited for."""

HEARD_MARGIN_S: Final = 2.0
"""On top of what is buffered: a mark may be slow, or lost."""

_LAST_WORDS: Final = {
    agent_tools.END_CALL: "Say goodbye to the caller in one short sentence. Call no tool.",
    agent_tools.TRANSFER_CALL: "Tell the caller in one short sentence that you are putting them through now. "
    "Call no tool.",
    agent_tools.SEND_DIGITS: "",
}


class _Phase(Enum):
    CALLING = "calling"
    """The response that asked for it has not ended."""
    SPEAKING = "speaking"
    """The model was asked for its last words."""
    PLAYING = "playing"
    """All was said; the caller still listens."""


class Leaving:
    """One departure on its way."""

    def __init__(self, departure: Departure, response_id: str, now: float) -> None:
        self.departure = departure
        self._response_id = response_id
        self._phase = _Phase.CALLING
        self._due_at = now + WORDS_S

    def response_done(self, response_id: str, *, spoke: bool, unheard_ms: int, now: float) -> str:
        """A response has ended; return the instructions for the last words when they have to be asked for.

        `spoke`: the response had audio, so the words were said with the call. `unheard_ms`: audio on its way.
        """
        if self._phase is _Phase.PLAYING:
            return ""
        if self._phase is _Phase.CALLING:
            if response_id != self._response_id:
                return ""
            words = _LAST_WORDS[self.departure.tool]
            if not spoke and words:
                self._phase = _Phase.SPEAKING
                self._due_at = now + WORDS_S
                return words
        elif not spoke:
            # The response before the one that was asked for, or one without words: the limit decides.
            return ""
        self._phase = _Phase.PLAYING
        self._due_at = now + unheard_ms / 1000 + HEARD_MARGIN_S
        return ""

    def wake_at(self) -> float:
        """Return when it happens at the latest."""
        return self._due_at

    def may_go(self, *, audible: bool, now: float) -> bool:
        """Return whether it happens now; `audible`: something was sent that the caller has not heard."""
        return (self._phase is _Phase.PLAYING and not audible) or now >= self._due_at
