"""Charts of a replay are those of the live run, byte for byte, however it gets there.

The live run is the pipeline over a source whose losses, late counts and skips are known.
"""

import io
import itertools
import json
import signal
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taskstream.batch import Batch, Labels, Origin
from taskstream.capture.content import Names
from taskstream.capture.reader import CaptureFile
from taskstream.charge import Charges
from taskstream.chart.chart import NETDATA
from taskstream.cli.drawing import group_target
from taskstream.config.config import Config
from taskstream.grouping.apps import AppGroups, parse
from taskstream.grouping.choice import Choice
from taskstream.grouping.label import labels_of
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.meter import Meter
from taskstream.pipeline import Pipeline, Rhythm
from taskstream.record import NO_CPU
from taskstream.replay import Replay
from taskstream.selection import Selection
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.sink.netdata import NetdataCharts
from taskstream.sink.pair import TopicAndCapture
from taskstream.sink.prometheus import Metrics, exposition
from taskstream.sink.screen import JsonLines, PlainLines
from taskstream.target import WAIT_MS, CaptureTarget, KafkaTarget
from tests.capturing import Ticks, a_capture, capture_sink, sample
from tests.command import Done, start, taskstream
from tests.synthetic import batch, event
from tests.synthetic_host import CGROUPS, RULES, busy_host
from tests.synthetic_source import SyntheticSource
from tests.unit.test_pipeline import ATTACHED_NS, SECOND, START_NS

pytestmark = pytest.mark.kafka

LIVE = Origin("host", "boot", START_NS)


EVERYTHING = Choice(apps=True, cgroups=True, commands=True, users=True)
CONFIG = Config(apps=True, cgroups=True, chart_commands=True, chart_users=True)


class Grouping:
    """Counts every group of a live run; one container is called by the name of its engine."""

    def __init__(self) -> None:
        self._cgroups = CgroupNames(lambda cgroup: "shop" if cgroup.engine == "docker" else None)
        self._cgroups.learn_all(CGROUPS.items())
        rules = AppGroups(parse(RULES.splitlines(), "RULES"))
        self.tally = Tally(SECOND, EVERYTHING, rules=rules, cgroups=self._cgroups,
                           is_zombie=lambda tgid: tgid % 2 == 0)  # fmt: skip
        self.close = self.tally.close

    def begin(self, snapshot: Batch) -> Batch:
        cmdlines = {100: b"sh\0-c\0of httpd", 101: b"/usr/bin/crunch"}
        self.tally.meet(snapshot.records, cmdlines)
        return self.add(snapshot)

    def _labels_of(self, records: NDArray[np.void], apps: NDArray[np.intp]) -> Labels:
        return labels_of(records, self._cgroups, (apps, self.tally.processes.names))

    def add(self, batch: Batch) -> Batch:
        return replace(batch, labels=self._labels_of(batch.records, self.tally.add(batch)))

    def charge(self, window: int, charges: Charges) -> Charges:
        apps = self.tally.charge(window, charges)
        return replace(charges, labels=self._labels_of(charges.events, apps))

    def names(self) -> tuple[tuple[int, str, str], ...]:
        return tuple((id_, c.path, c.name) for id_, c in self._cgroups.news().items())


def held_up(events: NDArray[np.void]) -> NDArray[np.int64]:
    """Return when events can be read: one that is written late holds up those behind it."""
    readable_ns = events["boot_ns"].astype(np.int64)
    readable_ns += np.where(events["seq"] % 101 == 0, 700_000_000, 0)
    for cpu in (0, 1):
        here = events["cpu"] == cpu
        readable_ns[here] = np.maximum.accumulate(readable_ns[here])
    return readable_ns


