"""From a topic of a real Kafka to the rates, in one process: wall time and memory.

Rim: runs a broker. The broker, on the same machine, takes its share of the CPUs.
"""

import resource
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from taskstream.batch import Batch, Origin
from taskstream.consumer.reader import Reader
from taskstream.grouping.choice import Choice
from taskstream.interval import Interval
from taskstream.recount import Recounter
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.target import WAIT_MS
from tests.bench.agent import SHAPES
from tests.bench.figure import Effort, Figure, figure
from tests.bench.sample import SAMPLE_EVENTS, batches_of
from tests.kafka.cluster import KafkaCluster, missing

__all__ = ["fill", "recount"]

_AIM_NS = {"event": 5_000, "batch": 2_000}
_HOSTS = 40
_MANY_HOSTS = 1_000
_MANY_EVENTS = 512
_RUNS = 3


class _Nowhere:
    """Takes intervals and keeps none."""

    def interval(self, origin: Origin, interval: Interval) -> None:
        """Forget it."""

    def forget(self, origin: Origin) -> None:
        """Forget it."""


def recount(effort: Effort) -> Iterator[Figure]:
    """Read the sample as that of many hosts, by app, command and user."""
    if reason := missing():
        raise RuntimeError(reason)
    hosts = _HOSTS // 4 if effort.quick else _HOSTS
    with KafkaCluster() as cluster:
        for shape in SHAPES:
            fill(cluster, shape, shape, hosts, SAMPLE_EVENTS)
            spent = [
                _read(cluster, shape, hosts * SAMPLE_EVENTS) for _ in range(effort.runs(_RUNS))
            ]
            what = f"topic to rates, `{shape}` messages, {hosts} hosts, one process"
            note = f"{hosts * SAMPLE_EVENTS:,} events"
            aim = _AIM_NS.get(shape)
            yield figure("rates", what, "ns/event", (ns for ns, _ in spent), aim=aim, note=note)
        fill(cluster, "many", "batch", _MANY_HOSTS, _MANY_EVENTS)
        before = _resident()
        ns, after = _read(cluster, "many", _MANY_HOSTS * _MANY_EVENTS)
        what = f"topic to rates, `batch` messages, {_MANY_HOSTS:,} hosts, one process"
        yield figure("rates", what, "ns/event", [ns], note=f"batches of {_MANY_EVENTS}")
        what = f"memory that {_MANY_HOSTS:,} hosts take"
        yield figure("rates", what, "MiB", [(after - before) / 1024])


def fill(cluster: KafkaCluster, topic: str, shape: str, hosts: int, events: int) -> None:
    cluster.create_topic(topic)
    options = KafkaOptions(
        bootstrap=cluster.bootstrap, topic=topic, message=shape, queue_wait_ms=WAIT_MS
    )
    sink = KafkaSink(options)
    for host in range(hosts):
        for one in _of_host(f"host-{host}", events):
            sink.write(one)
            while sink.waiting:
                sink.settle(0.02)
                sink.tick()
    sink.drain(120)
    if sink.account.delivered != hosts * events:
        raise RuntimeError(f"not everything was published: {sink.account}")


def _of_host(host: str, events: int) -> Iterator[Batch]:
    left = events
    for batch in batches_of(min(512, events)):
        if left <= 0:
            return
        left -= len(batch)
        yield replace(batch, origin=replace(batch.origin, host=host))


def _read(cluster: KafkaCluster, topic: str, events: int) -> tuple[float, int]:
    """Return ns/event, and the memory of this process at the end, in KiB."""
    choice = Choice(apps=True, commands=True, users=True)
    start_ns = time.perf_counter_ns()
    with Reader(cluster.bootstrap, [topic], to_end=True) as reader:
        recounter = Recounter(choice, _Nowhere(), late_s=10)
        recounter.topic(reader, lambda: False, exit_at_end=True)
    spent_ns = time.perf_counter_ns() - start_ns
    if recounter.totals.events != events:
        raise RuntimeError(f"not everything was counted: {recounter.totals.line()}")
    return spent_ns / events, _resident()


def _resident() -> int:
    """Return the memory of this process, in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024
