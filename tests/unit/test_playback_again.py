"""The agent's direction: what was lost on its way to Twilio is sent again, and nothing else."""

from trunkline_worker.commands import Command, Play, PutMark, TellResumed
from trunkline_worker.playback import Playback


def test_what_came_behind_the_newest_mark_at_twilio_is_sent_again() -> None:
    playback = speaking(b"\x01" * 1600, b"\x02" * 1600, b"\x03" * 1600)

    again = playback.send_again(7, "0:A1:200", now=0.1)

    assert again[0] == TellResumed(7)
    assert played(again) == b"\x02" * 1600 + b"\x03" * 1600
    assert marks(again) == ["0:A1:400", "0:A1:600"]


def test_what_was_heard_is_never_sent_again() -> None:
    playback = speaking(b"\x01" * 1600, b"\x02" * 1600)
    playback.mark_played("0:A1:200", now=0.3)

    assert played(playback.send_again(7, "", now=0.4)) == b"\x02" * 1600


def test_nothing_was_lost_where_twilio_has_the_newest_mark() -> None:
    playback = speaking(b"\x01" * 1600)

    assert playback.send_again(7, "0:A1:200", now=0.1) == [TellResumed(7)]


def test_items_behind_the_mark_are_sent_again_from_their_beginning() -> None:
    playback = speaking(b"\x01" * 1600)
    playback.finish("A1", now=0.0)
    playback.receive("R1", "A2", b"\x02" * 1600, now=0.0)

    assert played(playback.send_again(7, "0:A1:200", now=0.1)) == b"\x02" * 1600


def test_after_an_interruption_what_came_before_is_not_sent_again() -> None:
    playback = speaking(b"\x01" * 1600)
    playback.interrupt(now=0.1)

    assert playback.send_again(7, "0:A1:200", now=0.2) == [TellResumed(7)]


def test_without_a_link_it_waits() -> None:
    playback = speaking(b"\x01" * 1600)
    playback.hold()

    assert playback.send_again(7, "", now=0.1) == [TellResumed(7)]
    assert played(playback.release(now=0.2)) == b"\x01" * 1600


def test_a_lost_line_stops_the_clock_and_the_same_line_starts_it_again() -> None:
    playback = speaking(b"\x01" * 1600)
    playback.lose_line(now=0.05)
    assert playback.heard_ms(now=0.15) == {"A1": 50}

    playback.release(now=0.15)
    assert not playback.is_cut_off
    assert playback.heard_ms(now=0.15) == {"A1": 150}


def speaking(*deltas: bytes) -> Playback:
    playback = Playback("pcmu", "polyphase")
    for delta in deltas:
        playback.receive("R1", "A1", delta, now=0.0)
    return playback


def played(commands: list[Command]) -> bytes:
    return b"".join(command.ulaw for command in commands if isinstance(command, Play))


def marks(commands: list[Command]) -> list[str]:
    return [command.name for command in commands if isinstance(command, PutMark)]
