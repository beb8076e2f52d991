"""Voice activity as recorded sessions show it: 32 ms windows, padding, silence, threshold."""

import numpy as np
import pytest
from numpy.typing import NDArray

from trunkline_simulators import recordings
from trunkline_simulators.openai_configuration import TurnDetection
from trunkline_simulators.openai_vad import SpeechStarted, SpeechStopped, Vad, VadEvent

RATE_HZ = 8_000


def settings(
    *, threshold: float = 0.5, prefix_padding_ms: int = 300, silence_duration_ms: int = 500
) -> TurnDetection:
    return TurnDetection(threshold, prefix_padding_ms, silence_duration_ms, None, True, True)


def silence(duration_ms: int, rate_hz: int = RATE_HZ) -> NDArray[np.int16]:
    return np.zeros(rate_hz * duration_ms // 1000, np.int16)


def tone(duration_ms: int, peak: int = 8_000) -> NDArray[np.int16]:
    time_s = np.arange(RATE_HZ * duration_ms // 1000) / RATE_HZ
    return (peak * np.sin(2 * np.pi * 300 * time_s)).astype(np.int16)


def events_in(*sounds: NDArray[np.int16], wanted: TurnDetection | None = None) -> list[VadEvent]:
    return Vad(RATE_HZ).feed(np.concatenate(sounds), wanted or settings())


def test_a_turn_starts_before_its_sound_and_ends_after_the_silence() -> None:
    events = events_in(silence(640), tone(960), silence(1_000))

    # 640 ms less the padding; 1600 ms and the first 32 ms windows that make 500 ms of silence.
    assert events == [SpeechStarted(340), SpeechStopped(1_600 + 512)]


@pytest.mark.parametrize("utterance", recordings.utterances("caller"), ids=lambda each: each.id)
def test_positions_lie_on_windows_of_32_ms(utterance: recordings.Utterance) -> None:
    sound = recordings.samples(utterance.id, RATE_HZ)

    events = events_in(silence(1_013), sound, silence(1_000))

    match events:
        case [SpeechStarted(start_ms), SpeechStopped(end_ms)]:
            assert (start_ms + 300) % 32 == 0
            assert end_ms % 32 == 0
            assert 600 < start_ms < 1_013
            assert end_ms > 1_013 + len(sound) * 1000 / RATE_HZ
        case _:
            pytest.fail(f"{utterance.id} is not one turn: {events}")


def test_pieces_of_any_size_give_the_same_events() -> None:
    sound = np.concatenate((silence(500), recordings.samples("caller-hours", RATE_HZ), silence(1_000)))
    whole = Vad(RATE_HZ).feed(sound, settings())

    vad = Vad(RATE_HZ)
    pieces = [event for piece in np.array_split(sound, 97) for event in vad.feed(piece, settings())]

    assert pieces == whole


def test_24_khz_audio_has_the_same_time_base() -> None:
    sound = np.concatenate(
        (silence(500, 24_000), recordings.samples("caller-hours", 24_000), silence(1_000, 24_000))
    )

    (started, stopped) = Vad(24_000).feed(sound, settings())

    assert isinstance(started, SpeechStarted)
    assert (started.audio_start_ms + 300) % 32 == 0
    assert isinstance(stopped, SpeechStopped)


def test_padding_does_not_reach_before_the_session() -> None:
    assert events_in(tone(200))[0] == SpeechStarted(0)


def test_a_short_pause_does_not_end_a_turn_of_long_silence() -> None:
    pause = (tone(300), silence(400), tone(300), silence(1_000))

    patient = events_in(*pause, wanted=settings(silence_duration_ms=500))
    hasty = events_in(*pause, wanted=settings(silence_duration_ms=200))

    assert len(patient) == 2
    assert len(hasty) == 4


def test_one_loud_window_is_a_click() -> None:
    assert events_in(silence(640), tone(32), silence(1_000)) == []


def test_the_threshold_is_how_loud_speech_must_be() -> None:
    quiet_voice = (silence(320), tone(640, peak=700), silence(1_000))

    assert len(events_in(*quiet_voice, wanted=settings(threshold=0.5))) == 2
    assert events_in(*quiet_voice, wanted=settings(threshold=0.9)) == []


def test_noise_of_a_quiet_line_and_a_constant_offset_are_silence() -> None:
    noise = np.random.default_rng(1).normal(0, 60, RATE_HZ).astype(np.int16)

    assert events_in(noise) == []
    assert events_in(np.full(RATE_HZ, 5_000, np.int16)) == []


def test_without_audio_a_turn_does_not_end() -> None:
    vad = Vad(RATE_HZ)
    vad.feed(tone(500), settings())

    assert vad.feed(silence(0), settings()) == []
    assert vad.speaking


def test_without_turn_detection_only_time_passes() -> None:
    vad = Vad(RATE_HZ)

    assert vad.feed(tone(960), None) == []
    assert vad.feed(np.concatenate((silence(320), tone(200))), settings()) == [SpeechStarted(960 + 320 - 300)]
