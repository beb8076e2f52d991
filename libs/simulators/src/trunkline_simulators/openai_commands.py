"""What goes into a simulated session and what comes out: facts in, orders to the shell out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trunkline_simulators.listener import Heard

# -- facts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """A websocket message came from the client."""

    frame: str | bytes


@dataclass(frozen=True, slots=True)
class TurnHeard:
    """The listener is done with a `Listen`."""

    item_id: str
    heard: Heard
    finished: bool


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time of `wake_at` has come."""


Fact: TypeAlias = FrameReceived | TurnHeard | TimePassed

# -- orders --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send an event to the client."""

    event: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listen:
    """Recognise the caller's audio, away from the event loop, and answer with `TurnHeard`."""

    item_id: str
    sound: NDArray[np.int16]
    rate_hz: int
    finished: bool  # False while the caller is still speaking


@dataclass(frozen=True, slots=True)
class KeepAudio:
    """Write received audio to the recording, if there is one."""

    sound: NDArray[np.int16]
    rate_hz: int


@dataclass(frozen=True, slots=True)
class Note:
    """Write a line to the trace, if there is one."""

    event: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection; 1006 means to drop it without a close frame."""

    code: int
    reason: str = ""
    by_fault: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """Read nothing and send nothing from now on, not even pongs, with the connection open."""


Order: TypeAlias = Send | Listen | KeepAudio | Note | Close | Stall
