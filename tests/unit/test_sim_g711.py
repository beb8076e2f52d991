"""The simulators' own μ-law against the standard's values."""

import numpy as np

from trunkline_simulators import g711

# ITU-T G.711, table 2a/2b: the code on the wire and the decoder's value on the 14-bit scale.
STANDARD = {
    0x80: 8031,
    0x8F: 4191,
    0x9F: 2079,
    0xAF: 1023,
    0xBF: 495,
    0xCF: 231,
    0xDF: 99,
    0xEF: 33,
    0xFE: 2,
    0xFF: 0,
}

# The smallest amplitude on the same scale that is sent as this code.
DECISION_VALUES = {0x8F: 4063, 0x9F: 2015, 0xAF: 991, 0xBF: 479, 0xCF: 223, 0xDF: 95, 0xEF: 31, 0xFE: 1}


def test_every_segment_decodes_to_the_standards_value() -> None:
    codes = bytes(STANDARD)

    decoded = g711.decode(codes)

    assert (decoded // 4).tolist() == list(STANDARD.values())


def test_the_sign_is_the_first_bit() -> None:
    positive = bytes(range(0x80, 0x100))
    negative = bytes(range(0x80))

    assert (g711.decode(negative) == -g711.decode(positive)).all()


def test_every_code_survives_a_round_trip() -> None:
    codes = bytes(range(256))

    again = g711.encode(g711.decode(codes))

    # There are two zeros, and the positive one is sent.
    assert again == codes.replace(b"\x7f", b"\xff")


def test_each_segment_begins_at_the_standards_decision_value() -> None:
    at = np.array([4 * value for value in DECISION_VALUES.values()], np.int16)

    codes = g711.encode(at)
    below = g711.encode(at - 1)

    assert list(codes) == list(DECISION_VALUES)
    assert [code - 1 for code in below] == list(DECISION_VALUES)


def test_what_is_too_loud_is_clipped() -> None:
    assert g711.encode(np.array([-32768, 32767], np.int16)) == b"\x00\x80"


def test_silence_is_all_ones() -> None:
    assert g711.encode(np.zeros(3, np.int16)) == bytes([g711.SILENCE] * 3) == b"\xff\xff\xff"
