"""A group of processes that counts a topic of a real Kafka: how it scales, and what it writes.

Rim: runs a broker and the members. All of them share this machine's CPUs, so the CPU time per
event says more than the rate does.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient, OffsetSpec

from taskstream.fleet_topic import GroupTopics
from tests.bench.figure import Effort, Figure, figure
from tests.bench.recount import fill
from tests.bench.sample import SAMPLE_EVENTS
from tests.kafka.cluster import KafkaCluster, missing

__all__ = ["fleet"]

_MEMBERS = (1, 2, 4)
_HOSTS = 100
_PARTITIONS = 8
_BY = ("app", "comm", "user")
_PATIENCE_S = 300


@dataclass(frozen=True, slots=True)
class _Round:
    """What some members needed.

    Attributes:
        rate: Events per second, while offsets were committed.
        cpu_ns: CPU time of all members per event, their start included.
    """

    rate: float
    cpu_ns: float


def fleet(effort: Effort) -> Iterator[Figure]:
    """Count the sample as that of many hosts, by app, command and user, into a topic."""
    if reason := missing():
        raise RuntimeError(reason)
    hosts = _HOSTS // 10 if effort.quick else _HOSTS
    events = hosts * SAMPLE_EVENTS
    for shape in ("batch", "event"):
        with KafkaCluster(properties={"num.partitions": str(_PARTITIONS)}) as cluster:
            fill(cluster, "events", shape, hosts, SAMPLE_EVENTS)
            for members in _MEMBERS:
                found = _round(cluster, f"group-{members}", members, events)
                what = f"{members} members, `{shape}` messages of {hosts} hosts"
                note = f"{found.rate / members:,.0f} events/s each"
                yield figure("fleet", what, "events/s", [found.rate], note=note)
                yield figure("fleet", f"{what}, CPU time", "ns/event", [found.cpu_ns])
            for topic, what in _written("group-1").items():
                size = cluster.bytes_of(topic) / events
                name = f"{what}, `{shape}` messages"
                yield figure("fleet", name, "bytes/event", [size], note="on the broker's disk")


def _written(group: str) -> dict[str, str]:
    topics = GroupTopics.of(group, "events")
    return {
        topics.events: "the events themselves",
        topics.partials: "partial sums, one member",
        topics.counting: "changelog of what was counted, one member",
        topics.closing: "changelog of open intervals, one member",
        f"{group}-rates": "rates, one member",
    }


def _round(cluster: KafkaCluster, group: str, members: int, events: int) -> _Round:
    words = [sys.executable, "-m", "taskstream", "rates", "--bootstrap", cluster.bootstrap,
             "--topic", "events", "--group", group, "--to", "kafka", "--late", "600",
             *(word for by in _BY for word in ("--by", by))]  # fmt: skip
    running = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(members)
    ]
    try:
        rate = _watch(cluster, group, events)
    finally:
        for one in running:
            one.terminate()
    cpu_s = 0.0
    for one in running:
        _, status, used = os.wait4(one.pid, 0)
        one.returncode = os.waitstatus_to_exitcode(status)
        cpu_s += used.ru_utime + used.ru_stime
    return _Round(rate, cpu_s * 1e9 / events)


def _watch(cluster: KafkaCluster, group: str, events: int) -> float:
    """Wait until a group has committed all events; return the events per second."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    ends = _ends(admin)
    whole, first = sum(ends.values()), None
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        done = sum(
            min(one.offset, ends[one.partition])
            for one in asked[group].result().topic_partitions or []
            if one.topic == "events" and one.offset > 0
        )
        now = time.monotonic()
        if first is None and done:
            first = now, done
        if first is not None and done == whole:
            return events * (whole - first[1]) / whole / max(now - first[0], 1e-9)
        time.sleep(0.1)
    raise RuntimeError(f"group {group} has not come to the end in {_PATIENCE_S} s")


def _ends(admin: AdminClient) -> dict[int, int]:
    from confluent_kafka import TopicPartition

    asked = admin.list_offsets(
        {TopicPartition("events", p): OffsetSpec.latest() for p in range(_PARTITIONS)}
    )
    return {one.partition: answer.result().offset for one, answer in asked.items()}
