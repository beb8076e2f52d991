import prometheus_client
import structlog

from trunkline_gateway.reasons import EXPLANATIONS, Rejection
from trunkline_gateway.rejections import LOG_LINES_MAX, LOG_PERIOD_S, Rejections


def counted(rejection: Rejection) -> float:
    value = prometheus_client.REGISTRY.get_sample_value(
        "trunkline_gateway_rejected_total", {"reason": rejection.value}
    )
    assert value is not None, "each reason is there from the start"
    return value


def test_each_rejection_is_one_line_that_says_what_to_do() -> None:
    before = counted(Rejection.BAD_SIGNATURE)

    with structlog.testing.capture_logs() as lines:
        Rejections().note(Rejection.BAD_SIGNATURE, webhook="voice")

    (line,) = lines
    assert line["event"] == "input-rejected"
    assert line["reason"] == "bad-signature"
    assert "PUBLIC_URL" in line["why"]
    assert line["webhook"] == "voice"
    assert counted(Rejection.BAD_SIGNATURE) == before + 1


def test_every_reason_is_explained_and_counted_from_the_start() -> None:
    assert set(EXPLANATIONS) == set(Rejection)
    assert all(counted(rejection) >= 0 for rejection in Rejection)


def test_a_flood_of_one_reason_does_not_flood_the_log() -> None:
    now = 0.0
    rejections = Rejections(lambda: now)

    with structlog.testing.capture_logs() as lines:
        for _ in range(LOG_LINES_MAX + 90):
            rejections.note(Rejection.MISSING_SIGNATURE)
        rejections.note(Rejection.BAD_BASE64)
        now = float(LOG_PERIOD_S)
        rejections.note(Rejection.MISSING_SIGNATURE)

    assert len(lines) == LOG_LINES_MAX + 2
    assert lines[-1]["suppressed"] == 90
    assert "suppressed" not in lines[-2]
