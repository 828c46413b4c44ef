"""The rates of one host in one interval, in the columns of a board.

Pure: no I/O, no clock. A reading comes from an interval of this host, or from the messages of
the rates topic (``taskstream.board.gatherer``); whoever shows it cannot tell which. What is
counted in which column is said by the table of ``taskstream.chart``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from taskstream.chart.chart import DOCUMENTED, SCOPES, Chart
from taskstream.chart.draw import draw
from taskstream.chart.table import CHARTS
from taskstream.interval import COLUMNS, Interval, Series

__all__ = [
    "PLACES",
    "RATES",
    "SYSTEM",
    "VIEWS",
    "Place",
    "Rates",
    "Reading",
    "per_second",
    "reading_of",
]

RATES = ("processes", "threads", "exits", "releases", "failures")
"""What is shown of each group, per second."""

SYSTEM = "system"

VIEWS = (SYSTEM, "app", "cgroup", "service", "command", "user")
"""By what it is shown: by host, then the dimensions of `Interval.groups`."""

Rates = tuple[float | None, ...]
"""Values per second by `RATES`; None for what is not known."""

_WHATS = ("process_create", "thread_create", "task_exit", "task_close", "task_error")
_SYSTEM = (
    ("system.process_thread", "process"),
    ("system.process_thread", "thread"),
    ("system.exit", "process"),
    ("system.exit", "task"),
    ("system.task_error", "task"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a dimension of a chart goes.

    Attributes:
        view: Of `VIEWS`.
        column: Index in `RATES`.
        by_dimension: Each dimension of the chart is a group.
    """

    view: str
    column: int
    by_dimension: bool = False


def _places() -> Iterator[tuple[tuple[str, str], Place]]:
    for column, place in enumerate(_SYSTEM):
        yield place, Place(SYSTEM, column)
    for chart in CHARTS:
        scope, _, what = chart.context.partition(".")
        view = SCOPES[chart.scope].groups
        if view in VIEWS and scope == chart.scope:
            (name,) = chart.names
            yield (chart.context, name), Place(view, _WHATS.index(what), by_dimension=not name)


PLACES: dict[tuple[str, str], Place] = dict(_places())
"""The place of each dimension that a board shows, by context of the chart and by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known of one host in one interval.

    Attributes:
        host: Its name.
        start_wall_ns: CLOCK_REALTIME of the beginning.
        end_wall_ns: CLOCK_REALTIME of the end.
        tables: Rates by view and group; a view by which nobody counted is absent.
        states: Values of the charts of `STATES`, by dimension; those not known are absent.
        exact: The kernel skipped no probe.
        release_late: Releases were seen an RCU grace period late.
        semantics: Whose formulas, ``documented`` or ``netdata``.
    """

    host: str
    start_wall_ns: int
    end_wall_ns: int
    tables: Mapping[str, Mapping[str, Rates]]
    states: Mapping[str, float]
    exact: bool = True
    release_late: bool = False
    semantics: str = DOCUMENTED

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end_wall_ns - self.start_wall_ns) / 1e9

    def to_map(self) -> dict[str, Any]:
        """Return it as JSON can take it; what is not known is null."""
        return {
            "host": self.host,
            "time": datetime.fromtimestamp(self.end_wall_ns / 1e9, UTC).isoformat(),
            "seconds": round(self.seconds, 3),
            "rates": {
                view: {name: dict(zip(RATES, rates, strict=True)) for name, rates in table.items()}
                for view, table in self.tables.items()
            },
            "states": dict(self.states),
            "exact": self.exact,
            "release_late": self.release_late,
            "semantics": self.semantics,
        }


def per_second(count: int, seconds: float) -> float | None:
    """Return a rate; None of an interval without length."""
    return count / seconds if seconds > 0 else None


def reading_of(interval: Interval, host: str, semantics: str = DOCUMENTED) -> Reading:
    """Return what an interval says of its host.

    Args:
        interval: What happened.
        host: The host's name.
        semantics: Whose formulas, ``documented`` or ``netdata``.
    """
    of_host = {name: groups for name, groups in interval.groups.items() if name == "host"}
    system: list[float | None] = [None] * len(RATES)
    # Of the interval itself, whoever made it; an agent says the same, and what it dropped.
    states: dict[str, float] = {"ring": interval.lost(), "skipped": sum(interval.missed.values())}
    for drawing in draw(replace(interval, groups=of_host), semantics):
        if drawing.chart.scope == "state":
            states |= drawing.values
        for name, count in drawing.counts.items():
            place = PLACES.get((drawing.chart.context, name))
            if place is not None:
                system[place.column] = per_second(count, interval.seconds)
    tables: dict[str, Mapping[str, Rates]] = {SYSTEM: {host: tuple(system)}}
    for view in VIEWS:
        if view in interval.groups:
            columns = _Columns(view, interval, semantics)
            tables[view] = {name: columns.of(s) for name, s in interval.groups[view].items()}
    return Reading(
        host=host,
        start_wall_ns=interval.wall_ns - (interval.end_ns - interval.start_ns),
        end_wall_ns=interval.wall_ns,
        tables=tables,
        states=states,
        exact=interval.exact,
        release_late=interval.release_late,
        semantics=semantics,
    )


class _Columns:
    """Computes the rates of a view's groups.

    As `draw` does, but without a mapping for each group and chart, of which there may be
    thousands: a group in which nothing happened, as in most, costs a comparison.
    """

    def __init__(self, view: str, interval: Interval, semantics: str) -> None:
        self._seconds = interval.seconds
        self._formulas = [
            None if chart.failures and not interval.failures_watched else _terms(chart, semantics)
            for chart in _charts(view)
        ]
        self._nothing = (0,) * len(COLUMNS)
        self._quiet = self._rates(self._nothing)

    def of(self, series: Series) -> Rates:
        return self._quiet if series.window == self._nothing else self._rates(series.window)

    def _rates(self, window: tuple[int, ...]) -> Rates:
        return tuple(
            None
            if terms is None
            else per_second(sum(times * window[at] for at, times in terms), self._seconds)
            for terms in self._formulas
        )


def _charts(view: str) -> list[Chart]:
    """Return the chart of each column."""
    columns = {
        PLACES[chart.context, chart.names[0]].column: chart
        for chart in CHARTS
        if (chart.context, chart.names[0]) in PLACES and SCOPES[chart.scope].groups == view
    }
    return [columns[column] for column in range(len(RATES))]


def _terms(chart: Chart, semantics: str) -> tuple[tuple[int, int], ...]:
    """Return the formula of a chart's one dimension: indexes in `COLUMNS`, how many times each."""
    (dimension,) = chart.dimensions
    terms = dimension.formula(semantics).terms
    return tuple((COLUMNS.index(name), times) for name, times in terms.items())
