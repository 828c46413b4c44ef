"""What a scrape sees are the counters, with the host's name, and they never fall."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from taskstream.errors import ConfigError
from taskstream.interval import COLUMNS, Agent, Interval, Series, Zombies
from taskstream.record import COUNTS
from taskstream.sink.prometheus import Metrics, MetricsServer

DOCUMENT = Path(__file__).parents[2] / "docs/prometheus.md"
SECOND = 10**9
NAMES = [count.name for count in COUNTS]


def series(**totals: int) -> Series:
    total = tuple(totals.get(name, 0) for name in COLUMNS)
    return Series((0,) * len(COLUMNS), total)


def interval(**values: Any) -> Interval:
    known = {"start_ns": 0, "end_ns": SECOND, "wall_ns": 1_790_000_000 * SECOND}
    counts = tuple(range(1, len(COUNTS) + 1))
    return Interval(**{**known, "counts": counts, "received": counts, **values})


EVERYTHING = interval(
    groups={
        "app": {"web": series(exec=7), "other": series(exec=2)},
        "cgroup": {"my web": series(free=3)},
        "service": {"sshd": series(fork_process=4)},
        "command": {'a"b\\c\n': series(exec=1)},
        "user": {"33": series(exec=5)},
        "errno": {"EAGAIN": series(fail_create=6, fail_exec=1)},
        "status": {"0": series(exit_process=8)},
        "signal": {"SIGKILL": series(exit_process=9)},
        "lifetime": {"0.003": series(exit_process=10), "+Inf": series(exit_process=2)},
    },
    zombies=Zombies(3, 1_500_000_000),
    agent=Agent(
        cpu_ns=2_500_000_000,
        resident_bytes=4096,
        queued=12,
        dropped=5,
        forgotten=1,
        uncharged=13,
        ring_fill=0.5,
        spool_fill=0.25,
        spool_dropped=2,
        spool_damaged=1,
    ),
)


def text(metrics: Metrics) -> str:
    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry).decode()


def samples(*intervals: Interval) -> dict[tuple[str, ...], float]:
    """Return the values by name and labels but ``host``, which all must have."""
    metrics = Metrics("web-3")
    for one in intervals:
        metrics.interval(one)
    found = {}
    for family in text_string_to_metric_families(text(metrics)):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("host") == "web-3"
            key = (sample.name, *sorted(f"{name}={value}" for name, value in labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_before_the_first_interval_there_is_nothing():
    assert samples() == {}


def test_events_of_the_host_are_summed_over_the_intervals():
    found = samples(interval(), interval(), interval())
    for number, name in enumerate(NAMES, 1):
        assert found["taskstream_events_total", f"event={name}"] == 3 * number


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        (("taskstream_app_events_total", "app_group=web", "event=exec"), 7),
        (("taskstream_app_events_total", "app_group=web", "event=free"), 0),
        (("taskstream_app_events_total", "app_group=other", "event=exec"), 2),
        (("taskstream_cgroup_events_total", "cgroup_name=my web", "event=free"), 3),
        (("taskstream_service_events_total", "service_name=sshd", "event=fork_process"), 4),
        (("taskstream_command_events_total", 'command=a"b\\c\n', "event=exec"), 1),
        (("taskstream_user_events_total", "uid=33", "event=exec"), 5),
        (("taskstream_failures_total", "call=create", "errno=EAGAIN"), 6),
        (("taskstream_failures_total", "call=exec", "errno=EAGAIN"), 1),
        (("taskstream_process_exits_total", "status=0", "signal="), 8),
        (("taskstream_process_exits_total", "status=", "signal=SIGKILL"), 9),
        (("taskstream_zombies",), 3),
        (("taskstream_zombie_oldest_seconds",), 1.5),
        (("taskstream_lost_events_total", "cause=dropped"), 2),
        (("taskstream_lost_events_total", "cause=spool"), 2),
        (("taskstream_lost_events_total", "cause=damaged"), 1),
        (("taskstream_agent_ring_fill_ratio",), 0.5),
        (("taskstream_agent_spool_fill_ratio",), 0.25),
        (("taskstream_agent_cpu_seconds_total",), 2.5),
        (("taskstream_agent_resident_memory_bytes",), 4096),
        (("taskstream_agent_queued_messages",), 12),
        (("taskstream_agent_forgotten_processes_total",), 1),
        (("taskstream_uncharged_events_total",), 13),
        (("taskstream_interval_end_timestamp_seconds",), 1_790_000_000),
    ],
)
def test_a_sample_has_the_value_of_its_counter(sample, value):
    assert samples(EVERYTHING)[sample[0], *sorted(sample[1:])] == value


def test_lifetimes_are_a_histogram_whose_buckets_hold_those_below():
    found = samples(EVERYTHING)
    name = "taskstream_process_lifetime_seconds_bucket"
    assert found[name, "le=0.001"] == 0
    assert found[name, "le=0.003"] == 10
    assert found[name, "le=3000"] == 10
    assert found[name, "le=+Inf"] == 12


def test_what_was_not_watched_or_not_counted_is_absent():
    names = {name for name, *_ in samples(interval(failures_watched=False))}
    assert names == {
        "taskstream_events_total",
        "taskstream_lost_events_total",
        "taskstream_interval_end_timestamp_seconds",
        "taskstream_release_late",
    }
    unwatched = samples(replace(EVERYTHING, failures_watched=False))
    assert not [key for key in unwatched if "fail" in str(key)]


def test_losses_are_told_by_cause_and_never_fall():
    lost = interval(received=(0,) * len(COUNTS), missed={"on_fork": 2})
    late = interval(received=tuple(2 * n for n in range(1, len(COUNTS) + 1)))
    total = sum(range(1, len(COUNTS) + 1))
    first, second = samples(lost), samples(lost, late)
    assert first["taskstream_lost_events_total", "cause=ring"] == total
    assert first["taskstream_lost_events_total", "cause=skipped"] == 2
    assert second["taskstream_lost_events_total", "cause=ring"] == total


def test_every_metric_says_what_it_is_and_counters_end_in_total():
    metrics = Metrics("web-3")
    metrics.interval(EVERYTHING)
    for line in text(metrics).splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            assert name.endswith("_total") == (kind == "counter"), name
        elif line.startswith("# HELP"):
            assert len(line.split(None, 3)[3]) > 10


# --- the server ----------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[MetricsServer]:
    metrics = Metrics("web-3")
    metrics.interval(EVERYTHING)
    with MetricsServer(metrics, "127.0.0.1", 0) as server:
        yield server


def test_a_scrape_gets_the_metrics(served):
    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert 'taskstream_zombies{host="web-3"} 3.0' in answer.read().decode()


def test_where_metrics_are_is_an_address_that_a_browser_takes(served):
    assert served.url == f"http://127.0.0.1:{served.port}/metrics"
    with MetricsServer(Metrics("web-3"), "::1", 0) as other:
        assert other.url == f"http://[::1]:{other.port}/metrics"
        with urllib.request.urlopen(other.url) as answer:
            assert answer.status == 200


def test_an_address_that_is_taken_is_told(served):
    with pytest.raises(ConfigError, match=f"at 127.0.0.1:{served.port}: Address already in use"):
        MetricsServer(Metrics("web-3"), "127.0.0.1", served.port)


def test_after_the_end_nobody_listens(served):
    served.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{served.port}/metrics")


# --- the document --------------------------------------------------------------------------------


def test_the_document_lists_every_metric_with_its_labels():
    metrics = Metrics("web-3")
    metrics.interval(EVERYTHING)
    described = {}
    for family in metrics.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = dict.fromkeys(
            label for sample in family.samples for label in sample.labels if label != "le"
        )
        described[name] = [family.type, ", ".join(labels), family.documentation]
    section = DOCUMENT.read_text().partition("## Many hosts")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]+) \| (.*) \|$", section, re.M)
    assert {name: rest for name, *rest in rows} == described
