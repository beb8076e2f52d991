"""Remake the FLAC recordings of the simulators' speech from their texts.

Needs Debian's `flite` (`apt-get install flite`); only a changed text or voice needs a new run:

    python libs/simulators/make_recordings.py
"""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

SPEECH = Path(__file__).parent / "src" / "trunkline_simulators" / "speech"
RATE_HZ = 16_000  # flite's own rate for these voices
SPOKEN_ABOVE = 200  # of 32768: louder than the voices' breath, softer than any consonant
MARGIN_SAMPLES = 640  # 40 ms kept before and after the words, so that no onset is cut
LEVEL_RMS = 2500  # -22 dBFS while speaking: an ordinary telephone voice
PEAK = 30_000  # nothing clips, not even in μ-law


def main() -> None:
    """Speak every text of the manifest with its speaker's voice and write it as FLAC."""
    manifest = json.loads((SPEECH / "manifest.json").read_text("utf-8"))
    total_s = 0.0
    for utterance in manifest["utterances"]:
        sound = level(trim(speak(manifest["voices"][utterance["speaker"]], utterance["text"])))
        path = SPEECH / f"{utterance['id']}.flac"
        sf.write(path, sound, RATE_HZ, subtype="PCM_16", compression_level=1.0)
        seconds = len(sound) / RATE_HZ
        total_s += seconds
        print(f"{path.name:24} {seconds:5.2f} s {path.stat().st_size:8} bytes")
    print(f"{'':24} {total_s:5.2f} s")


def speak(voice: str, text: str) -> NDArray[np.int16]:
    """Return the text as spoken by one of flite's voices."""
    command = ["flite", "-voice", voice, "-t", text, "-o", "/dev/stdout"]
    wav = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 - texts of our own
    sound, rate_hz = sf.read(io.BytesIO(wav), dtype="int16")
    if rate_hz != RATE_HZ:
        raise SystemExit(f"flite's voice {voice} speaks at {rate_hz} Hz instead of {RATE_HZ} Hz")
    spoken: NDArray[np.int16] = sound
    return spoken


def trim(sound: NDArray[np.int16]) -> NDArray[np.int16]:
    """Cut the silence around the words, so that a line's length is how long it is heard."""
    spoken = np.flatnonzero(np.abs(sound) > SPOKEN_ABOVE)
    return sound[max(0, spoken[0] - MARGIN_SAMPLES) : spoken[-1] + MARGIN_SAMPLES]


def level(sound: NDArray[np.int16]) -> NDArray[np.int16]:
    """Bring the words, not the pauses, to one loudness."""
    exact = sound.astype(np.float64)
    loudness = np.sqrt(np.mean(np.square(exact[np.abs(exact) > SPOKEN_ABOVE])))
    louder: NDArray[np.float64] = np.clip(exact * LEVEL_RMS / loudness, -PEAK, PEAK)
    return louder.astype(np.int16)


if __name__ == "__main__":
    main()
