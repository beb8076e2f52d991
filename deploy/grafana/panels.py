"""The few kinds of panels that our dashboards are made of, and a dashboard around them, as Grafana's JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

GRID_COLUMNS: Final = 24
SCHEMA_VERSION: Final = 41
"""Of Grafana 12's dashboards; older ones are migrated when Grafana loads them, newer ones refused."""

RUNBOOK_ADDRESS: Final = "https://github.com/OWNER/trunkline/blob/main/docs/runbook.md"
"""What the variable `runbook` begins with: put your own address here and run `make dashboards`, or set it in Grafana."""
RUNBOOK: Final = "${runbook:raw}"
"""Where the links of the dashboards lead; `raw`, because it is an address and no part of one."""

DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}

GOOD: Final = "green"
DOUBTFUL: Final = "orange"
BAD: Final = "red"

Json = dict[str, Any]
Step = tuple[float | None, str]
"""From this value on, this colour; the first has None."""


@dataclass(frozen=True)
class Query:
    """One PromQL expression, and how its series are named; `{{label}}` stands for a label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel. Units are Grafana's own words: `s`, `percentunit`, `short`, `currencyUSD`, `bytes`."""

    kind: Literal["stat", "timeseries"]
    title: str
    about: str
    queries: Sequence[Query]
    unit: str
    steps: Sequence[Step] = ((None, GOOD),)
    alert: str = ""
    """Name of an alert, whose section of the runbook is linked."""
    stacked: bool = False
    top: float | None = None
    """The end of the scale, where the unit has one."""
    decimals: int | None = None
    """Instead of three digits in all, which Grafana would show: 99.95 % would be 100 %."""
    words: Sequence[str] = ()
    """What stands for 0, for 1 and so on, instead of the number."""
    colours: Mapping[str, str] = field(default_factory=dict)
    """Of lines by how their names begin, in shades of it: what is well must not be red by chance."""
    names_zeros: bool = True
    """Whether the legend also names lines that were 0 all the time; without them it tells what happened."""


def stat(
    title: str,
    about: str,
    expr: str,
    unit: str,
    steps: Sequence[Step],
    alert: str = "",
    *,
    decimals: int | None = None,
    words: Sequence[str] = (),
) -> Panel:
    """Return one big number, or word, with its colour."""
    return Panel("stat", title, about, [Query(expr)], unit, steps, alert, decimals=decimals, words=words)


def lines(
    title: str,
    about: str,
    queries: Sequence[Query],
    unit: str,
    *,
    steps: Sequence[Step] = ((None, GOOD),),
    alert: str = "",
    stacked: bool = False,
    top: float | None = None,
    colours: Mapping[str, str] | None = None,
    names_zeros: bool = True,
) -> Panel:
    """Return lines over time; thresholds are drawn where there are several steps."""
    return Panel(
        "timeseries",
        title,
        about,
        queries,
        unit,
        steps,
        alert,
        stacked,
        top,
        colours=colours or {},
        names_zeros=names_zeros,
    )


def quantiles(
    metric: str, *, where: str = "", by: str = "", shown: Sequence[float] = (0.5, 0.9, 0.99)
) -> list[Query]:
    """Return quantiles of a histogram, one line each, with a gap where nothing was measured."""
    labels = f"le, {by}" if by else "le"
    rate = f"sum by ({labels}) (rate({metric}_bucket{{{where}}}[$__rate_interval]))"
    named = f" {{{{{by}}}}}" if by else ""
    # Without the comparison a quantile of nothing is NaN, over which Grafana draws a line.
    return [Query(f"histogram_quantile({q}, {rate}) >= 0", f"p{round(q * 100)}{named}") for q in shown]


def mean(metric: str, *, where: str = "", per: str = "", legend: str = "mean") -> Query:
    """Return the mean of a histogram, with a gap where nothing was measured.

    `per` narrows what the sum is divided by, where `where` adds several parts of the same thing.
    """
    total = f"sum(rate({metric}_sum{{{where}}}[$__rate_interval]))"
    count = f"sum(rate({metric}_count{{{per or where}}}[$__rate_interval]))"
    return Query(f"{total} / ({count} > 0)", legend)


def per_minute(metric: str, *, by: str = "", where: str = "", legend: str = "") -> Query:
    """Return a counter's growth in a minute."""
    labels = f" by ({by})" if by else ""
    named = legend or " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return Query(f"sum{labels} (rate({metric}{{{where}}}[$__rate_interval])) * 60", named)


