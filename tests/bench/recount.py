"""From a topic of a real Kafka to the rates, in one process: wall time and memory.

Rim: runs a broker. The broker, on the same machine, takes its share of the CPUs.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from confluent_kafka import Producer

from taskstream.batch import Batch
from taskstream.cells import SECOND_NS
from taskstream.consumer.reader import Reader
from taskstream.grouping.choice import Choice
from taskstream.message.batch_encode import encode_batch
from taskstream.message.columns import pack
from taskstream.pipeline import Rhythm
from taskstream.recount import Recounter
from taskstream.report import Report
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.target import WAIT_MS
from tests.agent_run import PARTITIONS, Nowhere, Run
from tests.bench.agent import SHAPES, environment
from tests.bench.figure import Effort, Figure, figure
from tests.bench.sample import SAMPLE_EVENTS, batches_of
from tests.kafka.cluster import KafkaCluster, missing

__all__ = ["fill", "recount"]

_AIM_NS = {"event": 5_000, "batch": 2_000}
_HOSTS = 40
_MANY_HOSTS = 1_000
_MANY_EVENTS = 512
_LIVES = ((40, 120), (40, 480), (1_000, 8), (1_000, 32))
"""Hosts, and for how many seconds they live."""
_LIVE_TASKS = 16
"""Tasks of a host in a second, four events each."""
_LIVE_COMMANDS = 20
_BY = ("app", "cgroup", "service", "comm", "user")
_RUNS = 3


def recount(effort: Effort) -> Iterator[Figure]:
    """Read the sample as that of many hosts, by app, command and user."""
    if reason := missing():
        raise RuntimeError(reason)
    hosts = _HOSTS // 4 if effort.quick else _HOSTS
    with KafkaCluster() as cluster:
        for shape in SHAPES:
            fill(cluster, shape, shape, hosts, SAMPLE_EVENTS)
            events = hosts * SAMPLE_EVENTS
            spent = [_read(cluster, shape, events) for _ in range(effort.runs(_RUNS))]
            what = f"topic to rates, `{shape}` messages, {hosts} hosts, one process"
            note = f"{events:,} events"
            aim = _AIM_NS.get(shape)
            yield figure("rates", what, "ns/event", spent, aim=aim, note=note)
        fill(cluster, "many", "batch", _MANY_HOSTS, _MANY_EVENTS)
        ns = _read(cluster, "many", _MANY_HOSTS * _MANY_EVENTS)
        what = f"topic to rates, `batch` messages, {_MANY_HOSTS:,} hosts, one process"
        yield figure("rates", what, "ns/event", [ns], note=f"batches of {_MANY_EVENTS}")
        for count, seconds in ((hosts, 4),) if effort.quick else _LIVES:
            topic = f"live-{count}-{seconds}"
            events = _live(cluster, topic, count, seconds)
            what = f"memory of `taskstream rates` at most, {count:,} hosts, {seconds} s of history"
            note = f"{events:,} events, every `--by`"
            yield figure("rates", what, "MiB", [_peak_mib(cluster, topic, events)], note=note)


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


def _live(cluster: KafkaCluster, topic: str, hosts: int, seconds: int) -> int:
    """Publish what agents of so many hosts do at the same time; return the number of events."""
    run = Run(
        tasks=_LIVE_TASKS * seconds,
        seconds=seconds,
        commands=_LIVE_COMMANDS,
        step_ns=Rhythm(window_ns=SECOND_NS).idle_ms * 1_000_000,  # as where there are few events
    )
    cluster.create_topic(topic, PARTITIONS)
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 0}
    )
    for part in run.parts():
        for number in range(hosts):
            host = f"host-{number}"
            moved = replace(part, origin=replace(part.origin, host=host))
            made = (
                [pack(moved.to_map())] if isinstance(moved, Report) else encode_batch(moved).values
            )
            for value in made:
                producer.produce(topic, value, partition=number % PARTITIONS)
        producer.poll(0)
    if left := producer.flush(120):
        raise RuntimeError(f"{left} messages were not published")
    return hosts * sum(map(len, run.batches))


def _peak_mib(cluster: KafkaCluster, topic: str, events: int) -> float:
    """Return the most memory that the command has while it reads a topic to its end."""
    by = [word for name in _BY for word in ("--by", name)]
    words = [sys.executable, "-m", "taskstream", "rates", "--bootstrap", cluster.bootstrap]
    words += ["--topic", topic, "--exit-at-end", "--json", *by]
    # Not a child of this process: until it has begun, it would have this one's memory.
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *words], capture_output=True, env=environment(), text=True
    )
    if done.returncode or f"counted {events:,} events" not in done.stderr:
        raise RuntimeError(f"not everything was counted: {done.stderr}")
    return int(done.stdout) / 1024


_MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _read(cluster: KafkaCluster, topic: str, events: int) -> float:
    """Return ns/event."""
    choice = Choice(apps=True, commands=True, users=True)
    start_ns = time.perf_counter_ns()
    with Reader(cluster.bootstrap, [topic], to_end=True) as reader:
        recounter = Recounter(choice, Nowhere(), late_s=10)
        recounter.topic(reader, lambda: False, exit_at_end=True)
    spent_ns = time.perf_counter_ns() - start_ns
    if recounter.totals.events != events:
        raise RuntimeError(f"not everything was counted: {recounter.totals.line()}")
    return spent_ns / events
