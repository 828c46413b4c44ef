"""Each chart of each interval is one message, keyed by host and chart, and its schema says so."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from taskstream import resource
from taskstream.chart.chart import NETDATA
from taskstream.chart.state import STATES
from taskstream.chart.table import CHARTS
from taskstream.interval import COLUMNS, Agent, Interval, Series, Zombies
from taskstream.message.columns import pack
from taskstream.message.json import dump
from taskstream.record import COUNTS
from taskstream.sink.rates import MOST_GROUPS, RatesTopic
from tests.synthetic import ORIGIN

SECOND = 10**9
SCHEMA = json.loads(resource.schema("rates.json").read_text())


@dataclass
class Publisher:
    """Keeps what it is given."""

    sent: list[tuple[str, str, dict[str, Any], bytes, int]] = field(default_factory=list)

    def send(
        self, what: str, topic: str, message: Mapping[str, Any], key: bytes, stamp_ms: int
    ) -> None:
        self.sent.append((what, topic, dict(message), key, stamp_ms))

    @property
    def maps(self) -> dict[str, dict[str, Any]]:
        """Return the last message of each chart."""
        return {message["chart"]: message for _, _, message, _, _ in self.sent}


SERIES = Series(tuple(range(10, 10 + len(COLUMNS))), tuple(range(100, 100 + len(COLUMNS))))
DIMENSIONS = ("app", "cgroup", "service", "command", "user", "errno", "status", "signal")
EVERYTHING = Interval(
    start_ns=5 * SECOND,
    end_ns=10 * SECOND,
    wall_ns=1_790_000_010_123_456_789,
    counts=tuple(range(len(COUNTS))),
    received=(0,) * len(COUNTS),
    groups={"host": {"": SERIES}, "lifetime": {"0.001": SERIES}}
    | {dimension: {"a": SERIES, "b": SERIES} for dimension in DIMENSIONS},
    zombies=Zombies(2, SECOND),
    agent=Agent(cpu_ns=1, resident_bytes=2, queued=3, dropped=4, forgotten=5, spool_fill=0.5),
)


def published(interval: Interval = EVERYTHING, *semantics: str) -> Publisher:
    publisher = Publisher()
    RatesTopic(publisher, "my.rates", ORIGIN, *semantics).interval(interval)
    return publisher


def test_every_chart_has_a_message():
    charts = [*CHARTS, *(state.chart for state in STATES)]
    assert len(published().sent) == len(charts)
    assert set(published().maps) == {chart.context for chart in charts}


def test_the_key_is_host_and_chart_and_the_time_that_of_the_intervals_end():
    for what, topic, message, key, stamp_ms in published().sent:
        assert (what, topic) == ("rates", "my.rates")
        assert key.decode() == f"build-7/{message['chart']}"
        assert stamp_ms == 1_790_000_010_123


def test_a_message_has_the_bounds_of_its_interval_in_both_clocks():
    found = published().maps["system.exit"]
    assert (found["start_ns"], found["end_ns"]) == (5 * SECOND, 10 * SECOND)
    assert found["end_wall_ns"] - found["start_wall_ns"] == 5 * SECOND
    assert found["end_wall_ns"] == EVERYTHING.wall_ns


def test_a_chart_of_the_host_has_one_group_without_a_name():
    found = published().maps["system.process_thread"]
    assert found["label"] is None
    (group,) = found["groups"]
    assert group == {
        "group": None,
        "counts": {"process": 0, "thread": 1},
        "values": {"process": 0.0, "thread": 0.2},
    }


def test_a_chart_of_groups_has_them_all_with_their_label():
    found = published().maps["app.process_create"]
    assert found["label"] == "app_group"
    assert [(g["group"], g["counts"], g["values"]) for g in found["groups"]] == [
        ("a", {"calls": 10}, {"calls": 2.0}),
        ("b", {"calls": 10}, {"calls": 2.0}),
    ]


def test_services_are_dimensions():
    (group,) = published().maps["services.task_close"]["groups"]
    assert group["group"] is None
    assert group["values"] == {"a": 3.0, "b": 3.0}


def test_values_follow_the_semantics_that_were_chosen():
    found = published(EVERYTHING, NETDATA).maps["app.process_create"]
    assert found["semantics"] == "netdata"
    assert found["groups"][0]["values"] == {"calls": 33.0}


@pytest.mark.parametrize("semantics", ["documented", "netdata"])
def test_every_message_is_what_the_schema_says(semantics):
    validator = Draft202012Validator(SCHEMA)
    for message in published(EVERYTHING, semantics).maps.values():
        validator.validate(message)
        assert set(message) == set(SCHEMA["properties"])


def test_an_interval_that_is_not_exact_says_so():
    inexact = replace(EVERYTHING, missed={"on_fork": 1})
    assert {m["exact"] for m in published(inexact).maps.values()} == {False}


def test_very_many_groups_are_more_than_one_message_and_none_is_too_large():
    apps = {f"group-{n:0100}": SERIES for n in range(2 * MOST_GROUPS + 1)}
    sent = published(replace(EVERYTHING, groups={"app": apps})).sent
    creates = [message for _, _, message, _, _ in sent if message["chart"] == "app.task_exit"]
    assert [len(m["groups"]) for m in creates] == [MOST_GROUPS, MOST_GROUPS, 1]
    assert [g["group"] for m in creates for g in m["groups"]] == list(apps)
    for packed in (pack, dump):
        assert max(len(packed(message)) for _, _, message, _, _ in sent) < 900_000