@dataclass(frozen=True)
class Dashboard:
    """A dashboard: its first row holds numbers, the rows below two panels of lines each."""

    uid: str
    title: str
    about: str
    instances_of: str
    """Which `job` the variable `instance` offers, as a regular expression."""
    panels: Sequence[Panel] = field(default_factory=list)

    def json(self) -> Json:
        """Return what Grafana imports."""
        return {
            "uid": self.uid,
            "title": f"Trunkline: {self.title}",
            "description": self.about,
            "tags": ["trunkline"],
            "editable": True,
            "schemaVersion": SCHEMA_VERSION,
            "timezone": "browser",
            "refresh": "10s",
            "time": {"from": "now-1h", "to": "now"},
            "graphTooltip": 1,
            "links": [_link("Runbook", RUNBOOK), _other_dashboards()],
            "annotations": {"list": [_firing_alerts()]},
            "templating": {"list": [_datasource(), self._instance(), _runbook()]},
            "panels": self._placed(),
        }

    def _instance(self) -> Json:
        query = f'label_values(trunkline_ready{{job=~"{self.instances_of}"}}, instance)'
        return {
            "name": "instance",
            "label": "process",
            "type": "query",
            "datasource": DATASOURCE,
            "query": {"query": query, "refId": "instances"},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }

    def _placed(self) -> list[Json]:
        stats = [panel for panel in self.panels if panel.kind == "stat"]
        drawn = [panel for panel in self.panels if panel.kind == "timeseries"]
        width = GRID_COLUMNS // len(stats)
        places = [{"x": width * n, "y": 0, "w": width, "h": 4} for n in range(len(stats))]
        places += [{"x": 12 * (n % 2), "y": 4 + 8 * (n // 2), "w": 12, "h": 8} for n in range(len(drawn))]
        return [
            _panel(panel, place, number)
            for number, (panel, place) in enumerate(zip([*stats, *drawn], places, strict=True), start=1)
        ]


def _panel(panel: Panel, place: Json, number: int) -> Json:
    defaults: Json = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": "thresholds" if panel.kind == "stat" else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": value, "color": colour} for value, colour in panel.steps],
        },
        "custom": _drawing(panel) if panel.kind == "timeseries" else {},
    }
    if panel.top is not None:
        defaults["max"] = panel.top
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.words:
        named = {str(value): {"text": word, "index": value} for value, word in enumerate(panel.words)}
        defaults["mappings"] = [{"type": "value", "options": named}]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "gridPos": place,
        "datasource": DATASOURCE,
        "targets": [_target(query, "ABCDEFGH"[n]) for n, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": _overrides(panel)},
        "options": _STAT_OPTIONS if panel.kind == "stat" else _LINES_OPTIONS,
        "links": [_link(panel.alert, f"{RUNBOOK}#{panel.alert.lower()}")] if panel.alert else [],
    }


def _overrides(panel: Panel) -> list[Json]:
    coloured: list[Json] = [
        {
            "matcher": {"id": "byRegexp", "options": f"/^({beginning})/"},
            "properties": [{"id": "color", "value": {"mode": "shades", "fixedColor": colour}}],
        }
        for beginning, colour in panel.colours.items()
    ]
    return coloured if panel.names_zeros else [*coloured, _zeros_unnamed(panel)]


def _zeros_unnamed(panel: Panel) -> Json:
    # On top of a stack, the line of what never happened would be its outline, in a colour without a name.
    line_width = 0 if panel.stacked else 1
    return {
        "matcher": {"id": "byValue", "options": {"reducer": "max", "op": "lte", "value": 0}},
        "properties": [
            {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": True, "viz": False}},
            {"id": "custom.showPoints", "value": "never"},
            {"id": "custom.lineWidth", "value": line_width},
        ],
    }


def _target(query: Query, letter: str) -> Json:
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "editorMode": "code",
        "range": True,
    }


def _drawing(panel: Panel) -> Json:
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 40 if panel.stacked else 8,
        # One value between two gaps would not be seen.
        "showPoints": "auto",
        "pointSize": 4,
        # Counts that are 0 all the time would get a scale up to 100, and CPU hides how little it is.
        **({"axisSoftMax": 1} if panel.unit == "short" else {}),
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if len(panel.steps) > 1 else "off"},
    }


_STAT_OPTIONS: Final = {
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    "colorMode": "value",
    # A curve would lie behind the number; the lines below have it.
    "graphMode": "none",
    "justifyMode": "auto",
    "textMode": "auto",
}
_LINES_OPTIONS: Final = {
    "legend": {
        "displayMode": "table",
        "placement": "right",
        "showLegend": True,
        "calcs": ["lastNotNull", "max"],
        "sortBy": "Max",
        "sortDesc": True,
    },
    "tooltip": {"mode": "multi", "sort": "desc"},
}


def _link(title: str, url: str) -> Json:
    return {
        "title": title,
        "type": "link",
        "icon": "doc",
        "url": url,
        "targetBlank": True,
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "tooltip": "",
    }


def _other_dashboards() -> Json:
    others = {"type": "dashboards", "icon": "external link", "tags": ["trunkline"], "targetBlank": False}
    return _link("Trunkline", "") | others | {"includeVars": True, "keepTime": True}


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {"selected": False, "text": "Prometheus", "value": "prometheus"},
        "refresh": 1,
    }


def _runbook() -> Json:
    chosen = {"selected": True, "text": RUNBOOK_ADDRESS, "value": RUNBOOK_ADDRESS}
    return {
        "name": "runbook",
        "label": "Runbook",
        "description": "Address of docs/runbook.md where your people read it",
        "type": "textbox",
        "query": RUNBOOK_ADDRESS,
        "current": chosen,
        "options": [chosen],
        "hide": 2,  # set once, and then only in the way
        "skipUrlSync": False,
    }


def _firing_alerts() -> Json:
    return {
        "name": "Alerts that page",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": BAD,
        "expr": 'ALERTS{alertname=~"Trunkline.*", alertstate="firing", severity="page"}',
        "titleFormat": "{{alertname}}",
    }
