"""The caller's audio at another owner of the call: placed where it was, heard again, and never twice."""

from trunkline_worker.uplink import BACKLOG_MS_MAX, Uplink


def speech(ms: int) -> bytes:
    return b"\x21" * (8 * ms)


def restored(media_ms: int, stream_shift_ms: float | None, sent_until_ms: int | None = None) -> Uplink:
    uplink = Uplink("pcmu", "polyphase")
    uplink.restore(media_ms, stream_shift_ms)
    if sent_until_ms is not None:
        uplink.sent_until(sent_until_ms)
    return uplink


def test_in_mid_stream_its_timestamps_mean_what_they_meant() -> None:
    uplink = restored(9_000, stream_shift_ms=4_000.0)

    uplink.push(4_500, speech(20), now=0.0)

    assert uplink.media_end_ms == 8_520


def test_a_new_stream_goes_on_where_the_call_was() -> None:
    uplink = restored(9_000, stream_shift_ms=None)

    uplink.push(140, speech(20), now=0.0)

    assert uplink.media_end_ms == 9_020


def test_before_anything_came_the_call_is_where_it_was() -> None:
    assert restored(9_000, stream_shift_ms=0.0).media_end_ms == 9_000


def test_a_session_is_given_what_the_gateway_kept_from_where_it_is_needed() -> None:
    uplink = restored(9_000, stream_shift_ms=0.0, sent_until_ms=5_000)
    for t_ms in range(4_000, 9_000, 20):
        uplink.push(t_ms, speech(20), now=t_ms / 1_000)

    audio, start_ms = uplink.open(5_000)

    assert (len(audio) // 8, start_ms) == (4_000, 5_000)
    assert uplink.opened_ms == 9_000


def test_what_comes_again_is_not_heard_twice() -> None:
    uplink = restored(9_000, stream_shift_ms=0.0, sent_until_ms=5_000)
    uplink.open()
    uplink.push(5_000, speech(40), now=0.0)

    assert uplink.push(5_020, speech(20), now=0.0) == b""
    assert uplink.repeated_frames == 1


def test_what_the_owner_before_had_sent_counts_as_given() -> None:
    # Otherwise each takeover would be counted as seconds of the caller's that nobody heard.
    uplink = restored(9_000, stream_shift_ms=0.0, sent_until_ms=9_000)
    for t_ms in range(5_000, 9_000 + BACKLOG_MS_MAX, 20):
        uplink.push(t_ms, speech(20), now=t_ms / 1_000)

    assert uplink.dropped_ms == 0
