"""Pure: what the agent does besides talking: its tools, the keys of the phone, and leaving the call.

Whoever wants the model to speak asks the gate, and tells it what was sent for that: the answer to the caller's own
words takes in everything that was in the conversation when it began.
"""

from typing import Final

from trunkline_worker import events
from trunkline_worker.agent import Agent
from trunkline_worker.commands import Command, CreateFunctionOutput, CreateMessage, SendToModel
from trunkline_worker.due import earliest
from trunkline_worker.history import History
from trunkline_worker.keypad import Keypad
from trunkline_worker.leaving import Leaving
from trunkline_worker.playback import Playback
from trunkline_worker.response_gate import ResponseGate, Wish
from trunkline_worker.tools import Departure, Tools

_NOT_DONE: Final = "{why}, so {tool} did not happen. Use it again if it is still wanted."


class Actions:
    """The doings of one call, under one model session after another."""

    def __init__(
        self, agent: Agent, call_id: str, gate: ResponseGate, playback: Playback, history: History
    ) -> None:
        self._gate = gate
        self._playback = playback
        self._history = history
        self._tools = Tools(agent, call_id, history)
        self._keypad = Keypad()
        self._leaving: Leaving | None = None
        self._has_line = False
        self._over = False

    @property
    def departing(self) -> str:
        """Name of the tool by which the agent is about to leave the call; empty: it is not."""
        return "" if self._leaving is None else self._leaving.departure.tool

    @property
    def keys(self) -> str:
        """Keys that were pressed and that the model was not told of."""
        return self._keypad.digits

    def resume(self, departing: str, keys: str, refused_tools: int, now: float) -> list[Command]:
        """Go on where another owner of the call was."""
        self._keypad.restore(keys, now)
        commands = [*self._tools.resume(refused_tools, now), *self._ask_wanted(now)]
        if departing:
            commands += self.tell(
                _NOT_DONE.format(why="You were interrupted", tool=departing), now, answer=True
            )
        return commands

    @property
    def refused_tools(self) -> int:
        """Tool calls beyond the rate, so far."""
        return self._tools.refused

    @property
    def busy(self) -> bool:
        """A tool is under way, or the agent is about to leave."""
        return self._leaving is not None or self._tools.wake_at() is not None

    def session_opened(self) -> None:
        """A session is there, and was told what the history holds."""
        self._tools.session_opened()

    def session_closed(self, now: float) -> list[Command]:
        """The session is gone; tools run on."""
        self._tools.session_closed()
        return self._ask_wanted(now)

    def called(
        self, call: events.ToolCalled, media_ms: int, now: float, *, interrupted: bool
    ) -> list[Command]:
        """The model called a tool, perhaps in a response that the caller interrupted."""
        commands = self._tools.called(call, media_ms, now, interrupted=interrupted or self._over)
        departure = self._tools.take_departure()
        if departure is None:
            return commands
        self._leaving = Leaving(departure, call.response_id, now)
        return commands if self._has_line else [*commands, *self._stay("The line was interrupted", now)]

    def returned(self, event: events.ToolReturned, now: float) -> list[Command]:
        """A tool answered."""
        commands = self._tools.returned(event, now)
        for command in commands:
            if isinstance(command, SendToModel) and isinstance(command.event, CreateFunctionOutput):
                self._gate.sent(command.event.item_id)
        return [*commands, *self._ask_wanted(now)]

    def mcp_call_ended(self, now: float) -> list[Command]:
        """The model has the answer of an MCP server."""
        response_id = self._gate.active
        self._tools.mcp_call_ended(response_id or "")
        if response_id is None:
            self._tools.response_done("")
        return self._ask_wanted(now)

    def response_done(
        self,
        event: events.ResponseDone,
        media_ms: int,
        now: float,
        *,
        interrupted: bool,
        spoke: bool,
    ) -> list[Command]:
        """A response has ended; `spoke`: it had audio."""
        commands: list[Command] = []
        for call in event.tool_calls:
            commands += self.called(call, media_ms, now, interrupted=interrupted)
        leaving = self._leaving
        self._tools.response_done(event.response_id, asks_no_more=leaving is not None)
        commands += self._ask_wanted(now)
        if leaving is not None:
            unheard_ms = self._playback.unheard_ms
            words = leaving.response_done(event.response_id, spoke=spoke, unheard_ms=unheard_ms, now=now)
            if words:
                commands += self._ask(Wish.FAREWELL, now, words)
        return commands

    def caller_spoke(self, now: float) -> list[Command]:
        """The caller began to speak: what was about to happen does not."""
        return [*self._stay("The caller spoke first", now), *self._tools.caller_spoke(now)]

    def line_lost(self, now: float) -> list[Command]:
        """Twilio's stream is gone."""
        self._has_line = False
        return self._stay("The line was interrupted", now)

    def line_opened(self) -> None:
        """Twilio's stream is there."""
        self._has_line = True

    def key_pressed(self, digit: str, now: float) -> list[Command]:
        """The caller pressed a key."""
        return self._pressed(self._keypad.press(digit, now), now)

    def tell(self, text: str, now: float, *, answer: bool) -> list[Command]:
        """Tell the model something in between, and let it speak if there is something to `answer`."""
        item_id = self._history.note(text)
        commands: list[Command] = []
        if self._tools.connected:
            commands.append(SendToModel(CreateMessage(self._gate.event_id("item"), item_id, "system", text)))
        if not answer:
            return commands
        self._gate.sent(item_id)
        return [*commands, *self._ask(Wish.ANSWER, now)]

    def wake_at(self) -> float | None:
        """Return when `tick` is due, or a departure."""
        leaving_at = None if self._leaving is None else self._leaving.wake_at()
        return earliest(self._tools.wake_at(), self._keypad.wake_at(), leaving_at)

    def tick(self, now: float) -> list[Command]:
        """Do what time alone demands."""
        commands = self._tools.tick(now, agent_is_heard=self._playback.active)
        return [*commands, *self._ask_wanted(now), *self._pressed(self._keypad.tick(now), now)]

    def departure(self, now: float) -> Departure | None:
        """Return what the agent asked for, once it may happen; it is returned once."""
        leaving = self._leaving
        if leaving is None or not leaving.may_go(audible=self._playback.active, now=now):
            return None
        self._leaving, self._tools.promised = None, False
        return leaving.departure

    def close(self, now: float) -> list[Command]:
        """There is nobody any more to do something for."""
        self._leaving, self._over = None, True
        return self._tools.close(now)

    def _stay(self, why: str, now: float) -> list[Command]:
        if self._leaving is None:
            return []
        tool = self._leaving.departure.tool
        self._leaving, self._tools.promised = None, False
        return self.tell(_NOT_DONE.format(why=why, tool=tool), now, answer=False)

    def _pressed(self, message: str | None, now: float) -> list[Command]:
        return [] if message is None else self.tell(message, now, answer=True)

    def _ask_wanted(self, now: float) -> list[Command]:
        commands: list[Command] = []
        for wanted in self._tools.take_wanted():
            wish = Wish.PROMPT if wanted.reason == "filler" else Wish.ANSWER
            commands += self._ask(wish, now, wanted.instructions)
        return commands

    def _ask(self, wish: Wish, now: float, order: str | None = None) -> list[Command]:
        if self._over:
            return []
        return self._gate.request(wish, now, order)
