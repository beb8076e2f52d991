"""What the simulated model answers: the recorded reply to what it heard, in the asked form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, TypeAlias, get_args

from trunkline_simulators import recordings
from trunkline_simulators.openai_audio import FORMATS
from trunkline_simulators.openai_configuration import AudioFormatName
from trunkline_simulators.openai_conversation import Item
from trunkline_simulators.openai_response import Reply, Speech, Writing
from trunkline_simulators.openai_tools import ScriptedCall
from trunkline_simulators.openai_transcription import Mode
from trunkline_simulators.recordings import Utterance

# What the model says when nobody has said anything since its answer: all of it again, or the part
# that is missing after a cut one.
Again: TypeAlias = Literal["repeat", "continue"]
AGAINS: tuple[Again, ...] = get_args(Again)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The knobs of a simulated model that are not faults."""

    pace: float = 4.0  # audio is sent this many times faster than it sounds; 3–5 was measured
    latency_ms: int = 300  # from the end of a turn to the first audio
    in_flight_deltas: int = 1  # audio deltas that still arrive after an interruption
    split_samples: bool = False  # cut audio at odd bytes, through the middle of samples
    transcription: Mode = "auto"
    calls: Mapping[str, ScriptedCall] = field(default_factory=dict)  # by the caller's utterance
    again: Again = "repeat"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the agent says: an utterance, which of the caller's it answers, and whether it did so before."""

    utterance: Utterance
    answers: str | None
    earlier: Item | None = None  # the answer that was given already, whole or cut


def choose_reply(context: Sequence[Item], heard: Mapping[str, Utterance | None]) -> Choice:
    """Return what the agent says after `context`; before the caller has said anything, the greeting."""
    earlier = None
    for item in reversed(context):
        if item.role == "user":
            understood = heard.get(item.id) or named_in(item.text())
            caller_id = understood.id if understood is not None else None
            return Choice(recordings.reply(caller_id), caller_id, earlier)
        if item.role == "assistant" and item.fields.get("phase") != "commentary":
            earlier = item
    return Choice(recordings.greeting(), None, earlier)


def spoken(utterance: Utterance, audio_format: AudioFormatName) -> Speech:
    """Return an utterance as speech in a format; its bytes are made once."""
    return Speech(utterance.text, sound(utterance.id, audio_format))


def with_phases(speech: Speech, audio_format: AudioFormatName) -> list[Reply]:
    """Return one speech as a commentary and a final answer, which together say the same."""
    words = re.findall(r"\s*\S+", speech.text)
    first = max(1, len(words) // 3)
    sample_bytes = FORMATS[audio_format].sample_bytes
    cut = len(speech.audio) // 3 // sample_bytes * sample_bytes
    return [
        Speech("".join(words[:first]), speech.audio[:cut], "commentary"),
        Speech("".join(words[first:]).strip(), speech.audio[cut:], "final_answer"),
    ]


def rest_of(speech: Speech, earlier: Item, audio_format: AudioFormatName) -> Speech | None:
    """Return what an earlier, cut answer lacks of `speech`, to a word; None when it lacks nothing."""
    words = re.findall(r"\s*\S+", speech.text)
    if earlier.audio:
        said_ms = earlier.audio_ms
        said = int(len(words) * said_ms / FORMATS[audio_format].duration_ms(len(speech.audio)))
    else:
        said = len(earlier.text().split())
    if said >= len(words):
        return None
    sample_bytes = FORMATS[audio_format].sample_bytes
    cut = len(speech.audio) * said // len(words) // sample_bytes * sample_bytes
    return Speech("".join(words[said:]).strip(), speech.audio[cut:])


def written_too(speech: Speech) -> list[Reply]:
    """Return a speech followed by the same in writing."""
    return [speech, Writing(speech.text)]


@cache
def sound(utterance_id: str, audio_format: AudioFormatName) -> bytes:
    """Return an utterance's sound, encoded."""
    details = FORMATS[audio_format]
    return details.encode(recordings.samples(utterance_id, details.rate_hz))


def warm_up() -> None:
    """Make every sound in every format now, so that no session waits for it."""
    for utterance in recordings.utterances("agent"):
        for audio_format in FORMATS:
            sound(utterance.id, audio_format)


def named_in(text: str) -> Utterance | None:
    """Return the caller's utterance that is written here, as a restored conversation brings it back."""
    said = text.strip().lower()
    return next((each for each in recordings.utterances("caller") if each.text.lower() == said), None)
