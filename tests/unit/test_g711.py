"""The worker's μ-law against ITU-T G.711, table 2: decision values, decoder outputs, character signals."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from trunkline_worker.g711 import ULAW_SILENCE, pcm16_to_ulaw, ulaw_to_pcm16

ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(-32_768, 32_768).astype(np.int16)
# The standard counts in 14 bits, PCM16 in 16.
PCM16_PER_UNIT = 4


def test_every_code_decodes_to_the_middle_of_its_interval() -> None:
    decoded = ulaw_to_pcm16(ALL_CODES)

    outputs = PCM16_PER_UNIT * decoder_outputs()
    assert decoded.dtype == np.int16
    # Character signals count down: 0xFF is the first positive interval, 0x7F the first negative one.
    np.testing.assert_array_equal(decoded[0x80:], outputs[::-1])
    np.testing.assert_array_equal(decoded[:0x80], -outputs[::-1])


@pytest.mark.parametrize(
    ("code", "output"),
    [
        (0b1000_0000, 8031),
        (0b1000_1111, 4191),
        (0b1001_1111, 2079),
        (0b1010_1111, 1023),
        (0b1011_1111, 495),
        (0b1100_1111, 231),
        (0b1101_1111, 99),
        (0b1110_1111, 33),
        (0b1111_1110, 2),
        (0b1111_1111, 0),
        (0b0111_1111, 0),
        (0b0111_1110, -2),
        (0b0000_0000, -8031),
    ],
)
def test_decoder_outputs_printed_in_the_standard(code: int, output: int) -> None:
    assert ulaw_to_pcm16(bytes([code]))[0] == PCM16_PER_UNIT * output


def test_every_sample_encodes_by_the_standards_decision_values() -> None:
    encoded = np.frombuffer(pcm16_to_ulaw(ALL_SAMPLES), np.uint8)

    # A decision value belongs to the interval above it, so it is the first of the louder positive interval
    # and the first of the quieter negative one.
    thresholds = PCM16_PER_UNIT * decision_values()[1:-1]
    sample = ALL_SAMPLES.astype(np.int32)
    positive = 0xFF - np.searchsorted(thresholds, sample, side="right")
    negative = 0x7F - np.searchsorted(thresholds, -sample, side="left")
    np.testing.assert_array_equal(encoded, np.where(sample >= 0, positive, negative))


def test_every_code_survives_decoding_and_encoding_except_negative_zero() -> None:
    again = pcm16_to_ulaw(ulaw_to_pcm16(ALL_CODES))

    assert again == ALL_CODES.replace(b"\x7f", b"\xff")


def test_small_negative_samples_are_negative_zero() -> None:
    assert pcm16_to_ulaw(np.array([-5, -4, -1, 0, 3, 4], np.int16)) == b"\x7e\x7f\x7f\xff\xff\xfe"


def test_loudest_samples_saturate() -> None:
    assert pcm16_to_ulaw(np.array([-32_768, 32_767], np.int16)) == b"\x00\x80"


def test_silence() -> None:
    assert ulaw_to_pcm16(bytes([ULAW_SILENCE]))[0] == 0
    assert pcm16_to_ulaw(np.zeros(1, np.int16)) == bytes([ULAW_SILENCE])


def test_nothing_in_nothing_out() -> None:
    assert ulaw_to_pcm16(b"").size == 0
    assert pcm16_to_ulaw(np.zeros(0, np.int16)) == b""


def test_decoded_samples_may_be_written_to() -> None:
    samples = ulaw_to_pcm16(b"\xff\xff")

    samples[0] = 1

    assert ulaw_to_pcm16(b"\xff")[0] == 0


def test_encodes_one_channel_of_interleaved_stereo() -> None:
    stereo = np.array([[0, 32_767], [-32_768, 0]], np.int16)

    assert pcm16_to_ulaw(stereo[:, 0]) == b"\xff\x00"


def decision_values() -> NDArray[np.int64]:
    """Return the 129 decision values of one sign, from the ends of the eight segments.

    Each segment has 16 equal intervals; in the first one, the interval at zero is only half as wide.
    """
    segment_ends = [31, 95, 223, 479, 991, 2015, 4063, 8159]
    values = [0, *range(1, 32, 2)]
    for start, end in pairwise(segment_ends):
        width = (end - start) // 16
        values.extend(range(start + width, end + 1, width))
    return np.array(values)


def decoder_outputs() -> NDArray[np.int64]:
    """Return the 128 outputs of one sign: zero, then the middle of each interval."""
    decisions = decision_values()
    middles = (decisions[:-1] + decisions[1:]) // 2
    middles[0] = 0
    return middles
