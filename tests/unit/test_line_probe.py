from trunkline_common.control import LineReport
from trunkline_gateway.probe import (
    ECHO_OVERDUE_S,
    PROBE_INTERVAL_S,
    PROBE_RETRY_S,
    REPORT_INTERVAL_S,
    LineProbe,
)


def test_the_first_probe_goes_out_at_once_and_the_next_after_its_interval() -> None:
    probe = LineProbe(10.0)

    assert probe.due_at == 10.0
    assert probe.next_probe(10.0) == "probe:1"
    assert probe.due_at == 10.0 + PROBE_INTERVAL_S
    assert probe.next_probe(probe.due_at) == "probe:2"


def test_an_echo_measures_the_line() -> None:
    probe = LineProbe(0.0)
    probe.next_probe(0.0)

    assert probe.probe_echoed("probe:1", 0.08) == 0.08
    assert probe.report(0.08) == LineReport(twilio_rtt_ms=80.0)


def test_the_echo_of_an_older_probe_measures_nothing() -> None:
    probe = LineProbe(0.0)
    probe.next_probe(0.0)
    probe.next_probe(5.0)

    assert probe.probe_echoed("probe:1", 5.1) is None
    assert probe.report(5.1) is None


def test_nothing_is_measured_behind_audio() -> None:
    probe = LineProbe(0.0)
    probe.audio_sent(8_000, now=0.0)
    probe.audio_sent(8_000, now=0.5)

    assert probe.next_probe(1.9) is None
    assert probe.due_at == 1.9 + PROBE_RETRY_S
    assert probe.next_probe(2.0) == "probe:1"


def test_nothing_is_measured_while_a_mark_is_out() -> None:
    probe = LineProbe(0.0)
    probe.mark_sent()

    assert probe.next_probe(1.0) is None
    probe.mark_echoed()
    assert probe.next_probe(1.0) == "probe:1"


def test_a_mark_that_never_comes_back_holds_nothing_up_for_long() -> None:
    probe = LineProbe(0.0)
    probe.audio_sent(800, now=0.0)
    probe.mark_sent()

    assert probe.next_probe(0.1 + ECHO_OVERDUE_S - 0.01) is None
    assert probe.next_probe(0.1 + ECHO_OVERDUE_S) == "probe:1"


def test_after_a_clear_nothing_is_in_the_way() -> None:
    probe = LineProbe(0.0)
    probe.audio_sent(80_000, now=0.0)
    probe.mark_sent()
    probe.cleared(1.0)
    probe.mark_echoed()

    assert probe.next_probe(1.0) == "probe:1"


def test_pings_are_reported_once_a_second_with_the_newest_value() -> None:
    probe = LineProbe(0.0)
    reports = []
    for number in range(20):
        now = number * 0.2
        probe.worker_answered(float(number))
        reports.append(probe.report(now))

    assert [report.bus_rtt_ms for report in reports if report] == [0.0, 5.0, 10.0, 15.0]
    assert REPORT_INTERVAL_S == 1.0


def test_nothing_new_is_no_report() -> None:
    probe = LineProbe(0.0)
    probe.worker_answered(1.0)
    probe.report(0.0)

    assert probe.report(100.0) is None
