"""A reading has the numbers of the charts, in columns."""

import json
from dataclasses import replace
from typing import Any

import pytest

from taskstream.board.reading import PLACES, RATES, SYSTEM, VIEWS, reading_of
from taskstream.chart.chart import DOCUMENTED, NETDATA, SCOPES
from taskstream.chart.draw import draw
from taskstream.chart.table import CHARTS
from taskstream.interval import COLUMNS, Agent, Interval, Series, Zombies
from taskstream.record import COUNTS
from tests.readings import SECOND

BEFORE = Agent(cpu_ns=SECOND, resident_bytes=0, queued=0, dropped=3, forgotten=0)
AGENT = Agent(
    cpu_ns=2 * SECOND, resident_bytes=64 << 20, queued=7, dropped=5, forgotten=0, before=BEFORE
)


def series(factor: int) -> Series:
    return Series(tuple(factor * n for n in range(1, len(COLUMNS) + 1)), (10**6,) * len(COLUMNS))


def interval(**values: Any) -> Interval:
    known = {
        "start_ns": 5 * SECOND,
        "end_ns": 10 * SECOND,
        "wall_ns": 1_790_000_000 * SECOND,
        "counts": tuple(range(3, len(COUNTS) + 3)),
        "received": tuple(range(2, len(COUNTS) + 2)),
        "groups": {"host": {"": series(1)}}
        | {view: {"a": series(2), "b": series(3), "quiet": series(0)} for view in VIEWS[1:]},
        "zombies": Zombies(4, SECOND),
        "agent": AGENT,
    }
    return Interval(**{**known, **values})


def test_every_chart_of_groups_has_a_place_and_every_column_of_every_view_a_chart():
    shown = {chart.context for chart in CHARTS if SCOPES[chart.scope].groups in VIEWS}
    assert shown <= {context for context, _ in PLACES}
    assert {(p.view, p.column) for p in PLACES.values()} == {
        (view, column) for view in VIEWS for column in range(len(RATES))
    }


@pytest.mark.parametrize("semantics", [DOCUMENTED, NETDATA])
def test_the_rates_are_the_counts_of_the_charts_divided_by_the_length(semantics):
    given = interval()
    found = reading_of(given, "web-3", semantics)
    asked = 0
    for drawing in draw(given, semantics):
        for name, count in drawing.counts.items():
            context = drawing.chart.context
            place = PLACES.get((context, name)) or PLACES.get((context, ""))
            if place is not None:
                group = name if place.by_dimension else drawing.group or "web-3"
                assert found.tables[place.view][group][place.column] == count / 5
                asked += 1
    assert asked == 5 + 5 * 5 * 3


def test_calls_that_were_not_watched_are_not_zero():
    found = reading_of(interval(failures_watched=False), "web-3")
    for view in VIEWS:
        for rates in found.tables[view].values():
            assert rates[RATES.index("failures")] is None
            assert None not in rates[:4]


def test_an_interval_without_length_has_no_rates():
    found = reading_of(interval(end_ns=5 * SECOND), "web-3")
    assert set(found.tables["app"]["a"]) == {None}


def test_a_view_by_which_nobody_counted_is_absent():
    found = reading_of(interval(groups={"app": {}}), "web-3")
    assert set(found.tables) == {SYSTEM, "app"}


def test_losses_and_the_cost_of_the_agent_are_those_of_the_interval():
    found = reading_of(interval(missed={"on_fork": 9}), "web-3").states
    lost = {"ring": len(COUNTS), "skipped": 9, "dropped": 2}
    assert {cause: found[cause] for cause in lost} == lost
    assert (found["cpu"], found["resident"], found["queued"]) == (20, 64, 7)
    assert (found["zombies"], found["oldest"]) == (4, 1)


def test_what_nobody_asked_for_is_not_known():
    found = reading_of(interval(agent=None, zombies=None), "web-3").states
    assert found == {"ring": len(COUNTS), "skipped": 0}


def test_what_must_be_known_of_the_numbers_is_passed_on():
    plain = reading_of(interval(), "web-3")
    assert (plain.exact, plain.release_late, plain.semantics) == (True, False, DOCUMENTED)
    special = reading_of(interval(missed={"on_fork": 1}, release_late=True), "web-3", NETDATA)
    assert (special.exact, special.release_late, special.semantics) == (False, True, NETDATA)


def test_its_bounds_are_those_of_the_interval_by_the_wall_clock():
    found = reading_of(interval(), "web-3")
    assert (found.end_wall_ns, found.seconds) == (1_790_000_000 * SECOND, 5)


def test_as_a_map_it_is_json_with_names_and_null_for_what_is_not_known():
    found = reading_of(replace(interval(), failures_watched=False), "web-3").to_map()
    assert json.loads(json.dumps(found)) == found
    assert found["host"] == "web-3"
    assert found["time"] == "2026-09-21T14:13:20+00:00"
    assert (
        found["rates"]["app"]["a"]["processes"] == reading_of(interval(), "x").tables["app"]["a"][0]
    )
    assert found["rates"]["app"]["a"]["failures"] is None
