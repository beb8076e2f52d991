"""G.711 μ-law by the standard's rule, as two lookup tables.

The simulators have an own implementation so that a fault in the services' one cannot hide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SILENCE = 0xFF  # the code of amplitude zero; what an idle line carries

_BIAS = 132  # 33 on the standard's 14-bit scale: makes every segment start at a power of two
_CLIP = 32635  # the largest magnitude whose biased value still fits in 15 bits


def decode(ulaw: bytes) -> NDArray[np.int16]:
    """Return one 16-bit sample for each μ-law byte (ITU-T G.711, table 2a, scaled by 4)."""
    return _DECODED[np.frombuffer(ulaw, np.uint8)]


def encode(pcm: NDArray[np.int16]) -> bytes:
    """Return one μ-law byte for each 16-bit sample; samples beyond ±32635 are clipped."""
    return _ENCODED[pcm.astype(np.int32) + 32768].tobytes()


def _decoding_table() -> NDArray[np.int16]:
    # On the wire all bits are inverted: sign, three bits of segment, four bits of step.
    code = ~np.arange(256) & 0xFF
    segment, step = (code >> 4) & 7, code & 15
    magnitude = (((step << 3) + _BIAS) << segment) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _encoding_table() -> NDArray[np.uint8]:
    sample = np.arange(-32768, 32768)
    biased = np.minimum(np.abs(sample), _CLIP) + _BIAS
    segment = np.floor(np.log2(biased)).astype(np.int64) - 7
    step = (biased >> (segment + 3)) & 15
    sign = np.where(sample < 0, 0x80, 0)
    code: NDArray[np.int64] = ~(sign | segment << 4 | step) & 0xFF
    return code.astype(np.uint8)


_DECODED = _decoding_table()
_ENCODED = _encoding_table()
