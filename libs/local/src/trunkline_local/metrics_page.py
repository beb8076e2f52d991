"""Writes docs/metrics.md from the metrics that the services make: name, type, labels and their values, meaning.

`python -m trunkline_local.metrics_page` prints the page; `make metrics` puts it where it belongs.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Final

from prometheus_client.metrics import MetricWrapperBase

import trunkline_gateway.metrics
import trunkline_transcripts.metrics
import trunkline_worker.metrics
from trunkline_common import bus, http_metrics, link, service

VALUES_SHOWN_MAX: Final = 24
"""Of a label: a longer list is cut."""

_SECTIONS: Final[dict[str, tuple[ModuleType, ...]]] = {
    "Every service": (service, http_metrics, link, bus),
    "Gateway": (trunkline_gateway.metrics,),
    "Worker": (trunkline_worker.metrics,),
    "Transcripts": (trunkline_transcripts.metrics,),
}

_INTRODUCTION: Final = """\
# Metrics

Every service serves `/metrics` for Prometheus. This page is made from the code by `make metrics`; a test compares them.

* Counters end on `_total`. A histogram has the series `_bucket`, `_sum` and `_count`; its upper bounds stand behind it.
* Label values come from closed lists: never a call, a number or a text. Each begins at 0, so that `rate()` is right
  from the first time on. `agent`, `model` and `name` have the values that your profiles, settings and OpenAI give them,
  from an agent's first call on.
* Beside these, the Prometheus client exports `process_cpu_seconds_total`, `process_resident_memory_bytes`,
  `process_open_fds` and the counters of Python's garbage collector.
* What to watch is in the [runbook](runbook.md), and drawn in `deploy/grafana/dashboards`.
"""


def page() -> str:
    """Return the page, in Markdown."""
    parts = [_INTRODUCTION]
    for title, modules in _SECTIONS.items():
        parts.append(f"## {title}\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |")
        parts[-1] += "".join(f"\n{_row(metric)}" for module in modules for metric in _metrics_of(module))
        parts[-1] += "\n"
    return "\n".join(parts)


def every_metric() -> Iterator[MetricWrapperBase]:
    """Yield each metric of all services, in the order of the files."""
    for modules in _SECTIONS.values():
        for module in modules:
            yield from _metrics_of(module)


def labels_of(metric: MetricWrapperBase) -> dict[str, list[str]]:
    """Return the metric's labels and the values that exist from the start, sorted; none where they are not known."""
    return {
        # The client has no public way to ask a metric for its labels.
        label: sorted({child[place] for child in getattr(metric, "_metrics", {})})
        for place, label in enumerate(metric._labelnames)
    }


def _metrics_of(module: ModuleType) -> Iterator[MetricWrapperBase]:
    seen: set[int] = set()
    for value in vars(module).values():
        for metric in value.values() if isinstance(value, dict) else (value,):
            is_whole = isinstance(metric, MetricWrapperBase) and not metric._labelvalues
            if is_whole and id(metric) not in seen:
                seen.add(id(metric))
                yield metric


def _row(metric: MetricWrapperBase) -> str:
    name = f"{metric._name}_total" if metric._type == "counter" else metric._name
    bounds = [f"{bound:g}" for bound in getattr(metric, "_kwargs", {}).get("buckets", ())]
    kind = f"{metric._type} ({', '.join(bounds)})" if bounds else metric._type
    labels = "<br>".join(_label(label, values) for label, values in labels_of(metric).items())
    return f"| `{name}` | {kind} | {labels} | {metric._documentation} |"


def _label(label: str, values: list[str]) -> str:
    if not values:
        return f"`{label}`"
    shown = ", ".join(values[:VALUES_SHOWN_MAX]) + (", …" if len(values) > VALUES_SHOWN_MAX else "")
    return f"`{label}`: {shown}"


if __name__ == "__main__":
    print(page(), end="")
