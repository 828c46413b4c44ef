"""Intervals as people and machines see them: all of the numbers, and none that is not known."""

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest

from taskstream.hook import RELEASE_LATE
from taskstream.interval import Interval
from taskstream.rates import CHARTS, charts
from taskstream.record import COUNTS
from taskstream.sink import screen as screen_module
from taskstream.sink.screen import JsonLines, LiveTable, PlainLines, interval_to_json
from taskstream.stats import Account, RunTotals

SECOND = 10**9
NAMES = [count.name for count in COUNTS]
DIMENSIONS = [(c.context, d) for c in CHARTS for d in c.names]


def interval(**values: Any) -> Interval:
    counts = dict.fromkeys(NAMES, 0) | values.pop("counts", {})
    defaults = {
        "start_ns": 5 * SECOND,
        "end_ns": 10 * SECOND,
        "wall_ns": 1_790_000_000 * SECOND,
        "received": tuple(counts.values()),
    }
    return Interval(**{**defaults, "counts": tuple(counts.values()), **values})


BUSY = interval(counts={"fork_process": 6000, "exec": 5, "exit_process": 5999, "free": 12})


# --- JSON ----------------------------------------------------------------------------------------


def test_each_interval_is_a_line_of_json_and_nothing_else_is_written():
    out = StringIO()
    screen = JsonLines(out)
    screen.interval(BUSY)
    screen.progress(totals, 5)
    screen.interval(interval(missed={"on_fork": 2}))
    screen.close()
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first == interval_to_json(BUSY)
    assert second["missed"] == {"on_fork": 2}


def test_json_has_the_counts_and_the_charts_that_are_drawn_from_them():
    found = interval_to_json(BUSY)
    assert found["counts"] == dict(zip(NAMES, BUSY.counts, strict=True))
    assert found["charts"] == charts(BUSY)
    assert (found["start_ns"], found["end_ns"]) == (BUSY.start_ns, BUSY.end_ns)
    assert found["seconds"] == 5.0


def test_json_says_the_time_in_utc():
    assert interval_to_json(BUSY)["time"] == "2026-09-21T14:13:20+00:00"


def test_json_says_what_was_lost_and_whether_the_interval_is_exact():
    counts, received = dict.fromkeys(NAMES, 3), (3,) * (len(NAMES) - 1) + (1,)
    found = interval_to_json(interval(counts=counts, received=received, missed={"on_exit": 4}))
    assert (found["lost"], found["missed"], found["exact"]) == (2, {"on_exit": 4}, False)


def test_json_lacks_a_chart_of_calls_that_were_not_watched():
    assert "system.task_error" not in interval_to_json(interval(failures_watched=False))["charts"]


# --- lines ---------------------------------------------------------------------------------------


def table(*intervals: Interval) -> list[dict[str, str]]:
    """Return what plain lines show: a dict by column for each line."""
    out = StringIO()
    screen = PlainLines(out)
    for one in intervals:
        screen.interval(one)
    head, *lines = (line.split() for line in out.getvalue().splitlines())
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_lines_have_a_head_once_and_a_column_for_every_dimension():
    lines = table(BUSY, BUSY, BUSY)
    assert len(lines) == 3
    columns = [f"{context.removeprefix('system.')}.{d}" for context, d in DIMENSIONS]
    assert list(lines[0]) == ["time", *columns, "lost"]


def test_a_line_shows_the_values_of_the_charts():
    (line,) = table(BUSY)
    assert line["process_thread.process"] == "1,200"
    assert line["process_status.process"] == "1"
    assert line["exit.process"] == "1,199.8"
    assert line["exit.task"] == "2.4"


def test_a_line_shows_a_dash_for_what_was_not_watched_and_zero_for_what_did_not_happen():
    (watched,) = table(interval())
    (unwatched,) = table(interval(failures_watched=False))
    assert watched["task_error.task"] == "0"
    assert unwatched["task_error.task"] == "-"


