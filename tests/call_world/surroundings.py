"""What the modelled model needs of the world in which its sessions are opened; there is more than one such world."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from trunkline_worker import commands, events
from trunkline_worker.agent import Agent

if TYPE_CHECKING:
    from call_world.model import ModelSession


class Skills(Protocol):
    """What the model does besides talking."""

    def speaks(self) -> bool:
        """Whether a response has words; one without them calls."""

    def calls_of(self, session: ModelSession, response_id: str, *, spoke: bool) -> list[events.ToolCalled]:
        """Return what a response calls at its end."""

    def created(self, session: ModelSession, event: commands.CreateFunctionCall) -> None:
        """A session is told of a call that it does not know."""

    def answered(self, session: ModelSession, event: commands.CreateFunctionOutput) -> None:
        """A session is told what a tool returned."""


class Surroundings(Protocol):
    """What a session needs of its world."""

    @property
    def random(self) -> random.Random:
        """Where everything is drawn from."""

    @property
    def agent(self) -> Agent:
        """Who answers."""

    @property
    def now(self) -> float:
        """Virtual time."""

    @property
    def ended(self) -> bool:
        """Nobody listens to the session any more."""

    @property
    def is_kind(self) -> bool:
        """The model has no troubles of its own."""

    @property
    def voice(self) -> bytes:
        """The byte that the agent's audio is made of."""

    @property
    def ids_from(self) -> int:
        """Added to the session's number, it makes the ids of a worker's sessions its own."""

    @property
    def doings(self) -> Skills | None:
        """What the model can do besides talking."""

    def after(self, delay_s: float, action: Callable[[], object]) -> None:
        """Let something happen later."""

    def at(self, at: float, action: Callable[[], object]) -> None:
        """Let something happen at this time."""

    def saw(self, what: str) -> None:
        """Remember that this happened."""

    def hear(self, session: ModelSession, event: events.ModelEvent) -> None:
        """Let the session's worker know."""
