"""The audio formats, and the buffer of what the caller has said and nobody has committed."""

import base64

import numpy as np
import pytest

from trunkline_simulators.openai_audio import FORMATS, InputBuffer, decode_base64
from trunkline_simulators.openai_configuration import AudioFormatName
from trunkline_simulators.openai_rejection import Rejection


def test_pcm_is_little_endian() -> None:
    assert FORMATS["audio/pcm"].decode(b"\x01\x00\x00\x80").tolist() == [1, -32768]
    assert FORMATS["audio/pcm"].encode(np.array([1, -32768], np.int16)) == b"\x01\x00\x00\x80"


@pytest.mark.parametrize("name", ["audio/pcmu", "audio/pcma"])
def test_every_g711_code_survives_decoding_and_encoding(name: AudioFormatName) -> None:
    codes = bytes(range(256))
    if name == "audio/pcmu":
        codes = codes.replace(b"\x7f", b"")  # its negative zero comes back as zero

    assert FORMATS[name].encode(FORMATS[name].decode(codes)) == codes


def test_alaw_has_the_values_of_the_standard() -> None:
    # ITU-T G.711 table 1a, scaled to 16 bits: the smallest and the largest value of both signs.
    assert FORMATS["audio/pcma"].decode(b"\xd5\x55\xaa\x2a").tolist() == [8, -8, 32256, -32256]


@pytest.mark.parametrize(
    ("name", "second_bytes"), [("audio/pcm", 48_000), ("audio/pcmu", 8_000), ("audio/pcma", 8_000)]
)
def test_bytes_count_as_time_by_format(name: AudioFormatName, second_bytes: int) -> None:
    assert FORMATS[name].duration_ms(second_bytes) == 1_000


@pytest.mark.parametrize("audio", ["AAA", "AA-_", "äöü", "A A A A"])
def test_what_is_not_base64_is_refused(audio: str) -> None:
    with pytest.raises(Rejection, match="Expected base64-encoded audio bytes"):
        decode_base64(audio, "audio")


def test_an_append_has_at_most_15_mib() -> None:
    with pytest.raises(Rejection, match="audio too long"):
        decode_base64(base64.b64encode(bytes(15 * 1024 * 1024 + 1)).decode(), "audio")


def test_audio_may_be_cut_anywhere() -> None:
    buffer = InputBuffer("audio/pcm")

    for piece in (b"\x01", b"\x00\x02", b"\x00"):
        buffer.append(piece)

    assert buffer.since(0).tolist() == [1, 2]


def test_a_commit_takes_the_turn_and_empties_the_buffer() -> None:
    buffer = InputBuffer("audio/pcmu")
    buffer.append(bytes(8_000))

    turn = buffer.commit(250, check_length=True)

    assert len(turn) == 6_000
    assert (buffer.held_ms, buffer.end_ms) == (0, 1_000)


@pytest.mark.parametrize(("size", "held"), [(0, "0.00"), (799, "99.88")])
def test_a_commit_needs_100_ms(size: int, held: str) -> None:
    buffer = InputBuffer("audio/pcmu")
    buffer.append(bytes(size))

    with pytest.raises(Rejection) as caught:
        buffer.commit(0, check_length=True)

    assert caught.value.code == "input_audio_buffer_commit_empty"
    assert caught.value.message == (
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio,"
        f" but buffer only has {held}ms of audio."
    )


def test_old_audio_is_dropped_and_counted() -> None:
    buffer = InputBuffer("audio/pcmu")
    for _ in range(10):
        buffer.append(bytes(800))

    buffer.keep_last_ms(250)

    assert (buffer.held_ms, buffer.dropped_ms, buffer.end_ms) == (300, 700, 1_000)


def test_time_goes_on_when_the_format_changes() -> None:
    buffer = InputBuffer("audio/pcm")
    buffer.append(bytes(24_000))

    buffer.set_format("audio/pcmu")
    buffer.append(bytes(800))

    assert (buffer.held_ms, buffer.end_ms) == (100, 600)
