"""The figures of a run of `make chaos`, of several together, and the report that tells them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from chaos_runs import good_call, good_run, spoiled, strike, whole
from click.testing import CliRunner

from chaos import checker, figures, report
from chaos.evidence import Run
from chaos.sum import command


@pytest.mark.parametrize(("tries", "bound"), [(1, 1.0), (3, 1.0), (200, 0.015), (1_000, 0.003)])
def test_what_no_failure_in_so_many_tries_rules_out(tries: int, bound: float) -> None:
    assert figures.zero_failures_bound(tries) == pytest.approx(bound)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 201)]

    assert figures.percentile(values, 0.5) == 100
    assert figures.percentile(values, 0.99) == 198
    assert figures.percentile([5.0], 0.99) == 5.0
    assert figures.percentile([], 0.99) is None


def test_a_run_without_violations_passes() -> None:
    run = good_run(strikes=(strike(),))
    (found,) = figures.figures(run, checker.check(run))

    assert (found.fault, found.strikes, found.calls_dropped) == ("worker-kill", 1, 0)
    assert (found.gaps_ms, found.own_gaps_ms, found.drop_bound) == ([0.0], [], 1.0)
    assert not report.has_failed([found], [])
    assert "passed  no call ended otherwise" in report.text(report.totals(run), [found], [])


def test_a_dropped_call_fails_the_run_and_has_no_bound() -> None:
    run = spoiled(end_reason="hangup", script_finished=False)
    violations = checker.check(run)
    (found,) = figures.figures(run, violations)

    assert (found.calls_dropped, found.drop_bound) == (1, None)
    assert report.has_failed([found], violations)
    assert "FAILED  no call ended otherwise (1)" in report.text(report.totals(run), [found], violations)


def test_a_gap_beyond_its_target_fails_the_run() -> None:
    run = late_run(14_000)
    (found,) = figures.figures(run, [])

    assert not found.is_on_target
    assert report.has_failed([found], [])
    assert not report.has_failed([found], [], gaps=False)


def test_where_the_target_is_ours_twilio_s_part_does_not_count() -> None:
    run = late_run(12_000)
    gateway_kill = replace(run.strikes[0], fault="gateway-kill", takes_streams=True)
    (found,) = figures.figures(replace(run, strikes=(gateway_kill,)), [])
    mostly_twilios = replace(found, own_gaps_ms=[200.0])

    assert (found.gaps_ms, found.own_gaps_ms) == ([1_100.0], [1_100.0])
    assert not found.is_on_target
    assert mostly_twilios.is_on_target


def test_reports_of_several_runs_add_up(tmp_path: Path) -> None:
    paths = [
        written(tmp_path, 1, late_run(11_400)),
        written(tmp_path, 2, late_run(11_500)),
    ]
    result = CliRunner().invoke(command, [str(path) for path in paths])

    assert result.exit_code == 0
    told = [line for line in result.output.splitlines() if line.startswith("worker-kill")]
    # n, calls, dropped, lost, twice, cut, gap p50, p99 and max
    assert told[0].split()[1:10] == ["2", "2", "0", "0", "0", "0", "500", "600", "600"]


def test_a_run_does_not_count_twice(tmp_path: Path) -> None:
    path = str(written(tmp_path, 1, late_run(11_400)))

    result = CliRunner().invoke(command, [path, path])

    assert result.exit_code == 1
    assert "twice" in result.output


def test_a_violation_in_any_of_several_runs_fails_them(tmp_path: Path) -> None:
    paths = [written(tmp_path, 1, late_run(11_400)), written(tmp_path, 2, spoiled(outcome="server"))]

    result = CliRunner().invoke(command, [str(path) for path in paths])

    assert result.exit_code == 1
    assert "FAILED  no end not stored (1)" in result.output


def late_run(answered_ms: int) -> Run:
    """A run in which the first answer, usually due at 10.9 s, came then after a fault."""
    greeting, _, last = good_call().heard
    late = replace(good_call(), heard=(greeting, whole("agent-digits-2", answered_ms), last))
    return good_run(late, good_call("CA2"), strikes=(strike(0, 10.5),))


def written(folder: Path, seed: int, run: Run) -> Path:
    violations = checker.check(run)
    path = folder / f"{seed}.json"
    told = report.as_json(
        {"seed": seed}, report.totals(run), figures.figures(run, violations), violations, gaps=True
    )
    path.write_text(json.dumps(told))
    return path
