from trunkline_gateway.message_rate import BURST_MESSAGES_MAX, FLOOD_S, MESSAGES_PER_S_MAX, MessageRate


def send(rate: MessageRate, messages_per_s: float, seconds: float, start: float = 0.0) -> float | None:
    """Send evenly; return when the rate refused, if it did."""
    for number in range(round(messages_per_s * seconds)):
        now = start + number / messages_per_s
        if not rate.admits(now):
            return now
    return None


def test_a_phone_line_is_never_a_flood() -> None:
    assert send(MessageRate(), 55, seconds=600) is None


def test_exactly_the_limit_is_no_flood() -> None:
    assert send(MessageRate(), MESSAGES_PER_S_MAX, seconds=60) is None


def test_more_than_the_limit_for_two_seconds_is_a_flood() -> None:
    refused_at = send(MessageRate(), 1.5 * MESSAGES_PER_S_MAX, seconds=60)

    assert refused_at is not None
    assert FLOOD_S <= refused_at <= FLOOD_S + 1


def test_a_stall_that_arrives_in_one_burst_is_no_flood() -> None:
    for phase in range(20):
        rate = MessageRate()
        assert send(rate, 50, seconds=3 + phase / 20) is None
        # 8 s of audio at once, then the line goes on.
        assert send(rate, 10_000, seconds=0.04, start=12 + phase / 20) is None
        assert send(rate, 50, seconds=10, start=12.04 + phase / 20) is None


def test_stalls_that_come_again_and_again_are_no_flood() -> None:
    rate = MessageRate()

    for second in range(0, 60, 3):
        assert send(rate, 3_000, seconds=0.05, start=second) is None


def test_a_burst_beyond_any_stall_is_refused_at_once() -> None:
    refused_at = send(MessageRate(), 100_000, seconds=1)

    assert refused_at is not None
    assert refused_at < 2 * BURST_MESSAGES_MAX / 100_000
