"""The charts for Netdata: a screen that speaks the protocol of its external plugins.

Rim: writes to standard output. Each value is the finished one of a closed interval, so the
charts are ``absolute`` and Netdata divides nothing; ``BEGIN`` says how much later than the one
before an interval ended, so that Netdata, which would draw a line between values at odd times,
stores them as they are. The second time that a chart is collected Netdata goes by its own clock
instead, and a value that came too soon, or a little late, would be lost or bent: so the second is
a collection of zeros right behind the first, which falls into the same interval and is not stored.
The protocol: Netdata's documentation of plugins.d; that clock: its RRDSET_FLAG_SYNC_CLOCK.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import TextIO

from taskstream.chart.chart import DOCUMENTED, SCOPES, Chart
from taskstream.chart.draw import Drawing, draw
from taskstream.chart.state import STATES
from taskstream.chart.table import CHARTS
from taskstream.interval import Interval
from taskstream.stats import RunTotals

__all__ = ["NetdataCharts", "clean_name"]

PLUGIN, MODULE = "taskstream.plugin", "processes"
SCALE = 1000
"""Values are sent as whole thousandths; those per second as so many in an interval."""

ALIVE_NS = 60_000_000_000
"""Netdata ends a plugin that is silent for two minutes."""

_TYPES = {
    "system": "system.{what}",
    "app": "app.{group}_{what}",
    "cgroup": "cgroup_{group}.{what}",
    "services": "services.{what}",
    "command": "command.{group}_{what}",
    "user": "user.{group}_{what}",
}
_BY_CONTEXT = {c.context: c for c in (*CHARTS, *(state.chart for state in STATES))}
_NO_QUOTES = str.maketrans(
    {"'": "_", '"': "_", "\\": "/"} | dict.fromkeys([*range(32), *range(127, 160)], "_")
)


class NetdataCharts:
    """Writes intervals as charts.

    Args:
        update_every_s: Length of an interval.
        now_ns: CLOCK_BOOTTIME.
        out: Where to.
        semantics: Whose formulas, ``documented`` or ``netdata``.
    """

    def __init__(
        self,
        update_every_s: int,
        now_ns: Callable[[], int],
        *,
        out: TextIO = sys.stdout,
        semantics: str = DOCUMENTED,
    ) -> None:
        self._update_every_s = update_every_s
        self._now_ns = now_ns
        self._out = out
        self._semantics = semantics
        self._ids: dict[tuple[str, str], str] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        self._dimensions: dict[str, dict[str, str]] = {}
        self._ended_ns: dict[str, int] = {}
        self._wrote_ns = now_ns()

    def interval(self, interval: Interval) -> None:
        """Write the charts of an interval; of the last of a run only if it is whole."""
        if interval.end_ns % (self._update_every_s * 10**9):
            return
        drawings = list(draw(interval, self._semantics))
        lines = [line for drawing in drawings for line in self._lines(drawing, interval)]
        lines += self._obsolete(drawings)
        self._write("\n".join(lines))

    def progress(self, totals: Callable[[], RunTotals], in_queue: int) -> None:
        """Write an empty line, when Netdata has heard nothing for long."""
        if self._now_ns() - self._wrote_ns >= ALIVE_NS:
            self._write("")

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()
        self._wrote_ns = self._now_ns()

    # --- lines ---

    def _lines(self, drawing: Drawing, interval: Interval) -> Iterator[str]:
        """Yield what defines a chart, as far as Netdata does not know it, and its values."""
        if not drawing.values:
            return
        key = drawing.chart.context, drawing.group
        known = key in self._ids
        if not known:
            self._ids[key] = self._id(drawing)
        id_ = self._ids[key]
        dimensions = self._dimensions.setdefault(id_, {})
        new = [name for name in drawing.values if name not in dimensions]
        if new:
            dimensions |= {name: _plain(name) for name in new}
            yield from self._definition(id_, drawing, dimensions, labelled=not known)
        before_ns = self._ended_ns.get(id_)
        self._ended_ns[id_] = interval.end_ns
        scale = SCALE * self._divisor(drawing.chart)
        values = {dimensions[name]: round(v * scale) for name, v in drawing.values.items()}
        if before_ns:
            yield from _collection(f"{id_} {(interval.end_ns - before_ns) // 1000}", values)
        else:
            yield from _collection(id_, values)
            yield from _collection(f"{id_} 1", dict.fromkeys(values, 0))

    def _definition(
        self, id_: str, drawing: Drawing, dimensions: dict[str, str], *, labelled: bool
    ) -> Iterator[str]:
        chart = drawing.chart
        yield self._chart_line(id_, chart, "store_first")
        label = SCOPES[chart.scope].label
        if labelled and label:
            yield f"CLABEL '{label}' '{_plain(drawing.group)}' 1"
            yield "CLABEL_COMMIT"
        divisor = SCALE * self._divisor(chart)
        for name in dimensions.values():
            yield f"DIMENSION '{name}' '{name}' absolute 1 {divisor}"

    def _chart_line(self, id_: str, chart: Chart, options: str) -> str:
        texts = ("", chart.title, chart.unit, chart.family, chart.context, chart.kind)
        quoted = " ".join(f"'{_plain(text)}'" for text in texts)
        tail = f"'{options}' '{PLUGIN}' '{MODULE}'"
        return f"CHART {id_} {quoted} {chart.priority} {self._update_every_s} {tail}"

    def _divisor(self, chart: Chart) -> int:
        """Return the seconds by which Netdata divides, so that whole numbers stay exact."""
        per_second = any(d.formula(self._semantics).per_second for d in chart.dimensions)
        return self._update_every_s if per_second else 1

    def _id(self, drawing: Drawing) -> str:
        """Return the chart's id, which no other ever had; two groups may have one clean name."""
        scope, _, what = drawing.chart.context.partition(".")
        pattern = _TYPES.get(scope, "taskstream.{what}")
        id_ = pattern.format(group=clean_name(drawing.group), what=what)
        key = drawing.chart.context, drawing.group
        names = (id_ if number == 1 else f"{id_}_{number}" for number in count(1))
        return next(name for name in names if self._owners.setdefault(name, key) == key)

    def _obsolete(self, drawings: list[Drawing]) -> Iterator[str]:
        """Yield what retires the charts of groups that are not charted any more."""
        here = {(drawing.chart.context, drawing.group) for drawing in drawings}
        for context, group in [key for key in self._ids if key not in here]:
            id_ = self._ids.pop((context, group))
            del self._dimensions[id_], self._ended_ns[id_]
            yield self._chart_line(id_, _BY_CONTEXT[context], "obsolete")


def _collection(begin: str, values: Mapping[str, int]) -> Iterator[str]:
    yield f"BEGIN {begin}"
    for name, value in values.items():
        yield f"SET '{name}' = {value}"
    yield "END"


def clean_name(group: str) -> str:
    """Return a group's name as Netdata 1.44 puts it into the id of a chart."""
    return re.sub(r"[^a-z0-9_/-]", "_", group.lower().replace("\\", "/"))


def _plain(name: str) -> str:
    """Return a name that can stand between quotes."""
    return name.translate(_NO_QUOTES)
