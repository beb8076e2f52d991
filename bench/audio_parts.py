"""What the worker's audio parts cost: CPU µs for one 20 ms frame and for one 250 ms delta.

    python bench/audio_parts.py [--rounds 15]

Each figure is the best of several rounds, and the parts take turns within a round, so that a busy neighbour
slows all of them alike. CPU time counts every thread of the process, so BLAS threads would show.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable

import numpy as np
import soxr

from trunkline_worker.g711 import pcm16_to_ulaw, ulaw_to_pcm16
from trunkline_worker.resample import MODEL_HZ, PHONE_HZ, Resampler, SoxrResampler, downsampler, upsampler

FRAME_MS = 20
DELTA_MS = 250
# Long enough for the clock, short enough that some rounds are undisturbed.
ROUND_MS = 20

Part = Callable[[], object]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="measurements of each part; the best counts")
    rounds = parser.parse_args().rounds

    frame_us = best_us(parts(FRAME_MS), rounds)
    delta_us = best_us(parts(DELTA_MS), rounds)

    write = sys.stdout.write
    write(f"Python {platform.python_version()}, numpy {np.__version__}, soxr {soxr.__version__}\n")
    write(f"{'CPU µs':32}{FRAME_MS:>6} ms{DELTA_MS:>8} ms\n")
    for name, frame in frame_us.items():
        write(f"{name:32}{frame:9.2f}{delta_us[name]:11.2f}\n")


def parts(duration_ms: int) -> dict[str, Part]:
    """Return every part, ready to work on audio of this duration again and again."""
    random = np.random.default_rng(711)
    phone = np.rint(3_000 * random.standard_normal(PHONE_HZ * duration_ms // 1000)).astype(np.int16)
    model = np.rint(3_000 * random.standard_normal(MODEL_HZ * duration_ms // 1000)).astype(np.int16)
    ulaw = pcm16_to_ulaw(phone)
    pcm24k = model.astype("<i2").tobytes()
    up, down = upsampler("polyphase"), downsampler("polyphase")

    return {
        "μ-law → PCM16, 8 kHz": lambda: ulaw_to_pcm16(ulaw),
        "PCM16 → μ-law, 8 kHz": lambda: pcm16_to_ulaw(phone),
        "8 → 24 kHz, polyphase": resampling(upsampler("polyphase"), phone),
        "8 → 24 kHz, soxr HQ": resampling(SoxrResampler(PHONE_HZ, MODEL_HZ), phone),
        "24 → 8 kHz, polyphase": resampling(downsampler("polyphase"), model),
        "24 → 8 kHz, soxr HQ": resampling(SoxrResampler(MODEL_HZ, PHONE_HZ), model),
        "caller → model, bytes to bytes": lambda: up.process(ulaw_to_pcm16(ulaw)).tobytes(),
        "model → caller, bytes to bytes": lambda: pcm16_to_ulaw(down.process(np.frombuffer(pcm24k, "<i2"))),
    }


def resampling(resampler: Resampler, samples: np.ndarray) -> Part:
    """Return a part that feeds the same samples to one resampler, as an endless stream."""
    return lambda: resampler.process(samples)


def best_us(parts: dict[str, Part], rounds: int) -> dict[str, float]:
    """Return the least CPU time of one run of each part."""
    repeats = {name: max(1, int(ROUND_MS * 1000 / run_us(part, 100))) for name, part in parts.items()}
    best = dict.fromkeys(parts, float("inf"))
    for _ in range(rounds):
        for name, part in parts.items():
            best[name] = min(best[name], run_us(part, repeats[name]))
    return best


def run_us(part: Part, repeats: int) -> float:
    """Return the mean CPU time of one run, all threads of this process counted."""
    start_ns = time.process_time_ns()
    for _ in range(repeats):
        part()
    return (time.process_time_ns() - start_ns) / repeats / 1000


if __name__ == "__main__":
    main()
