"""Reads spoken digits back from sound, with a recogniser that was trained on people."""

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

RECOGNISER_HZ = 16_000

# Any number of digits in any order: what is recognised was not suggested.
GRAMMAR = """#JSGF V1.0;
grammar digits;
public <digits> = (zero | one | two | three | four | five | six | seven | eight | nine)+;
"""


def spoken_digits(sound: NDArray[np.int16], rate_hz: int) -> str:
    """Return the digits in mono PCM16 as words, e.g. "three seven one nine"; "" when there are none."""
    heard = soxr.resample(sound, rate_hz, RECOGNISER_HZ)
    decoder = _decoder()
    decoder.start_utt()
    decoder.process_raw(heard.tobytes(), full_utt=True)
    decoder.end_utt()
    hypothesis = decoder.hyp()
    return hypothesis.hypstr if hypothesis else ""


@cache
def _decoder() -> Any:
    try:
        from pocketsphinx import Decoder
    except ImportError:
        if os.environ.get("TRUNKLINE_TOOLS") == "required":
            raise
        pytest.skip("pocketsphinx has no wheel for this Python")
    with tempfile.TemporaryDirectory() as directory:
        grammar = Path(directory) / "digits.gram"
        grammar.write_text(GRAMMAR)
        # Silence is as likely as a digit, and digits are not inserted lightly: the noise of μ-law
        # in the pauses is otherwise taken for a soft "two" or "six".
        return Decoder(jsgf=str(grammar), silprob=0.2, wip=0.01, loglevel="FATAL")
