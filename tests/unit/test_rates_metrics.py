"""What hosts drew is served as counters of each chart: every interval once, and within bounds."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskstream.board.gatherer import unpack_rates
from taskstream.chart.chart import DOCUMENTED, NETDATA
from taskstream.chart.draw import draw
from taskstream.errors import MessageError
from taskstream.interval import COLUMNS, Agent, Interval, Series, Zombies
from taskstream.message.columns import pack
from taskstream.message.json import dump
from taskstream.record import COUNTS
from taskstream.sink.prometheus import exposition
from taskstream.sink.rates import MOST_GROUPS, messages
from taskstream.sink.rates_metrics import FAMILIES, MetricBounds, RatesMetrics
from tests.readings import SECOND
from tests.synthetic import ORIGIN

DOCUMENT = Path(__file__).parents[2] / "docs/prometheus.md"
GROUPED = ("app", "cgroup", "service", "command", "user", "errno", "status", "signal", "lifetime")


def series(factor: int) -> Series:
    return Series(tuple(factor * n for n in range(1, len(COLUMNS) + 1)), (0,) * len(COLUMNS))


def interval(number: int = 1, *, groups: tuple[str, ...] = ("a", "b"), **values: Any) -> Interval:
    counts = tuple(number * n for n in range(1, len(COUNTS) + 1))
    known: dict[str, Any] = {
        "start_ns": 5 * number * SECOND,
        "end_ns": 5 * (number + 1) * SECOND,
        "wall_ns": (1_790_000_000 + 5 * number) * SECOND,
        "counts": counts,
        "received": counts,
        "groups": {"host": {"": series(number)}}
        | {dimension: {name: series(number) for name in groups} for dimension in GROUPED},
        "zombies": Zombies(number, number * SECOND),
        "agent": Agent(
            cpu_ns=number * SECOND,
            resident_bytes=2**20 * number,
            queued=number,
            dropped=0,
            forgotten=0,
            ring_fill=0.5,
            spool_fill=0.25,
            before=Agent(cpu_ns=0, resident_bytes=0, queued=0, dropped=0, forgotten=0),
        ),
    }
    return Interval(**{**known, **values})


def sent(one: Interval, host: str = "web-3", semantics: str = DOCUMENTED) -> list[bytes]:
    return [pack(message) for message in messages(one, replace(ORIGIN, host=host), semantics)]


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def ns(self) -> int:
        return int(self.seconds * SECOND)


class Served:
    """The metrics, and a scrape of them."""

    def __init__(self, **bounds: Any) -> None:
        self.clock = Clock()
        self.metrics = RatesMetrics(MetricBounds(**bounds), now_ns=self.clock.ns)

    def take(self, *values: bytes) -> "Served":
        for value in values:
            self.metrics.take(unpack_rates(value))
        return self

    def samples(self) -> dict[tuple[str, ...], float]:
        found = {}
        for family in text_string_to_metric_families(exposition(self.metrics)):
            for sample in family.samples:
                labels = dict(sample.labels)
                host = [labels.pop("host")] if "host" in labels else []
                key = (sample.name, *host, *labels.values())
                assert key not in found
                found[key] = sample.value
        return found


def values_of(samples: dict[tuple[str, ...], float], name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by labels, the host's name first."""
    return {key[1:]: value for key, value in samples.items() if key[0] == name}


def drawn(*intervals: Interval, semantics: str = DOCUMENTED) -> Counter[tuple[str, str, str]]:
    """Sum up what each chart of what happened counts, by context, group and dimension."""
    sums: Counter[tuple[str, str, str]] = Counter()
    for one in intervals:
        for drawing in draw(one, semantics):
            for dimension, count in drawing.counts.items():
                sums[drawing.chart.context, drawing.group, dimension] += abs(count)
    return sums