class Live:
    """A live run that loses events: its capture, its charts, its sink's topic if it has one."""

    def __init__(self, folder: Path, topic: KafkaSink | None = None) -> None:
        events = busy_host(ATTACHED_NS, 4, run_ns=START_NS)
        happens_ns = events["boot_ns"].astype(np.int64)
        shells = (
            event("task", pid=100 + n, tgid=100 + n, process_start_ns=5 + n, comm=b"bash",
                  cpu=NO_CPU, seq=START_NS + n)
            for n in range(3)
        )  # fmt: skip
        self.path = folder / "live.tsc"
        self.json, self.plain = io.StringIO(), io.StringIO()
        self.netdata, self.netdata_plain = io.StringIO(), io.StringIO()
        self.plugin, self.metrics = io.StringIO(), Metrics("host")
        shown = [
            JsonLines(self.json),
            PlainLines(self.plain),
            JsonLines(self.netdata, NETDATA),
            PlainLines(self.netdata_plain, NETDATA),
            NetdataCharts(1, time.monotonic_ns, out=self.plugin),
            self.metrics,
        ]
        ticks, cost = Ticks(), itertools.count(10)
        ticks.ns = START_NS
        meter = Meter(cpu_ns=lambda: 1_234_567 * next(cost), resident_bytes=lambda: next(cost))
        with SyntheticSource(
            events,
            window_ns=SECOND,
            start_ns=START_NS,
            attached_ns=ATTACHED_NS,
            step_ns=20_000_000,
            lost=(events["boot_ns"] // (SECOND // 3)) % 4 == 0,  # at times, the ring is full
            counted_ns=happens_ns + 150_000_000,
            readable_ns=held_up(events),
            snapshot=batch(*shells, origin=LIVE),
        ) as source:
            source.origin = LIVE
            capture = capture_sink(self.path, origin=source.origin, ticks=ticks)
            if topic is None:  # else the events tell
                capture.names(Names(boot_ns=START_NS, cgroups=CGROUPS))
            pipeline = Pipeline(
                source,
                capture if topic is None else TopicAndCapture(topic, capture),
                Rhythm(window_ns=SECOND, flush_ms=1, idle_ms=1),
                failures_watched=True,
                on_interval=lambda interval: [one.interval(interval) for one in shown],
                groups=Grouping(),
                agent=lambda: meter.read(queued=next(cost), dropped=3, forgotten=0, uncharged=1),
                now_ns=source.now_ns,
            )

            def skip() -> None:
                ticks.ns = source.now
                if source.now > ATTACHED_NS + 2 * SECOND:
                    source.skipped["on_exit"] = 3

            self.totals = pipeline.run(lambda: source.now > ATTACHED_NS + 5 * SECOND, skip)
            capture.close()
        assert self.totals.lost > 100
        assert self.totals.missed == 3


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    return Live(tmp_path_factory.mktemp("live"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration that chooses the groups of the live run, but for the cgroups."""
    path = tmp_path / "process.conf"
    path.write_text("[global]\napps = yes\n[charts]\ncommands = yes\nusers = yes\n")
    return path


@pytest.fixture
def options(config: Path) -> list[object]:
    """Return options that choose the groups of the live run."""
    return ["--cgroups", "--config", config]


def consumed(address: str, topic: str, *options: object) -> Done:
    """Draw the charts of a topic, read to its end."""
    source = ("--bootstrap", address, "--topic", topic, "--exit-at-end")
    return taskstream("consume", *source, "--charts", *options)


def charts_of(path: Path, selection: Selection | None = None) -> str:
    out = io.StringIO()
    with CaptureFile(path) as file:
        target = group_target(CONFIG, None, JsonLines(out))
        Replay([file], target, selection=selection or Selection()).run(lambda: False)
    return out.getvalue()


def test_the_live_run_has_every_group(live):
    lines = [json.loads(line) for line in live.json.getvalue().splitlines()]
    assert len(lines) == 6
    found = {(d, g) for line in lines for d, groups in line["groups"].items() for g in groups}
    assert found >= {
        ("app", "web"), ("app", "batch"), ("app", "shells"), ("cgroup", "shop"),
        ("cgroup", "user-slice_größe-scope"), ("service", "nginx"), ("command", "caf\\xe9"),
        ("user", "1000"), ("errno", "EAGAIN"), ("signal", "SIGKILL"), ("status", "1"),
    }  # fmt: skip
    assert [line["exact"] for line in lines].count(False) == 1
    assert [line["lost"] for line in lines].count(0) < len(lines)
    assert lines[-1]["zombies"]["level"] > 0
    assert lines[-1]["charts"]["taskstream.agent_cpu"]["cpu"] > 0


def test_charts_of_a_replay_are_those_of_the_live_run(live):
    assert charts_of(live.path) == live.json.getvalue()


def test_charts_of_the_command_line_are_those_of_the_live_run(live, options):
    done = taskstream("replay", live.path, "--to", "charts", *options, "--json")
    assert done.out == live.json.getvalue()
    plain = taskstream("replay", live.path, "--to", "charts", *options)
    assert plain.out == live.plain.getvalue()
    assert plain.code == 0


def test_netdatas_formulas_are_replayed_too(live, options, config):
    config.write_text(config.read_text() + "semantics = netdata\n")
    done = taskstream("replay", live.path, "--to", "charts", *options, "--json")
    assert done.out == live.netdata.getvalue()
    assert done.out != live.json.getvalue()
    plain = taskstream("replay", live.path, "--to", "charts", *options)
    assert plain.out == live.netdata_plain.getvalue()


def test_what_netdata_and_prometheus_get_is_what_they_got_live(live, options):
    plugin = taskstream("replay", live.path, "--to", "netdata", *options)
    assert plugin.out == live.plugin.getvalue()
    assert "CHART app.web_process_create" in plugin.out
    metrics = taskstream("replay", live.path, "--to", "prometheus", *options)
    assert metrics.out == exposition(live.metrics)
    assert 'taskstream_app_events_total{app_group="web",event="exec",host="host"}' in metrics.out


def test_metrics_are_served_until_it_is_interrupted(live, options):
    words = ("--to", "prometheus", "--listen", "0", *options)
    with start("replay", live.path, *words) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        wanted = exposition(live.metrics)
        for _ in range(200):
            with urllib.request.urlopen(address) as answer:
                found = answer.read().decode()
            if set(wanted.splitlines()) <= set(found.splitlines()):
                break
            time.sleep(0.05)
        else:
            pytest.fail("the last interval is not served")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_other_rules_decide_anew_where_they_are_given(live, options, tmp_path):
    rules = tmp_path / "rules.conf"
    rules.write_text("mine: nginx\n")
    done = taskstream(
        "replay", live.path, "--to", "charts", *options, "--json", "--apps-groups", rules
    )
    mine, theirs = ([json.loads(line) for line in text.splitlines()]
                    for text in (done.out, live.json.getvalue()))  # fmt: skip
    assert {group for line in mine for group in line["groups"]["app"]} == {"mine", "other"}
    assert [line["counts"] for line in mine] == [line["counts"] for line in theirs]
    assert [line["groups"]["cgroup"] for line in mine] == [
        line["groups"]["cgroup"] for line in theirs
    ]


def test_charts_of_a_capture_of_a_replay_are_those_of_the_live_run(live, tmp_path):
    sink = capture_sink(tmp_path / "again.tsc", origin=LIVE)
    with CaptureFile(live.path) as file:
        Replay([file], CaptureTarget(sink), selection=Selection()).run(lambda: False)
    sink.close()
    assert charts_of(tmp_path / "again.tsc") == live.json.getvalue()


def test_charts_of_the_chosen_events_are_counted_from_them(live):
    charts = charts_of(live.path, Selection(comms=("nginx",)))
    rows = [json.loads(line) for line in charts.splitlines()]
    execs = [row["counts"]["exec"] for row in rows]
    lines = [json.loads(line) for line in live.json.getvalue().splitlines()]
    lively = [line["groups"]["command"]["nginx"].get("exec", 0) for line in lines]
    assert 0 < sum(execs) < sum(lively)  # what is missing is what the ring lost
    for row in rows:
        assert row["lost"] == 0
        found = row["groups"]["command"]
        assert found.keys() <= {"nginx"}
        assert found.get("nginx", {}).get("exec", 0) == row["counts"]["exec"]


@pytest.mark.parametrize("shape", ["event", "batch", "json"])
def test_charts_through_a_topic_are_those_of_the_live_run(live, either, topic, shape, options):
    sink = KafkaSink(
        KafkaOptions(bootstrap=either, topic=topic, message=shape, queue_wait_ms=WAIT_MS)
    )
    for _ in range(2):  # the second time makes duplicates
        with CaptureFile(live.path) as file:
            Replay([file], KafkaTarget(sink), selection=Selection()).run(lambda: False)
        sink.drain(10)
    account = sink.account
    assert account.delivered == account.received == 2 * (live.totals.read + live.totals.running)

    done = consumed(either, topic, *options, "--json")
    assert done.out == live.json.getvalue()
    assert f"{live.totals.read + live.totals.running:,} again" in done.err
    assert f"missing {live.totals.lost:,}" in done.err
    assert "unexplained" not in done.err
    assert done.code == 3  # for what the ring lost
    assert consumed(either, topic, *options).out == live.plain.getvalue()


def test_charts_of_the_agents_own_topic_are_those_of_the_live_run(tmp_path, either, topic, options):
    """The topic has four partitions, and a reader gets them one after another."""
    sink = KafkaSink(KafkaOptions(bootstrap=either, topic=topic))
    live = Live(tmp_path, sink)
    assert consumed(either, topic, *options, "--json").out == live.json.getvalue()


def test_two_hosts_of_a_topic_are_drawn_one_at_a_time(live, either, topic, options, tmp_path):
    other = a_capture(tmp_path / "other.tsc", sample())
    sink = KafkaSink(KafkaOptions(bootstrap=either, topic=topic, queue_wait_ms=WAIT_MS))
    for path in (live.path, other):
        with CaptureFile(path) as file:
            Replay([file], KafkaTarget(sink), selection=Selection()).run(lambda: False)
    sink.drain(10)
    done = consumed(either, topic, *options, "--json")
    assert done.code == 1
    assert "name one with --host" in done.err
    done = consumed(either, topic, *options, "--json", "--host", "host")
    assert done.out == live.json.getvalue()


def test_a_capture_beside_a_topic_has_the_same_stream(tmp_path, either, topic):
    sink = KafkaSink(KafkaOptions(bootstrap=either, topic=topic))
    live = Live(tmp_path, sink)
    assert charts_of(live.path) == live.json.getvalue()
    assert sink.account.delivered == live.totals.read + live.totals.running
    with CaptureFile(live.path) as file:
        ends = file.trailer()
    assert ends is not None
    assert ends[1].received == sink.account.delivered


def test_a_part_of_the_time_has_the_intervals_within_it(live):
    lines = live.plain.getvalue().splitlines(keepends=True)
    done = taskstream("replay", live.path, "--to", "charts", "--from", "+1.9")
    head, *shown = done.out.splitlines(keepends=True)
    assert head == lines[0]
    assert 0 < len(shown) < len(lines) - 1
    assert lines[-len(shown) :] == shown
