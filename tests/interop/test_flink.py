"""Apache Flink draws system.process_thread from a topic of shape json, as taskstream does.

The SQL of ``flink/rates.sql`` runs on a Flink in one JVM, from Maven Central's jars (some 140 MB:
`make test-all` fetches them). ``docs/flink.md`` tells about it.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from taskstream.batch import Batch, Origin
from taskstream.interval import Interval
from taskstream.rates import WindowCounts, charts
from taskstream.record import COUNTS, KINDS
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from tests.kafka.cluster import KafkaCluster
from tests.needs import go_without
from tests.synthetic import WALL_OFFSET_NS, bits, lives

pytestmark = [pytest.mark.kafka, pytest.mark.large]

HERE = Path(__file__).parent / "flink"
JARS = Path(__file__).parents[2] / "build/flink"
WINDOW_NS = 5_000_000_000
# Flink's own serializers look into java.base.
OPENED = ["lang", "lang.invoke", "math", "net", "io", "nio", "text", "time", "util",
          "util.concurrent", "util.concurrent.atomic", "util.concurrent.locks"]  # fmt: skip
JAVA = [
    "java", "-Xmx768m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in OPENED),
]  # fmt: skip

Row = tuple[str, str, int, float, float]


@pytest.fixture(scope="module", autouse=True)
def flink() -> None:
    if shutil.which("java") is None or not any(JARS.glob("flink-connector-kafka-*.jar")):
        go_without("no Flink: make build/flink/complete")


def busy(origin: Origin, seed: int, wall_offset_ns: int) -> Batch:
    """Make 4,000 events over 40 seconds of one host, forks of processes and threads in each."""
    rng = np.random.default_rng(seed)
    whole = lives(1000, origin=origin)
    records = whole.records
    records["boot_ns"] = origin.run_ns + np.sort(rng.integers(0, 40 * 10**9, len(records)))
    rng.shuffle(records["kind"])
    records["flags"] = 0
    threads = (records["kind"] == KINDS["fork"]) & (rng.random(len(records)) < 0.3)
    records["flags"][threads] = bits("thread")
    records["flags"][records["kind"] == KINDS["exec"]] = bits("args_lost")
    return Batch(origin, records, wall_offset_ns)


def ours(given: Batch) -> list[Row]:
    """Draw the chart from the events, in each interval that has a fork."""
    counts = WindowCounts(WINDOW_NS)
    counts.add(given.records)
    rows = []
    for window in counts.windows():
        start_ns = window * WINDOW_NS
        end_ns = start_ns + WINDOW_NS
        counted = tuple(counts.take(window).tolist())
        interval = Interval(
            start_ns=start_ns,
            end_ns=end_ns,
            wall_ns=end_ns + given.wall_offset_ns,
            counts=counted,
            received=(0,) * len(COUNTS),
        )
        drawn = charts(interval)["system.process_thread"]
        if any(drawn.values()):
            host, boot_id = given.origin.host, given.origin.boot_id
            rows.append((host, boot_id, start_ns // 10**9, drawn["process"], drawn["thread"]))
    return rows


def test_flink_sql_draws_system_process_thread_of_each_host_as_taskstream_does(kafka: KafkaCluster):
    topic = "flink-json"
    kafka.create_topic(topic, partitions=3)
    first = busy(Origin("web-1", "boot-a", 3_000_000_000_007), 1, WALL_OFFSET_NS)
    # Booted much later, and its clock is ahead: intervals of its own.
    second = busy(Origin("web-2", "boot-b", 70_001_234_567), 2, WALL_OFFSET_NS + 2_950_500_000_000)
    sink = KafkaSink(KafkaOptions(bootstrap=kafka.bootstrap, topic=topic, message="json"))
    again = first.part(slice(500, 1500))
    for position in range(0, 4000, 400):  # the hosts take turns
        sink.write(first.part(slice(position, position + 400)))
        sink.write(second.part(slice(position, position + 400)))
    sink.drain(30)
    copies = KafkaSink(KafkaOptions(bootstrap=kafka.bootstrap, topic=topic, message="json"))
    assert sink.account.delivered == 8000

    words = [HERE / "RunSql.java", HERE / "rates.sql", kafka.bootstrap, topic, "latest-offset"]
    expected = sorted(ours(first) + ours(second))
    assert len({row[0] for row in expected}) == 2
    assert len(expected) > 12
    assert run(words) == expected

    copies.write(again)  # and once more with a thousand events that come twice
    copies.drain(30)
    assert copies.account.delivered == 1000
    assert run(words) == expected


def run(words: list[str | Path]) -> list[Row]:
    command = [*JAVA, "-cp", f"{JARS}/*", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=160)
    assert not done.returncode, done.stderr[-4000:]
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return sorted((h, b, int(start), float(p), float(t)) for h, b, start, p, t in rows)
