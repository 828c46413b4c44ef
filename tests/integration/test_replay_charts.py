"""Charts of a replay are those of the live run, byte for byte, however it gets there.

The live run is the pipeline over a source whose losses, late counts and skips are known.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from taskstream.broker import EmbeddedBroker
from taskstream.capture.reader import CaptureFile
from taskstream.consumer import TopicSource
from taskstream.pipeline import Pipeline, Rhythm
from taskstream.replay import Replay
from taskstream.selection import Selection
from taskstream.sequence import StreamBooks
from taskstream.sink.kafka import KafkaOptions, KafkaSink
from taskstream.sink.pair import TopicAndCapture
from taskstream.sink.screen import JsonLines, PlainLines
from taskstream.target import WAIT_MS, CaptureTarget, ChartTarget, KafkaTarget
from tests.capturing import Ticks, capture_sink
from tests.command import taskstream
from tests.synthetic import batch, event
from tests.synthetic_source import SyntheticSource
from tests.unit.test_pipeline import ATTACHED_NS, SECOND, START_NS, steady

pytestmark = pytest.mark.kafka

TOPIC = "taskstream.events"


class Live:
    """A live run that loses events: its capture, its charts, its sink's topic if it has one."""

    def __init__(self, folder: Path, topic: KafkaSink | None = None) -> None:
        events = steady(4)
        self.path = folder / "live.tsc"
        self.json, self.plain = io.StringIO(), io.StringIO()
        shown = [JsonLines(self.json), PlainLines(self.plain)]
        ticks = Ticks()
        ticks.ns = START_NS
        with SyntheticSource(
            events,
            window_ns=SECOND,
            start_ns=START_NS,
            attached_ns=ATTACHED_NS,
            step_ns=20_000_000,
            lost=np.arange(len(events)) % 7 == 0,
            counted_ns=events["boot_ns"].astype(np.int64) + 150_000_000,
            snapshot=batch(event("task"), event("task")),
        ) as source:
            source.origin = type(source.origin)("host", "boot", START_NS)
            capture = capture_sink(self.path, origin=source.origin, ticks=ticks)
            pipeline = Pipeline(
                source,
                capture if topic is None else TopicAndCapture(topic, capture),
                Rhythm(window_ns=SECOND, flush_ms=1, idle_ms=1),
                failures_watched=False,
                on_interval=lambda interval: [one.interval(interval) for one in shown],
                now_ns=source.now_ns,
            )

            def skip() -> None:
                ticks.ns = source.now
                if source.now > ATTACHED_NS + 2 * SECOND:
                    source.skipped["on_exit"] = 3

            self.totals = pipeline.run(lambda: source.now > ATTACHED_NS + 5 * SECOND, skip)
            capture.close()
        assert self.totals.lost > 0
        assert self.totals.missed == 3


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    return Live(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def charts_of(path: Path, selection: Selection | None = None) -> str:
    out = io.StringIO()
    with CaptureFile(path) as file:
        target = ChartTarget(JsonLines(out))
        Replay([file], target, selection=selection or Selection()).run(lambda: False)
    return out.getvalue()


def test_charts_of_a_replay_are_those_of_the_live_run(live):
    assert charts_of(live.path) == live.json.getvalue()
    assert live.json.getvalue().count('"exact": false') == 1
    assert live.json.getvalue().count("\n") >= 5


def test_charts_of_the_command_line_are_those_of_the_live_run(live):
    done = taskstream("replay", live.path, "--to", "charts", "--json")
    assert done.out == live.json.getvalue()
    plain = taskstream("replay", live.path, "--to", "charts")
    assert plain.out == live.plain.getvalue()
    assert plain.code == 0


def test_charts_of_a_capture_of_a_replay_are_those_of_the_live_run(live, tmp_path):
    sink = capture_sink(tmp_path / "again.tsc", origin=live_origin(live))
    with CaptureFile(live.path) as file:
        Replay([file], CaptureTarget(sink), selection=Selection()).run(lambda: False)
    sink.close()
    assert charts_of(tmp_path / "again.tsc") == live.json.getvalue()


def live_origin(live: Live) -> object:
    with CaptureFile(live.path) as file:
        assert file.header is not None
        return file.header.origin


def test_charts_of_the_chosen_events_are_counted_from_them(live):
    """All forks are chosen: what is missing is what the ring lost."""
    charts = charts_of(live.path, Selection(kinds=("fork",)))
    rows = [json.loads(line) for line in charts.splitlines()]
    forks = sum(row["counts"]["fork_process"] for row in rows)
    assert forks == live.totals.read
    assert all(row["lost"] == 0 for row in rows)


@pytest.mark.parametrize("shape", ["event", "batch", "json"])
def test_charts_through_a_topic_are_those_of_the_live_run(live, broker, shape):
    topic = f"replay.{shape}"
    sink = KafkaSink(
        KafkaOptions(bootstrap=broker.address, topic=topic, message=shape, queue_wait_ms=WAIT_MS)
    )
    for _ in range(2):  # the second time makes duplicates
        with CaptureFile(live.path) as file:
            Replay([file], KafkaTarget(sink), selection=Selection()).run(lambda: False)
        sink.drain(10)
    account = sink.account
    assert account.delivered == account.received == 2 * (live.totals.read + live.totals.running)

    out, shown = io.StringIO(), set()
    books = StreamBooks(from_start=True)
    with TopicSource(broker.address, topic) as source:
        while not source.at_end:
            decoded = source.read(0.2)
            assert not decoded.rejected
            for one in decoded.batches:
                books.add(one)
            for report in sorted(decoded.reports, key=lambda r: r.boot_ns):
                books.report(report)
                if report.interval and report.boot_ns not in shown:
                    shown.add(report.boot_ns)
                    JsonLines(out).interval(report.interval)
    assert out.getvalue() == live.json.getvalue()
    summaries = books.summaries()
    assert sum(s.events for s in summaries) == live.totals.read + live.totals.running
    assert books.duplicates == live.totals.read + live.totals.running
    assert sum(s.unexplained for s in summaries) == 0
    assert sum(s.missing for s in summaries) == live.totals.lost


def test_a_capture_beside_a_topic_has_the_same_stream(tmp_path, broker):
    sink = KafkaSink(KafkaOptions(bootstrap=broker.address, topic="beside"))
    live = Live(tmp_path, sink)
    assert charts_of(live.path) == live.json.getvalue()
    assert sink.account.delivered == live.totals.read + live.totals.running
    with CaptureFile(live.path) as file:
        ends = file.trailer()
    assert ends is not None
    assert ends[1].received == sink.account.delivered


def test_a_part_of_the_time_has_the_intervals_within_it(live):
    lines = live.json.getvalue().splitlines(keepends=True)
    done = taskstream("replay", live.path, "--to", "charts", "--json", "--from", "+1.9")
    assert done.out
    assert live.json.getvalue().endswith(done.out)
    assert 0 < len(done.out.splitlines()) < len(lines)
