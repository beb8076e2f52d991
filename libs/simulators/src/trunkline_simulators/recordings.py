"""The recorded speech of both sides of a simulated call, each utterance with its text.

`speech/manifest.json` holds the texts and says which recording answers which; the sound is beside
it as FLAC, made once by `make_recordings.py` with a free synthetic voice.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

import msgspec
import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

RATE_HZ = 16_000  # of every recording

Speaker = Literal["caller", "agent"]


class Utterance(msgspec.Struct, frozen=True):
    """One recorded line: who says it, and its words."""

    id: str
    speaker: Speaker
    text: str


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    voices: dict[Speaker, str]
    utterances: tuple[Utterance, ...]
    greeting: str
    replies: dict[str, str]
    unknown: str


def utterance(id: str) -> Utterance:  # noqa: A002 - the field's name in the manifest
    """Return the utterance with this id; `KeyError` when there is none."""
    return _by_id()[id]


def utterances(speaker: Speaker) -> tuple[Utterance, ...]:
    """Return everything this side can say, in the manifest's order."""
    return tuple(each for each in _manifest().utterances if each.speaker == speaker)


def greeting() -> Utterance:
    """Return the line with which the agent answers the phone."""
    return utterance(_manifest().greeting)


def reply(caller_id: str | None) -> Utterance:
    """Return the agent's answer to a caller's utterance; to `None` or an unknown id, an apology."""
    manifest = _manifest()
    return utterance(manifest.replies.get(caller_id or "", manifest.unknown))


@cache
def samples(id: str, rate_hz: int) -> NDArray[np.int16]:  # noqa: A002 - as in `utterance`
    """Return an utterance's sound as mono PCM16 at `rate_hz`; the array is shared and read-only."""
    with (_SPEECH / f"{utterance(id).id}.flac").open("rb") as file:
        recorded, recorded_hz = sf.read(file, dtype="int16")
    if recorded_hz != RATE_HZ or recorded.ndim != 1:
        raise ValueError(f"{id}.flac is not {RATE_HZ} Hz mono")
    sound: NDArray[np.int16] = recorded if rate_hz == RATE_HZ else soxr.resample(recorded, RATE_HZ, rate_hz)
    sound.flags.writeable = False
    return sound


_SPEECH = resources.files("trunkline_simulators") / "speech"


@cache
def _manifest() -> _Manifest:
    return msgspec.json.decode((_SPEECH / "manifest.json").read_bytes(), type=_Manifest)


@cache
def _by_id() -> dict[str, Utterance]:
    return {each.id: each for each in _manifest().utterances}
