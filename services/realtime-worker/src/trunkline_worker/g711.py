"""μ-law ↔ PCM16, exactly ITU-T G.711, by table.

μ-law cuts each sign of the 14-bit range into eight segments of sixteen steps; every segment's step is twice
the one before it. PCM16 here is that 14-bit range times four, so the loudest code decodes to ±32,124.
A decision value belongs to the interval above it (ITU-T G.191 software tools): +4 is already the second
positive code, −4 is still negative zero. Codes travel inverted, so silence is 0xFF and not 0x00.
"""

import numpy as np
from numpy.typing import NDArray

ULAW_SILENCE = 0xFF
"""The code of positive zero: what an idle μ-law line carries."""

# G.711 adds 33 before it looks for the segment: then segment s begins at 32 · 2^s for every s.
_BIAS = 33
_BIASED_MAX = 0x1FFF


def ulaw_to_pcm16(data: bytes) -> NDArray[np.int16]:
    """Decode μ-law bytes, one sample a byte, to PCM16 at the same rate."""
    return _PCM16_BY_CODE.take(np.frombuffer(data, np.uint8))


def pcm16_to_ulaw(samples: NDArray[np.int16]) -> bytes:
    """Encode PCM16 samples to μ-law, one byte a sample; louder than ±32,124 saturates."""
    # "wrap" makes a negative sample count from the end of the table, which is where its code lies.
    return _CODE_BY_PCM16.take(samples, mode="wrap").tobytes()


def _decoded() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    segment = (code >> 4 & 0x07).astype(np.int32)
    step = (code & 0x0F).astype(np.int32)
    magnitude = ((2 * step + _BIAS) << segment) - _BIAS
    return (4 * np.where(code & 0x80, -magnitude, magnitude)).astype(np.int16)


def _encoded() -> NDArray[np.uint8]:
    # Indexed by the sample as an unsigned number: 0 … 32,767, then −32,768 … −1. A quarter of this table
    # would do for 14 bits, but shifting the samples first costs more than the larger table.
    sample = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    # One's complement of a negative sample keeps a decision value in the interval above it.
    magnitude = np.where(sample < 0, ~sample, sample) >> 2
    biased = np.minimum(magnitude + _BIAS, _BIASED_MAX)
    segment = np.searchsorted(32 << np.arange(1, 8), biased, side="right")
    step = biased >> (segment + 1) & 0x0F
    sign = np.where(sample < 0, 0x80, 0)
    code: NDArray[np.uint8] = (sign | segment << 4 | step).astype(np.uint8)
    return ~code


_PCM16_BY_CODE = _decoded()
_CODE_BY_PCM16 = _encoded()
