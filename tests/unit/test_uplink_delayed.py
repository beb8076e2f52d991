"""The caller's direction while the bus is away: what is said comes later, and belongs to the same words."""

from trunkline_worker.uplink import STALL_MS, Uplink


def test_no_silence_is_filled_in_while_the_way_to_here_is_broken() -> None:
    uplink = Uplink("pcmu", "polyphase")
    uplink.open()
    uplink.push(0, bytes(160), now=10.0)

    uplink.is_delayed = True
    assert uplink.fill_at() is None

    uplink.is_delayed = False
    assert uplink.fill_at() == 10.0 + STALL_MS / 1000
