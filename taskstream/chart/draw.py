"""From an interval to what its charts show."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from taskstream.chart.chart import DOCUMENTED, SCOPES, Chart
from taskstream.chart.state import STATES
from taskstream.chart.table import CHARTS
from taskstream.interval import COLUMNS, Interval, Series
from taskstream.record import COUNTS

__all__ = ["Drawing", "draw"]

_Columns = tuple[Mapping[str, int], Mapping[str, int]]
"""The counts of a series by name: those of the interval, and those since its start."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart of one interval and one group.

    Attributes:
        chart: Which.
        group: Of which group; empty where the chart is of the host, or has one dimension each.
        counts: Sum of the counts of the interval by dimension, undivided; empty for a `State`.
        totals: The same since the start of the run; None where the chart is of the host.
        values: What is drawn, by dimension.
    """

    chart: Chart
    group: str
    counts: Mapping[str, int]
    totals: Mapping[str, int] | None
    values: Mapping[str, float]


def draw(interval: Interval, semantics: str = DOCUMENTED) -> Iterator[Drawing]:
    """Draw the charts of an interval, in the order of the table.

    A chart of calls that were not watched is absent, as is one of groups that nobody counted.

    Args:
        interval: What happened.
        semantics: ``documented`` or ``netdata``.
    """
    host = {"": _by_column(_host(interval))}
    by_groups = {
        dimension: {group: _by_column(series) for group, series in groups.items()}
        for dimension, groups in interval.groups.items()
    }
    for chart in CHARTS:
        if chart.failures and not interval.failures_watched:
            continue
        scope = SCOPES[chart.scope]
        if not scope.groups:
            yield _drawing(chart, "", host, interval, semantics)
        elif scope.groups in by_groups:
            groups = by_groups[scope.groups]
            if scope.label:
                for group, columns in groups.items():
                    yield _drawing(chart, group, {"": columns}, interval, semantics)
            else:
                yield _drawing(chart, "", groups, interval, semantics)
    for state in STATES:
        if getattr(interval, state.needs) is not None:
            found = {name: value(interval) for name, value in state.values.items()}
            values = {name: float(value) for name, value in found.items() if value is not None}
            if values:
                yield Drawing(state.chart, "", {}, None, values)


def _by_column(series: Series) -> _Columns:
    window = dict(zip(COLUMNS, series.window, strict=True))
    return window, dict(zip(COLUMNS, series.total, strict=True))


def _drawing(
    chart: Chart, group: str, of: Mapping[str, _Columns], interval: Interval, semantics: str
) -> Drawing:
    """Draw each dimension of each series; one of the two is one."""
    seconds = interval.seconds if interval.end_ns > interval.start_ns else 0.0
    counts: dict[str, int] = {}
    totals: dict[str, int] = {}
    values: dict[str, float] = {}
    for key, (window, total) in of.items():
        for dimension in chart.dimensions:
            name = dimension.name or key
            formula = dimension.formula(semantics)
            counts[name] = formula.of(window)
            totals[name] = formula.of(total)
            if not formula.per_second:
                values[name] = float(counts[name])
            else:
                values[name] = counts[name] / seconds if seconds else 0.0
    return Drawing(chart, group, counts, totals if SCOPES[chart.scope].groups else None, values)


def _host(interval: Interval) -> Series:
    """Return the counts of the host: the kernel's own, which no loss of events touches."""
    seen = interval.groups.get("host", {}).get("")
    by_init = seen.window[len(COUNTS) :] if seen else (0,) * (len(COLUMNS) - len(COUNTS))
    window = (*interval.counts, *by_init)
    return Series(window, (0,) * len(COLUMNS))
