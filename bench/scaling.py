"""Which headroom keeps callers from hearing "full" while the workers scale, and what it costs: a simulated day.

    python -m bench.scaling --seeds 3

Prints the tables of docs/scaling.md. Nothing is measured here: assumptions go in, see `bench/autoscaling.py`.
"""

from collections.abc import Sequence
from dataclasses import replace

import click

from bench.autoscaling import CURVES, Fleet, Outcome, simulate

TARGETS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


@click.command()
@click.option("--calls", "calls_at_peak", default=1_000, show_default=True, help="Calls at once at noon.")
@click.option("--day", type=click.Choice(sorted(CURVES)), help="Only this kind of day.")
@click.option(
    "--target", "targets", type=float, multiple=True, help="Only this share of full.  [default: six]"
)
@click.option("--seeds", default=3, show_default=True, help="Days of each kind; the worst counts.")
@click.option("--spare-nodes", default=0, show_default=True, help="Nodes kept ready for pods to come.")
@click.option("--pods-min", default=3, show_default=True, help="Pods that there always are.")
@click.option("--node-start-s", default=180, show_default=True, help="What a new node takes at most.")
def command(
    calls_at_peak: int,
    day: str | None,
    targets: tuple[float, ...],
    seeds: int,
    spare_nodes: int,
    pods_min: int,
    node_start_s: int,
) -> None:
    """Let days of calls happen, for each headroom."""
    fleet = Fleet(
        spare_nodes=spare_nodes, pods_min=pods_min, node_start_s=(min(90, node_start_s), node_start_s)
    )
    click.echo(
        f"{calls_at_peak} calls at once at noon, {fleet.capacity_calls} to a pod, {pods_min} pods at least, "
        f"{spare_nodes} spare nodes; {seeds} days of each kind, the worst of them"
    )
    click.echo()
    click.echo(
        "| day | pods full to | calls | refused | seconds full | fullest | pods at most | pod hours | × ideal |"
    )
    click.echo("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in [day] if day else CURVES:
        for target in targets or TARGETS:
            chosen = replace(fleet, target=target)
            days = [simulate(chosen, CURVES[name], calls_at_peak, seed) for seed in range(1, seeds + 1)]
            click.echo(_row(name, chosen, days))


def _row(name: str, fleet: Fleet, days: Sequence[Outcome]) -> str:
    worst = max(days, key=lambda outcome: (outcome.refused, outcome.fullest))
    hours = sum(each.pod_hours for each in days)
    ideal = sum(each.ideal_pod_hours(fleet.capacity_calls) for each in days)
    cells = (
        name,
        f"{fleet.target:.0%}",
        f"{worst.calls:,}",
        f"{worst.refused:,}",
        worst.full_s,
        f"{worst.fullest:.0%}",
        max(each.pods_peak for each in days),
        f"{hours / len(days):.0f}",
        f"{hours / ideal:.1f}",
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


if __name__ == "__main__":
    command()
