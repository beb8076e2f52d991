"""What the simulated model answers: the recorded reply to what it heard, in the asked form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from trunkline_simulators import recordings
from trunkline_simulators.openai_audio import FORMATS
from trunkline_simulators.openai_configuration import AudioFormatName
from trunkline_simulators.openai_conversation import Item
from trunkline_simulators.openai_response import Call, Reply, Speech, Writing
from trunkline_simulators.openai_transcription import Mode
from trunkline_simulators.recordings import Utterance


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The knobs of a simulated model that are not faults."""

    pace: float = 4.0  # audio is sent this many times faster than it sounds; 3–5 was measured
    latency_ms: int = 300  # from the end of a turn to the first audio
    in_flight_deltas: int = 1  # audio deltas that still arrive after an interruption
    split_samples: bool = False  # cut audio at odd bytes, through the middle of samples
    transcription: Mode = "auto"
    calls: Mapping[str, Call] = field(default_factory=dict)  # by the caller's utterance


def choose_reply(
    context: Sequence[Item], heard: Mapping[str, Utterance | None]
) -> tuple[Utterance, str | None]:
    """Return what the agent says after `context`, and which caller's utterance it answers.

    Before the caller has said anything, that is the greeting.
    """
    asked = next((item for item in reversed(context) if item.role == "user"), None)
    if asked is None:
        return recordings.greeting(), None
    understood = heard.get(asked.id) or _named_in(asked.text())
    caller_id = understood.id if understood is not None else None
    return recordings.reply(caller_id), caller_id


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


def _named_in(text: str) -> Utterance | None:
    # A conversation that is restored after a lost connection comes back as text.
    said = text.strip().lower()
    return next((each for each in recordings.utterances("caller") if each.text.lower() == said), None)