def counters(served: Served, host: str = "web-3") -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield the counters of charts: name, labels but the host, value."""
    for (name, *labels), value in served.samples().items():
        if name.endswith("_total") and labels[:1] == [host] and "agent" not in name:
            yield name, tuple(labels[1:]), value


@pytest.mark.parametrize("semantics", [DOCUMENTED, NETDATA])
@pytest.mark.parametrize("shape", [pack, dump])
def test_a_counter_is_the_sum_of_what_its_chart_counted(shape, semantics):
    served, given = Served(), [interval(1), interval(2), interval(7)]
    for one in given:
        for message in messages(one, replace(ORIGIN, host="web-3"), semantics):
            served.take(shape(message))
    sums = drawn(*given, semantics=semantics)
    found = {(name, *labels): value for name, labels, value in counters(served)}
    expected = {}
    for (context, group, dimension), count in sums.items():
        if context == "system.process_status":
            continue
        name = f"taskstream_{context.removeprefix('taskstream.').replace('.', '_')}_total"
        scope = context.partition(".")[0]
        label = group if group else dimension
        labels = () if context == "system.task_error" else (label,)
        assert scope != "app" or group
        expected[name, *labels] = count
    assert {key: value for key, value in found.items() if "_events_total" not in key[0]} == expected
    assert sum(expected.values()) > 1000


def test_what_is_no_sum_is_a_gauge_of_the_last_interval():
    found = Served().take(*sent(interval(1)), *sent(interval(3))).samples()
    (process,) = [
        d.values["process"] for d in draw(interval(3)) if d.chart.context == "system.process_status"
    ]
    assert found["taskstream_system_process_status", "web-3", "process"] == process
    assert found["taskstream_zombies", "web-3"] == 3
    assert found["taskstream_zombie_oldest_seconds", "web-3"] == 3
    assert found["taskstream_agent_resident_memory_bytes", "web-3"] == 3 * 2**20
    assert found["taskstream_agent_ring_fill_ratio", "web-3"] == 0.5
    assert found["taskstream_agent_spool_fill_ratio", "web-3"] == 0.25
    assert found["taskstream_agent_cpu_seconds_total", "web-3"] == pytest.approx(1 + 3)
    assert found["taskstream_interval_end_timestamp_seconds", "web-3"] == 1_790_000_015
    assert found["taskstream_host_up", "web-3"] == 1


def test_lost_events_are_counted_by_cause_and_never_fall():
    none = (0,) * len(COUNTS)
    total = sum(range(1, len(COUNTS) + 1))
    lost = interval(1, received=none, missed={"on_fork": 2})
    late = interval(2, counts=none, received=lost.counts)
    again = interval(3, counts=lost.counts, received=none)
    served = Served().take(*sent(lost))
    for one, ring in ((late, total), (again, total)):
        served.take(*sent(one))
        assert served.samples()["taskstream_lost_events_total", "web-3", "ring"] == ring
    assert served.samples()["taskstream_lost_events_total", "web-3", "skipped"] == 2


def test_copies_of_messages_and_what_came_before_them_change_nothing():
    served = Served().take(*sent(interval(1)), *sent(interval(2)))
    before = served.samples()
    assert served.take(*sent(interval(2)), *sent(interval(1))).samples() == before


def test_charts_may_come_in_any_order_as_from_other_partitions():
    first, second = sent(interval(1)), sent(interval(2))
    in_turn = [value for pair in zip(first, second, strict=True) for value in pair]
    assert Served().take(*in_turn).samples() == Served().take(*first, *second).samples()


def test_a_chart_in_several_messages_is_taken_whole_and_once():
    names = tuple(f"g{n}" for n in range(MOST_GROUPS + 3))
    given = sent(interval(1, groups=names))
    served = Served(groups=10_000).take(*given, *given)
    found = values_of(served.samples(), "taskstream_app_task_exit_total")
    assert {labels[1] for labels in found} == set(names)
    assert len(set(found.values())) == 1


def test_a_new_run_of_an_agent_counts_on_and_leaves_what_the_old_one_said_of_itself():
    served = Served().take(*sent(interval(9)))
    origin = replace(ORIGIN, host="web-3", run_ns=ORIGIN.run_ns + 1)
    for message in messages(interval(1, zombies=None), origin, DOCUMENTED):
        served.take(pack(message))
    found = served.samples()
    sums = drawn(interval(9), interval(1))
    key = ("taskstream_app_task_close_total", "web-3", "a")
    assert found[key] == sums["app.task_close", "a", "call"]
    assert ("taskstream_zombies", "web-3") not in found
    assert found["taskstream_interval_end_timestamp_seconds", "web-3"] == 1_790_000_005


def test_hosts_are_told_apart():
    served = Served().take(*sent(interval(1), "a"), *sent(interval(2), "b"))
    found = values_of(served.samples(), "taskstream_system_task_error_total")
    assert found[("b",)] == 2 * found[("a",)] > 0
    assert served.samples()["taskstream_hosts",] == 2


# --- bounds --------------------------------------------------------------------------------------


def test_groups_beyond_the_limit_are_counted_in_other_and_none_is_lost():
    served = Served(groups=3)
    for number in range(1, 6):
        served.take(*sent(interval(number, groups=(f"g{number}", f"h{number}"))))
    found = values_of(served.samples(), "taskstream_app_process_create_total")
    assert {labels[1] for labels in found} == {"g1", "h1", "g2", "other"}
    assert sum(found.values()) == sum(2 * n for n in range(1, 6))
    services = values_of(served.samples(), "taskstream_services_process_create_total")
    assert services == found


def test_hosts_beyond_the_limit_are_left_out_and_counted():
    served = Served(hosts=2)
    for host in ("a", "b", "c"):
        served.take(*sent(interval(1), host))
    found = served.samples()
    assert {labels[0] for labels in values_of(found, "taskstream_host_up")} == {"a", "b"}
    assert found["taskstream_left_out_messages_total",] == len(sent(interval(1)))


def test_a_silent_host_is_marked_then_forgotten_and_gives_its_place_to_another():
    served = Served(hosts=1, silent_s=60, forget_s=600).take(*sent(interval(1), "a"))
    served.clock.seconds += 59
    assert served.samples()["taskstream_host_up", "a"] == 1
    served.clock.seconds += 2
    found = served.samples()
    assert {key: value for key, value in found.items() if "a" in key} == {
        ("taskstream_host_up", "a"): 0
    }
    served.clock.seconds += 600  # after it fell silent
    assert [key for key in served.samples() if "a" in key] == []
    assert served.take(*sent(interval(1), "b")).samples()["taskstream_host_up", "b"] == 1


def test_a_host_that_comes_back_counts_on():
    served = Served(silent_s=60).take(*sent(interval(1)))
    served.clock.seconds += 1000
    assert ("taskstream_system_task_error_total", "web-3") not in served.samples()
    served.take(*sent(interval(2)))
    sums = drawn(interval(1), interval(2))
    found = served.samples()["taskstream_system_task_error_total", "web-3"]
    assert found == sums["system.task_error", "", "task"]


def test_a_host_of_long_intervals_is_not_silent_between_two():
    long = interval(1, start_ns=0, end_ns=3600 * SECOND)
    served = Served(silent_s=60).take(*sent(long))
    served.clock.seconds += 3601
    assert served.samples()["taskstream_host_up", "web-3"] == 1


# --- what is not ours ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoilt",
    [
        {"groups": 5},
        {"groups": [{"group": "a", "counts": {"call": "x"}, "values": {}}]},
        {"groups": [{"group": "a", "counts": {"call": float("inf")}, "values": {}}]},
        {"end_ns": None},
        {"end_wall_ns": "now"},
    ],
)
def test_a_spoilt_message_is_refused_whole(spoilt):
    served = Served().take(*sent(interval(1)))
    before = served.samples()
    message = next(messages(interval(2), replace(ORIGIN, host="web-3"), DOCUMENTED))
    with pytest.raises(MessageError, match="rates lack or spoil a member"):
        served.take(pack(message | spoilt))
    assert served.samples() == before


def test_a_chart_or_a_dimension_of_a_newer_agent_is_left_out():
    served = Served().take(*sent(interval(1)))
    before = served.samples()
    message = next(messages(interval(2), replace(ORIGIN, host="web-3"), DOCUMENTED))
    served.take(pack(message | {"chart": "system.of_tomorrow"}))
    group = {"group": None, "counts": {"tomorrow": 5}, "values": {"tomorrow": 1.0}}
    served.take(pack(message | {"groups": [group]}))
    after = served.samples()
    assert after.keys() == before.keys()
    assert [key for key in before if "of_tomorrow" in str(key)] == []


def test_half_a_character_in_json_is_refused_for_no_scrape_could_hold_it():
    message = dump(next(messages(interval(1), ORIGIN, DOCUMENTED)))
    with pytest.raises(MessageError):
        Served().take(message.replace(ORIGIN.host.encode(), rb"\ud800"))


# --- the document --------------------------------------------------------------------------------


def test_the_document_lists_every_metric_with_its_labels():
    section = DOCUMENT.read_text().partition("## Many hosts, from the topic of rates")[2]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]+) \| (.*) \|$", section, re.M)
    expected = {}
    for family in FAMILIES:
        name = f"{family.name}_total" if family.rises else family.name
        kind = "counter" if family.rises else "gauge"
        expected[name] = [kind, ", ".join(("host", *family.labels)), family.text]
    assert {name: rest for name, *rest in rows} == expected