def test_a_line_shows_what_was_lost():
    (line,) = table(interval(counts={"exec": 9}, received=(0,) * len(NAMES)))
    assert line["lost"] == "9"


def test_values_stand_under_their_names():
    out = StringIO()
    PlainLines(out).interval(BUSY)
    head, line = out.getvalue().splitlines()
    assert len(head) == len(line)


# --- table ---------------------------------------------------------------------------------------


class Ticks:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


def totals() -> RunTotals:
    return RunTotals(
        counted=1234, read=1230, lost=4, running=7, missed=0, account=Account(1237, 1200, 0, 30)
    )


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


def test_the_table_is_drawn_at_most_once_per_period(ticks, capsys):
    asked = []
    screen = LiveTable("head", ticks, every_ns=SECOND)
    for ticks.ns in range(0, 3 * SECOND, SECOND // 10):
        screen.progress(lambda: asked.append(1) or totals(), 0)
    screen.close()
    assert len(asked) == 3
    assert capsys.readouterr().out


def test_a_closed_interval_is_drawn_at_once(ticks, capsys):
    asked = []
    screen = LiveTable("head", ticks, every_ns=SECOND)
    screen.progress(lambda: asked.append(1) or totals(), 0)
    screen.interval(BUSY)
    screen.progress(lambda: asked.append(1) or totals(), 0)
    screen.close()
    assert len(asked) == 2
    assert "1,200" in capsys.readouterr().out


def drawn(ticks: Ticks, capsys: pytest.CaptureFixture[str], *intervals: Interval) -> str:
    screen = LiveTable("taskstream on web-3", ticks)
    for one in intervals:
        screen.interval(one)
    screen.progress(totals, 12)
    screen.close()
    return capsys.readouterr().out


def test_the_table_shows_every_chart_with_its_unit_and_where_it_all_goes(ticks, capsys):
    shown = drawn(ticks, capsys, BUSY)
    assert "taskstream on web-3" in shown
    for chart in CHARTS:
        assert chart.context in shown
        assert chart.unit in shown


def test_below_the_table_are_the_totals_of_the_run(ticks, capsys):
    shown = " ".join(drawn(ticks, capsys, BUSY).split())
    assert "events 1,234 lost 4 delivered 1,200 dropped 30 rejected 0 in queue 12" in shown


def test_a_run_for_no_topic_says_of_none_that_it_was_delivered(ticks, capsys):
    account = Account(1241, unpublished=1241)
    screen = LiveTable("taskstream on web[-3]\x1b[2J", ticks)
    screen.progress(lambda: replace(totals(), account=account), 0)
    screen.close()
    shown = capsys.readouterr().out
    assert "events 1,234   lost 4   unpublished 1,241" in shown
    assert "delivered" not in shown
    assert "taskstream on web[-3]\\x1b[2J" in shown


def test_before_the_first_interval_nothing_is_shown_as_zero(ticks, capsys):
    shown = drawn(ticks, capsys)
    assert "waiting for the first interval" in shown
    assert shown.count(" - ") == len(DIMENSIONS)


def test_an_interval_that_is_not_exact_says_why(ticks, capsys):
    assert "on_fork" in drawn(ticks, capsys, interval(missed={"on_fork": 3}))
    assert "not exact" not in drawn(ticks, capsys, BUSY)


# --- late releases -------------------------------------------------------------------------------


def test_releases_that_are_seen_late_are_said_on_every_screen():
    late, json_lines, plain = interval(release_late=True), StringIO(), StringIO()
    JsonLines(json_lines).interval(late)
    assert json.loads(json_lines.getvalue())["release_late"] is True
    PlainLines(plain).interval(late)
    first = plain.getvalue().splitlines()[0]
    assert first == f"# {RELEASE_LATE}"
    assert RELEASE_LATE in screen_module._note(late)


def test_of_releases_that_are_seen_at_once_nothing_is_said():
    plain = StringIO()
    PlainLines(plain).interval(BUSY)
    assert RELEASE_LATE not in plain.getvalue()
    assert screen_module._note(BUSY) == ""
