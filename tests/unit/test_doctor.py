"""The report of `trunkline doctor`, whoever examines what."""

import pytest

from trunkline_common import doctor
from trunkline_common.doctor import Level, Sheet
from trunkline_common.http_probe import skew
from trunkline_common.settings import JetStreamSettings


def test_the_worst_finding_decides_the_exit_code() -> None:
    sheet = Sheet("nats")
    assert doctor.exit_code(sheet.findings) == 0

    sheet.not_checked("clock", "nobody told the time")
    sheet.ok("server", "nats-server 2.15.1")
    assert doctor.exit_code(sheet.findings) == 0

    sheet.warning("stream EV", "does not exist yet", "nothing to do")
    assert doctor.exit_code(sheet.findings) == 1

    sheet.wrong("server", "refuses our credentials", "check NATS_CREDS")
    assert doctor.exit_code(sheet.findings) == 2


def test_the_table_has_a_line_for_each_finding_and_below_it_what_to_do() -> None:
    sheet = Sheet("nats")
    sheet.ok("server", "nats-server 2.15.1")
    sheet.wrong("stream EV", "keeps each event on 1 server", "nats stream edit EV --replicas 3")

    assert doctor.lines(sheet.findings) == [
        "ok     nats  server     nats-server 2.15.1",
        "wrong  nats  stream EV  keeps each event on 1 server",
        "             → nats stream edit EV --replicas 3",
        "",
        "1 ok, 1 wrong",
    ]


def test_where_nothing_is_installed_the_report_says_so() -> None:
    assert doctor.lines([]) == ["", "nothing to check is installed"]


def test_a_wrong_setting_is_told_in_the_words_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "http://nats")
    monkeypatch.setenv("EVENT_REPLICAS", "9")
    sheet = Sheet("nats")

    assert sheet.settings(JetStreamSettings) is None

    assert [each.level for each in sheet.findings] == [Level.WRONG, Level.WRONG]
    assert sheet.findings[0].detail.startswith("NATS_URL: must be nats://host:port")
    assert sheet.findings[0].fix.startswith("set NATS_URL, or NATS_URL_FILE")


@pytest.mark.parametrize(
    ("skew_s", "level"),
    [
        (None, Level.NOT_CHECKED),
        (0.5, Level.OK),
        (-4.9, Level.OK),
        (6, Level.WARNING),
        (-29, Level.WARNING),
        (31, Level.WRONG),
        (-3600, Level.WRONG),
    ],
)
def test_a_clock_that_is_off_is_told(skew_s: float | None, level: Level) -> None:
    sheet = Sheet("gateway")

    sheet.clock("Twilio", skew_s)

    assert [each.level for each in sheet.findings] == [level]


def test_a_date_header_tells_how_far_we_are_behind() -> None:
    date, at = "Mon, 23 Nov 2026 01:00:00 GMT", 1_795_395_600.5

    assert skew(date, at) == 0
    assert skew(date, at - 60) == 60
    assert skew("yesterday", at) is None
    assert skew("", at) is None
