"""What more members of a group add, each with a fixed share of a core.

Rim: runs a broker and the members. Their shares together are less than the machine has, so it is
members, not the machine, that are the limit; the broker and whoever measures have the rest.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from tests.agent_run import Run
from tests.bench import fleet
from tests.bench.figure import Effort, Figure, figure
from tests.bench.quota import Quota
from tests.kafka.cluster import KafkaCluster, missing

__all__ = ["members"]

_MEMBERS = (1, 2, 4)
_SHARE = 0.1
_PARTITIONS = 8
_HOSTS = 100
_SECONDS = 20
_RUNS = 3
_PATIENCE_S = 300


def members(effort: Effort) -> Iterator[Figure]:
    """Count hosts with 2,000 events/s each, by app, command and user, into a topic."""
    if reason := missing():
        raise RuntimeError(reason)
    hosts, counts = (_HOSTS // 4, _MEMBERS[:2]) if effort.quick else (_HOSTS, _MEMBERS)
    run = Run(tasks=_SECONDS * 500, seconds=_SECONDS, every_s=5, commands=50)
    runs = [run.on(f"host-{n}") for n in range(hosts)]
    rates: dict[int, list[float]] = {count: [] for count in counts}
    cpu_ns: dict[int, list[float]] = {count: [] for count in counts}
    shares: dict[int, list[float]] = {count: [] for count in counts}
    with KafkaCluster(properties={"num.partitions": str(_PARTITIONS)}) as cluster:
        events = fleet.publish(cluster, "batch", runs)
        for turn in range(effort.runs(_RUNS)):
            for count in counts:
                rate, cpu, share = _read(cluster, f"group-{count}-{turn}", count, events)
                rates[count].append(rate)
                cpu_ns[count].append(cpu)
                shares[count].append(share)
    for count in counts:
        what = f"{count} member{'s' * (count > 1)} with {_SHARE:.0%} of a core each, `batch`"
        ratios = ", ".join(
            f"{more / one:.2f}" for more, one in zip(rates[count], rates[1], strict=True)
        )
        used = ", ".join(f"{share:.1%}" for share in shares[count])
        note = f"{ratios} times one member's; each used {used} of a core"
        yield figure("members", what, "events/s", rates[count], note=note)
        yield figure("members", f"{what}, CPU time", "ns/event", cpu_ns[count])


def _read(cluster: KafkaCluster, group: str, count: int, events: int) -> tuple[float, float, float]:
    """Have a group read the topic.

    It is watched from when each member has its part until the first partition is at its end.

    Returns:
        Events per second; CPU time of all members, ns/event; of a core, what each used.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        running, logs = [], []
        for number in range(count):
            quota = stack.enter_context(Quota(f"taskstream-{os.getpid()}-{number}", _SHARE))
            log = folder / str(number)
            member = fleet.start_member(cluster, group, stack.enter_context(log.open("wb")))
            stack.callback(_end, member)
            quota.add(member.pid)
            running.append(member)
            logs.append(log)
        has = f"has {_PARTITIONS // count} of {_PARTITIONS} partitions of events"
        until = time.monotonic() + _PATIENCE_S
        while not all(has in _last_line(log) for log in logs):
            if time.monotonic() > until:
                raise RuntimeError(f"{group} has not shared the work out: {logs[0].read_text()}")
            time.sleep(0.05)
        return _watch(cluster, group, events, running)


def _last_line(log: Path) -> str:
    return (log.read_text().splitlines() or [""])[-1]


def _end(member: "subprocess.Popen[bytes]") -> None:
    member.kill()
    member.wait()


def _watch(
    cluster: KafkaCluster, group: str, events: int, running: Sequence["subprocess.Popen[bytes]"]
) -> tuple[float, float, float]:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    ends = fleet.ends_of(admin)
    per_message = events / sum(ends.values())
    first: tuple[float, int, float] | None = None
    last = first
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group]
        with suppress(KafkaException):  # the coordinator is not there at once
            read = {
                one.partition: min(one.offset, ends[one.partition])
                for one in asked.result().topic_partitions or []
                if one.topic == "events" and one.offset > 0
            }
            if any(read.get(partition) == end for partition, end in ends.items()):
                break
            done, cpu_s = sum(read.values()), sum(map(fleet.cpu_of, running))
            if last is None or done > last[1]:  # they have just committed
                last = time.monotonic(), done, cpu_s
                first = first or last
        time.sleep(0.1)
    if first is None or last is None or last[1] == first[1]:
        raise RuntimeError(f"group {group} was not seen at work")
    passed_s, spent_s = last[0] - first[0], last[2] - first[2]
    counted = (last[1] - first[1]) * per_message
    return counted / passed_s, spent_s * 1e9 / counted, spent_s / passed_s / len(running)
