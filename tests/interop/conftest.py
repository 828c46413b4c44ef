"""Topics of the same events in every shape, on the real Kafka, and what taskstream reads there."""

from dataclasses import dataclass
from typing import Any

import pytest

from taskstream.batch import Batch, Origin
from taskstream.cli.event_line import event_maps
from taskstream.consumer import TopicSource
from taskstream.record import COUNTS, KINDS
from taskstream.report import CpuReport, Report
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from tests.kafka.cluster import KafkaCluster
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, bits, event, lives
from tests.topic import wait_until

SHAPES = ["event", "batch", "json"]

_PROCESSES = 300
_OTHER = Origin("høst-2", "00000000-0000-4000-8000-000000000000", 2**53 + 1)
_ALONE = Origin("one-cpu", "00000000-0000-4000-8000-000000000001", ORIGIN.run_ns)


@dataclass(frozen=True)
class Published:
    """A topic, and the events that taskstream reads from it, as maps."""

    bootstrap: str
    topic: str
    shape: str
    events: list[dict[str, Any]]

    @property
    def lines(self) -> list[str]:
        """What a reader prints, sorted: kind, cpu, seq, pid, comm."""
        names = ("kind", "cpu", "seq", "pid", "comm")
        return sorted(" ".join(str(e[name]) for name in names) for e in self.events)


def _odd() -> Batch:
    """Make events of another host that a careless reader would get wrong.

    Numbers that no double holds, and names of more bytes than characters, not UTF-8, and long.
    """
    odd = [
        *(event(kind) for kind in KINDS),
        event("exec", comm="grün".encode(), argv=b"caf\xc3\xa9\0" + b"x" * 70_000 + b"\0"),
        event("exec", comm=b"caf\xe9", argv=b"\xff\0"),
        event("exec", flags=bits("args_lost")),
        event("fork", flags=bits("thread", "cgroup_unknown"), tgid=10, pid=2**32 - 1),
        event("exit", flags=bits("group_dead"), exit_code=-1),
        event("free", flags=bits("parent_unknown", "process_unknown", "pidns_unknown")),
    ]
    numbered = [
        (kind, values | {"seq": _OTHER.run_ns + 2 * number, "boot_ns": _OTHER.run_ns + number})
        for number, (kind, values) in enumerate(odd)
    ]
    return batch(*numbered, origin=_OTHER, wall_offset_ns=WALL_OFFSET_NS - _OTHER.run_ns)


def _report() -> Report:
    counts = (_PROCESSES,) * len(COUNTS)
    none = (0,) * len(COUNTS)
    cpus = (CpuReport(0, ORIGIN.run_ns + 2 * _PROCESSES, counts, none, none, 0),)
    return Report(ORIGIN, ORIGIN.run_ns + 10**10, WALL_OFFSET_NS, cpus, final=True)


@pytest.fixture(scope="session", params=SHAPES)
def published(request: pytest.FixtureRequest, kafka: KafkaCluster) -> Published:
    """Publish events and a report in each shape."""
    topic = f"interop-{request.param}"
    kafka.create_topic(topic, partitions=3)
    options = KafkaOptions(bootstrap=kafka.bootstrap, topic=topic, message=request.param)
    sink = KafkaSink(options)
    # Of many events long numbers are written short; with one CPU its number is there once.
    given = [lives(_PROCESSES), _odd(), lives(30, cpus=1, origin=_ALONE)]
    for one in given:
        sink.write(one)
    sink.report(_report())
    sink.drain(30)
    events = sum(map(len, given))
    assert sink.account.delivered == events
    found: list[dict[str, Any]] = []
    with TopicSource(kafka.bootstrap, topic) as source:

        def read() -> None:
            decoded = source.read(0.05)
            assert not decoded.rejected
            found.extend(e for part in decoded.batches for e in event_maps(part))

        wait_until(lambda: source.at_end, read)
    assert len(found) == events
    return Published(kafka.bootstrap, topic, request.param, found)
