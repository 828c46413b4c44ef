"""A group of processes that counts a topic of a real Kafka: how it scales, and what it writes.

Rim: runs a broker and the members. All of them share this machine's CPUs, so the CPU time per
event says more than the rate does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from taskstream.batch import Batch
from taskstream.fleet_topic import GroupTopics
from taskstream.report import Report
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.target import WAIT_MS
from tests.agent_run import Run
from tests.bench.figure import Effort, Figure, figure
from tests.kafka.cluster import KafkaCluster, missing

__all__ = ["cpu_of", "ends_of", "fleet", "publish", "start_member"]

_MEMBERS = (1, 2, 4)
_HOSTS = 40
_PARTITIONS = 8
_SECONDS = 20
_TASKS_PER_S = 500
_COMMANDS = 50
_BY = ("app", "comm", "user")
_PATIENCE_S = 300


def fleet(effort: Effort) -> Iterator[Figure]:
    """Count hosts with 2,000 events/s each, by app, command and user, into a topic."""
    if reason := missing():
        raise RuntimeError(reason)
    hosts = _HOSTS // 10 if effort.quick else _HOSTS
    run = Run(tasks=_SECONDS * _TASKS_PER_S, seconds=_SECONDS, every_s=5, commands=_COMMANDS)
    runs = [run.on(f"host-{n}") for n in range(hosts)]
    for shape in ("batch", "event"):
        with KafkaCluster(properties={"num.partitions": str(_PARTITIONS)}) as cluster:
            yield from _behind(cluster, shape, runs)
        with KafkaCluster(properties={"num.partitions": str(_PARTITIONS)}) as cluster:
            yield from _live(cluster, shape, runs)


def _events(runs: Sequence[Run]) -> int:
    return sum(len(batch) for run in runs for batch in run.batches)


def _behind(cluster: KafkaCluster, shape: str, runs: Sequence[Run]) -> Iterator[Figure]:
    """Have groups read what is there, as fast as they can."""
    events = publish(cluster, shape, runs)
    for members in _MEMBERS:
        group = f"group-{members}"
        running = [start_member(cluster, group) for _ in range(members)]
        try:
            rate = _watch(cluster, group, events)
        finally:
            cpu_s = sum(map(_end, running))
        what = f"{members} member{'s' * (members > 1)} reading `{shape}` messages"
        note = f"{rate / members:,.0f} events/s each; {len(runs)} hosts, {_PARTITIONS} partitions"
        yield figure("fleet", what, "events/s", [rate], note=note)
        note = "of all members, their start included"
        yield figure("fleet", f"{what}, CPU time", "ns/event", [cpu_s * 1e9 / events], note=note)


def publish(cluster: KafkaCluster, shape: str, runs: Sequence[Run]) -> int:
    """Publish all that hosts did to topic ``events``; return how many events."""
    sink, events = _sink(cluster, shape), _events(runs)
    for run in runs:
        _write(sink, run.batches, run.reports)
    sink.drain(120)
    if sink.account.delivered != events:
        raise RuntimeError(f"not everything was published: {sink.account}")
    return events


def _live(cluster: KafkaCluster, shape: str, runs: Sequence[Run]) -> Iterator[Figure]:
    """Have one member read what comes at the pace at which it happened."""
    sink, events = _sink(cluster, shape), _events(runs)
    member = start_member(cluster, "live")
    try:
        _write(sink, [run.batches[0] for run in runs], [])
        time.sleep(10)  # it has started
        before_s, step = cpu_of(member), len(runs[0].batches) // _SECONDS
        start = time.monotonic()
        for second in range(_SECONDS + 1):
            for run in runs:
                at = 1 + second * step
                reports = run.reports[second // 5 : second // 5 + (second % 5 == 0 and second > 0)]
                _write(sink, run.batches[at : at + step], reports)
            while (now := time.monotonic()) < start + second + 1:
                sink.settle(0.02)
                sink.tick()
        spent_s, passed_s = cpu_of(member) - before_s, now - start
        sink.drain(120)
    finally:
        _end(member)
    what = f"live, `{shape}` messages of {len(runs)} hosts at 2,000 events/s"
    yield figure("fleet", f"{what}: one member", "% of a core", [100 * spent_s / passed_s])
    for topic, name in _written("live").items():
        size = cluster.bytes_of(topic) / (len(runs) * _SECONDS)
        note = f"{cluster.bytes_of(topic) / events:.2f} per event; on the broker's disk"
        yield figure("fleet", f"{what}: {name}", "bytes per host and second", [size], note=note)


def _sink(cluster: KafkaCluster, shape: str) -> KafkaSink:
    cluster.create_topic("events", _PARTITIONS)
    options = KafkaOptions(
        bootstrap=cluster.bootstrap, topic="events", message=shape, queue_wait_ms=WAIT_MS
    )
    return KafkaSink(options)


def _write(sink: KafkaSink, batches: Sequence[Batch], reports: Sequence[Report]) -> None:
    for batch in batches:
        sink.write(batch)
        while sink.waiting:
            sink.settle(0.02)
            sink.tick()
    for report in reports:
        sink.report(report)


def _written(group: str) -> dict[str, str]:
    topics = GroupTopics.of(group, "events")
    return {
        topics.events: "the events",
        topics.partials: "partial sums",
        topics.counting: "changelog of what was counted",
        topics.closing: "changelog of open intervals",
        f"{group}-rates": "rates",
    }


def start_member(
    cluster: KafkaCluster, group: str, said: int | IO[bytes] = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Start a member of a group that counts topic ``events``."""
    words = [sys.executable, "-m", "taskstream", "rates", "--bootstrap", cluster.bootstrap,
             "--topic", "events", "--group", group, "--to", "kafka", "--late", "600",
             *(word for by in _BY for word in ("--by", by))]  # fmt: skip
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=said)


def cpu_of(member: subprocess.Popen[bytes]) -> float:
    """Return the CPU time of a member that runs, in seconds."""
    stat = Path(f"/proc/{member.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _end(member: subprocess.Popen[bytes]) -> float:
    """End a member; return its CPU time."""
    member.terminate()
    _, status, used = os.wait4(member.pid, 0)
    member.returncode = os.waitstatus_to_exitcode(status)
    return used.ru_utime + used.ru_stime


def _watch(cluster: KafkaCluster, group: str, events: int) -> float:
    """Wait until a group has committed all events; return the events per second."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    ends = ends_of(admin)
    whole, done, first = sum(ends.values()), 0, None
    start = time.monotonic()
    until = start + _PATIENCE_S
    while time.monotonic() < until:
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
        with suppress(KafkaException):  # the coordinator is not there at once
            done = sum(
                min(one.offset, ends[one.partition])
                for one in asked.result().topic_partitions or []
                if one.topic == "events" and one.offset > 0
            )
        now = time.monotonic()
        if first is None and done:
            first = (now, done) if done < whole else (start, 0)
        if first is not None and done == whole:
            return events * (whole - first[1]) / whole / (now - first[0])
        time.sleep(0.1)
    raise RuntimeError(f"group {group} has not come to the end in {_PATIENCE_S} s")


def ends_of(admin: AdminClient) -> dict[int, int]:
    """Return the ends of the partitions of topic ``events``."""
    asked = admin.list_offsets(
        {TopicPartition("events", p): OffsetSpec.latest() for p in range(_PARTITIONS)}
    )
    return {one.partition: answer.result().offset for one, answer in asked.items()}
