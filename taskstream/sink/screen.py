"""Intervals for people and for machines: a live table, plain lines, or JSON lines.

Rim: touches standard output and standard error. Data goes to the one, talk to the other.
"""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol, TextIO

from taskstream.chart.chart import DOCUMENTED, SCOPES
from taskstream.chart.draw import draw
from taskstream.hook import RELEASE_LATE
from taskstream.interval import COLUMNS, Interval, Series
from taskstream.rates import CHARTS, charts
from taskstream.record import COUNTS
from taskstream.stats import RunTotals
from taskstream.text import printable

__all__ = ["JsonLines", "LiveTable", "PlainLines", "Screen", "interval_to_json"]


class Screen(Protocol):
    """What shows a run."""

    def interval(self, interval: Interval) -> None:
        """Show an interval that was closed."""

    def progress(self, totals: Callable[[], RunTotals], in_queue: int) -> None:
        """Show, now and then, how the run is doing."""

    def close(self) -> None:
        """Leave the screen in order."""


def interval_to_json(interval: Interval, semantics: str = DOCUMENTED) -> dict[str, Any]:
    """Return an interval as JSON can take it.

    Charts of groups are one map per group, except where each group is a dimension. Of the
    groups' counts those that are zero are left out.
    """
    names = [count.name for count in COUNTS]
    charts: dict[str, Any] = {}
    for drawing in draw(interval, semantics):
        chart = drawing.chart
        if SCOPES[chart.scope].label:
            charts.setdefault(chart.context, {})[drawing.group] = dict(drawing.values)
        else:
            charts[chart.context] = dict(drawing.values)
    zombies = interval.zombies
    return {
        "time": datetime.fromtimestamp(interval.wall_ns / 1e9, UTC).isoformat(),
        "start_ns": interval.start_ns,
        "end_ns": interval.end_ns,
        "seconds": round(interval.seconds, 3),
        "charts": charts,
        "counts": dict(zip(names, interval.counts, strict=True)),
        "groups": {
            dimension: {name: _nonzero(series) for name, series in groups.items()}
            for dimension, groups in interval.groups.items()
        },
        "zombies": zombies and {"level": zombies.level, "oldest_s": zombies.oldest_ns / 1e9},
        "lost": interval.lost(),
        "missed": dict(interval.missed),
        "exact": interval.exact,
        "release_late": interval.release_late,
    }


def _nonzero(series: Series) -> dict[str, int]:
    return {name: n for name, n in zip(COLUMNS, series.window, strict=True) if n}


class JsonLines:
    """One JSON object per interval."""

    def __init__(self, out: TextIO = sys.stdout, semantics: str = DOCUMENTED) -> None:
        self._out = out
        self._semantics = semantics

    def interval(self, interval: Interval) -> None:
        """Write a line."""
        self._out.write(json.dumps(interval_to_json(interval, self._semantics)) + "\n")
        self._out.flush()

    def progress(self, totals: Callable[[], RunTotals], in_queue: int) -> None:
        """Show nothing: a machine reads."""

    def close(self) -> None:
        """Nothing is open."""


class PlainLines:
    """One aligned line per interval, a head line at the top: for logs and pipes."""

    def __init__(self, out: TextIO = sys.stdout, semantics: str = DOCUMENTED) -> None:
        self._out = out
        self._semantics = semantics
        self._headed = False

    def interval(self, interval: Interval) -> None:
        """Write a line."""
        drawn = charts(interval, self._semantics)
        head = ["time", *(f"{c.context.split('.')[1]}.{d}" for c in CHARTS for d in c.names)]
        cells = [datetime.fromtimestamp(interval.wall_ns / 1e9).astimezone().strftime("%H:%M:%S")]
        for chart in CHARTS:
            values = drawn.get(chart.context, {})
            cells += [_number(values[d]) if d in values else "-" for d in chart.names]
        head.append("lost")
        cells.append(str(interval.lost()))
        widths = [max(len(name), 8) for name in head]
        if not self._headed:
            if interval.release_late:
                self._out.write(f"# {RELEASE_LATE}\n")
            self._out.write(_columns(head, widths))
            self._headed = True
        self._out.write(_columns(cells, widths))
        self._out.flush()

    def progress(self, totals: Callable[[], RunTotals], in_queue: int) -> None:
        """Show nothing between intervals."""

    def close(self) -> None:
        """Nothing is open."""


def _columns(cells: list[str], widths: list[int]) -> str:
    padded = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip() + "\n"


def _number(value: float) -> str:
    return f"{value:,.1f}" if value % 1 else f"{value:,.0f}"


class LiveTable:
    """The charts on a terminal, drawn anew every second.

    Args:
        head: A line above the table: where the events go.
        every_ns: How often the totals below the table are refreshed.
        semantics: Whose formulas to draw by, ``documented`` or ``netdata``.
    """

    def __init__(
        self,
        head: str,
        now_ns: Callable[[], int],
        *,
        every_ns: int = 10**9,
        semantics: str = DOCUMENTED,
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self._head = head
        self._semantics = semantics
        self._now_ns = now_ns
        self._every_ns = every_ns
        self._next_ns = 0
        self._last: Interval | None = None
        self._live = Live(console=Console(), auto_refresh=False, transient=False)
        self._live.start()

    def interval(self, interval: Interval) -> None:
        """Keep an interval to be drawn."""
        self._last = interval
        self._next_ns = 0

    def progress(self, totals: Callable[[], RunTotals], in_queue: int) -> None:
        """Draw, when it is time."""
        now_ns = self._now_ns()
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + self._every_ns
        self._live.update(self._drawing(totals(), in_queue), refresh=True)

    def _drawing(self, totals: RunTotals, in_queue: int) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(printable(self._head)), title_justify="left", title_style="", expand=False
        )
        table.add_column("chart")
        table.add_column("unit")
        table.add_column("dimension")
        table.add_column("value", justify="right", min_width=12)
        drawn = charts(self._last, self._semantics) if self._last else {}
        for chart in CHARTS:
            values = drawn.get(chart.context, {})
            for row, dimension in enumerate(chart.names):
                known = dimension in values
                table.add_row(
                    chart.context if row == 0 else "",
                    chart.unit if row == 0 else "",
                    dimension,
                    _number(values[dimension]) if known else "-",
                )
        account = totals.account
        below = f"events {totals.counted:,}   lost {totals.lost:,}   "
        if account.unpublished:
            below += f"unpublished {account.unpublished:,}"
        else:
            below += (
                f"delivered {account.delivered:,}   dropped {account.dropped:,}   "
                f"rejected {account.rejected:,}   in queue {in_queue:,}"
            )
        note = _note(self._last)
        return Group(table, below, note) if note else Group(table, below)

    def close(self) -> None:
        """Leave the last table on the screen."""
        self._live.stop()


def _note(interval: Interval | None) -> str:
    if interval is None:
        return "waiting for the first interval to end"
    notes = [RELEASE_LATE] if interval.release_late else []
    if not interval.exact:
        notes.append(f"not exact: the kernel skipped probes ({dict(interval.missed)})")
    return "\n".join(notes)
