"""What holds for everything that shows a run: it takes whatever a run can bring."""

import sys
from collections.abc import Callable

import pytest

from taskstream.interval import Interval
from taskstream.record import COUNTS
from taskstream.sink.netdata import NetdataCharts
from taskstream.sink.screen import JsonLines, LiveTable, PlainLines, Screen
from taskstream.stats import Account, RunTotals

N = len(COUNTS)
SECOND = 10**9
INTERVALS = {
    "quiet": ((0,) * N, (0,) * N, {}, True),
    "busy": ((10**9,) * N, (10**9,) * N, {}, True),
    "with losses": ((7,) * N, (5,) * N, {}, True),
    "with late events": ((5,) * N, (7,) * N, {}, True),
    "not exact": ((1,) * N, (1,) * N, {"on_fork": 3}, True),
    "failures not watched": ((1,) * N, (1,) * N, {}, False),
}
SCREENS: dict[str, Callable[[], Screen]] = {
    "json": lambda: JsonLines(sys.stdout),
    "lines": lambda: PlainLines(sys.stdout),
    "table": lambda: LiveTable("head", lambda: 0),
    "netdata": lambda: NetdataCharts(1, lambda: 0, out=sys.stdout),
}


def interval(name: str, *, length_ns: int = SECOND) -> Interval:
    counts, received, missed, watched = INTERVALS[name]
    return Interval(
        start_ns=SECOND,
        end_ns=SECOND + length_ns,
        wall_ns=1_790_000_000 * SECOND,
        counts=counts,
        received=received,
        missed=missed,
        failures_watched=watched,
    )


def totals() -> RunTotals:
    return RunTotals(counted=0, read=0, lost=0, running=0, missed=0, account=Account())


@pytest.fixture(params=SCREENS)
def make(request: pytest.FixtureRequest) -> Callable[[], Screen]:
    return SCREENS[request.param]


@pytest.mark.parametrize("name", INTERVALS)
def test_it_shows_any_interval(make, capsys, name):
    screen = make()
    screen.interval(interval(name))
    screen.progress(totals, 0)
    screen.close()
    assert capsys.readouterr().out


def test_it_shows_an_interval_without_length(make, capsys):
    screen = make()
    screen.interval(interval("busy", length_ns=0))
    screen.progress(totals, 0)
    screen.close()
    assert capsys.readouterr().out


def test_it_writes_data_to_standard_output_alone(make, capsys):
    screen = make()
    screen.interval(interval("busy"))
    screen.progress(totals, 10**6)
    screen.close()
    assert capsys.readouterr().err == ""


def test_it_can_be_closed_at_once_and_twice(make):
    screen = make()
    screen.close()
    screen.close()
