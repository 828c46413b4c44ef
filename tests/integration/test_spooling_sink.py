"""A topic with a spool before it, on librdkafka's mock with its levers: nothing is lost, in order.

Every test ends with the law: received = delivered + rejected + dropped + spooled.
"""

import errno
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskstream.batch import Batch
from taskstream.capture.frame import Frame
from taskstream.capture.reader import CaptureFile
from taskstream.cli.watching import error_lines
from taskstream.errors import ConfigError
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.sink.spooling import SpoolingSink
from taskstream.spool.spool import Spool, SpoolBounds
from tests.capturing import ABOUT, Ticks, report
from tests.mock_cluster import MockCluster
from tests.needs import need_root
from tests.plain import events_of, map_of
from tests.synthetic import ORIGIN, lives
from tests.topic import fetch, wait_until

pytestmark = pytest.mark.kafka

TOPIC = "taskstream.events"
QUICK = {
    "linger.ms": "0",
    "reconnect.backoff.ms": "20",
    "reconnect.backoff.max.ms": "100",
    "topic.metadata.refresh.interval.ms": "200",
    "delivery.timeout.ms": "0",
    "socket.timeout.ms": "3000",
}


@pytest.fixture(params=["overflow", "always"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["event", "batch", "json"])
def message(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def narrow() -> Iterator[MockCluster]:
    """Start a cluster whose topic has one partition, so that all in it has an order."""
    with MockCluster() as cluster:
        cluster.topic_create(TOPIC, partitions=1)
        yield cluster


def open_sink(
    cluster: MockCluster,
    folder: Path,
    mode: str,
    *,
    message: str = "event",
    rate: int = 10**6,
    wait_ms: int = 50,
    total_bytes: int = 1 << 30,
    **settings: Any,
) -> SpoolingSink:
    named = {name.replace("_", "."): str(value) for name, value in settings.items()}
    topic = KafkaSink(
        KafkaOptions(
            bootstrap=cluster.bootstrap,
            topic=TOPIC,
            message=message,
            queue_wait_ms=wait_ms,
            patient=True,
            answer_ms=500,
            settings=QUICK | named,
        )
    )

    def make(on_drop: Any, on_damage: Any) -> Spool:
        bounds = SpoolBounds(total_bytes=total_bytes)
        return Spool(
            folder, ORIGIN, ABOUT, bounds, clocks=Ticks().pair, on_drop=on_drop,
            on_damage=on_damage,
        )  # fmt: skip

    return SpoolingSink(topic, make, always=mode == "always", rate=rate)


def assert_adds_up(sink: SpoolingSink, received: int) -> None:
    account = sink.account
    assert account.received == received
    fates = account.delivered + account.rejected + account.dropped + account.spooled
    assert fates == received
    assert min(account.delivered, account.rejected, account.dropped, account.spooled) >= 0


def seen(cluster: MockCluster) -> Counter[tuple[int, int]]:
    """Count the copies of each event in the topic, by cpu and seq."""
    messages = fetch(cluster.bootstrap, TOPIC)
    return Counter((e["cpu"], e["seq"]) for m in messages for e in events_of(m.value) if "seq" in e)


def told_by(cluster: MockCluster) -> list[tuple[int, set[int]]]:
    """Return the number of each report in the topic, and the events before it."""
    before: set[int] = set()
    found = []
    for message in fetch(cluster.bootstrap, TOPIC):
        map_ = map_of(message.value)
        if map_["kind"] == "report":
            found.append(((map_["interval"]["start_ns"] - ORIGIN.run_ns) // 10**9, set(before)))
        before |= {told["seq"] for told in events_of(message.value) if "seq" in told}
    return found


def numbers_of(batches: Iterable[Batch]) -> set[int]:
    return {seq for one in batches for seq in one.records["seq"].tolist()}


def numbered(count: int, *, first: int = 0) -> list[Batch]:
    """Make batches whose events all differ, of processes that live through all of them."""
    whole = lives(50 * (first + count), cpus=1)
    step = 200
    return [
        Batch(whole.origin, whole.records[at : at + step], whole.wall_offset_ns, whole.texts)
        for at in range(first * step, (first + count) * step, step)
    ]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tsc"))


def events_on_disk(folder: Path) -> int:
    found = 0
    for path in files(folder):
        with CaptureFile(path) as file:
            found += sum(item.events for item in file.items() if isinstance(item, Frame))
    return found


def go_on(sink: SpoolingSink) -> None:
    """Go on until all is acknowledged."""
    wait_until(lambda: not sink.account.in_flight and not sink.earlier.in_flight, sink.tick)


def full(_descriptor: int, _data: memoryview) -> int:
    """Write as a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def take_away(cluster: MockCluster, sink: SpoolingSink, first: Batch) -> None:
    """Take the broker away under a batch, which is in librdkafka's queue: the next are spooled."""
    cluster.set_down()
    sink.write(first)
    wait_until(lambda: sink.topic.trouble and sink.spooling, sink.tick)


def bring_back(cluster: MockCluster, sink: SpoolingSink) -> None:
    """Bring the broker back, and close the sink when all is acknowledged."""
    cluster.set_up()
    go_on(sink)
    sink.drain(5)
    sink.close()


def test_while_the_broker_answers_nothing_stays_on_the_disk(cluster, tmp_path, mode, message):
    sink = open_sink(cluster, tmp_path, mode, message=message)
    for one in numbered(10):
        sink.write(one)
    go_on(sink)
    sink.report(report(0))
    sink.drain(5)
    sink.close()
    assert_adds_up(sink, 2000)
    assert sink.account.delivered == 2000
    assert files(tmp_path) == []
    assert set(seen(cluster).values()) == {1}


def test_the_journal_has_what_is_not_acknowledged(cluster, tmp_path):
    cluster.set_rtt(300)
    sink = open_sink(cluster, tmp_path, "always")
    (one,) = numbered(1)
    sink.write(one)
    assert events_on_disk(tmp_path) == 200
    assert not sink.account.delivered
    cluster.set_rtt(0)
    go_on(sink)
    sink.drain(5)
    sink.close()
    assert files(tmp_path) == []


def test_what_comes_while_the_broker_is_away_is_published_in_order_when_it_is_back(
    cluster, tmp_path, mode, message
):
    sink = open_sink(cluster, tmp_path, mode, message=message)
    batches = numbered(40)
    for one in batches[:5]:
        sink.write(one)
    go_on(sink)
    cluster.set_down()
    wait_until(lambda: sink.topic.trouble, sink.tick)
    for one in batches[5:30]:
        sink.write(one)
    wait_until(lambda: sink.spooling, sink.tick)
    for one in batches[30:]:
        sink.write(one)
    assert sink.account.dropped == 0
    assert events_on_disk(tmp_path) >= 10 * 200
    cluster.set_up()
    go_on(sink)
    wait_until(lambda: not sink.spooling, sink.tick)
    sink.drain(5)
    sink.close()
    assert_adds_up(sink, 8000)
    assert sink.account.delivered == 8000
    assert files(tmp_path) == []
    counts = seen(cluster)
    assert len(counts) == 8000
    assert set(counts.values()) == {1}
    ends: dict[tuple[int, int], int] = {}
    for one in fetch(cluster.bootstrap, TOPIC):
        for told in sorted(events_of(one.value), key=lambda e: e["boot_ns"]):
            key = one.partition, told["tgid"]
            assert ends.get(key, 0) < told["boot_ns"]
            ends[key] = told["boot_ns"]


def test_a_full_queue_goes_over_to_the_spool(cluster, tmp_path, mode):
    """The broker is there, but too slow: without an error there is only the wait."""
    cluster.set_rtt(400)
    sink = open_sink(cluster, tmp_path, mode, queue_buffering_max_kbytes=64, max_in_flight=1)
    for one in numbered(20):
        sink.write(one)
        time.sleep(0.01)
    wait_until(lambda: sink.spooling, sink.tick)
    cluster.set_rtt(0)
    go_on(sink)
    sink.drain(5)
    sink.close()
    assert_adds_up(sink, 4000)
    assert sink.account.delivered == 4000
    counts = seen(cluster)
    assert len(counts) == 4000
    assert set(counts.values()) == {1}


def test_what_is_left_at_the_end_is_published_in_order_by_the_next_run(
    narrow, tmp_path, mode, message
):
    cluster = narrow
    first = open_sink(cluster, tmp_path, mode, message=message)
    batches = numbered(20)
    first.write(batches[0])
    go_on(first)
    cluster.set_down()
    for one in batches[1:10]:
        first.write(one)
    for number in range(3):
        first.report(report(number))  # to librdkafka's queue
    wait_until(lambda: first.topic.trouble and first.spooling, first.tick)
    first.report(report(3))  # to the spool
    for one in batches[10:]:
        first.write(one)
    first.report(report(4))
    first.drain(0.2)
    first.close()
    assert_adds_up(first, 4000)
    assert first.account.spooled == 3800
    assert events_on_disk(tmp_path) >= 3800

    cluster.set_up()
    second = open_sink(cluster, tmp_path, mode, message=message)
    assert second.spooling
    assert second.earlier.received >= 3800
    (more,) = numbered(1, first=20)
    second.write(more)
    go_on(second)
    second.drain(5)
    second.close()
    assert_adds_up(second, 200)
    assert second.account.delivered == 200
    assert second.earlier.delivered == second.earlier.received
    assert files(tmp_path) == []
    early, late = numbers_of(batches[:10]), numbers_of(batches)
    assert told_by(cluster) == [(0, early), (1, early), (2, early), (3, early), (4, late)]
    counts = seen(cluster)
    assert len(counts) == 4200
    if mode == "overflow":
        assert set(counts.values()) == {1}


def test_a_report_that_is_lost_on_its_way_is_in_the_spool_still(narrow, tmp_path, mode):
    """It was read from there, and its events were acknowledged by then."""
    sink = open_sink(narrow, tmp_path, mode)
    batches = numbered(3)
    take_away(narrow, sink, batches[0])
    sink.write(batches[1])
    sink.report(report(0))
    narrow.set_up()
    wait_until(lambda: sink.account.delivered == 400, sink.tick)
    narrow.set_down()
    sink.drain(0)
    sink.close()
    narrow.set_up()
    second = open_sink(narrow, tmp_path, mode)
    go_on(second)
    second.drain(5)
    second.close()
    assert {number for number, _ in told_by(narrow)} == {0}
    assert files(tmp_path) == []


def test_reports_wait_behind_their_events_for_a_queue_that_is_full(narrow, tmp_path, mode):
    narrow.set_rtt(400)
    sink = open_sink(narrow, tmp_path, mode, queue_buffering_max_kbytes=64, max_in_flight=1)
    batches = numbered(20)
    for number, one in enumerate(batches):
        sink.write(one)
        sink.report(report(number))
        time.sleep(0.01)
    wait_until(lambda: sink.spooling, sink.tick)
    narrow.set_rtt(0)
    go_on(sink)
    sink.drain(5)
    sink.close()
    assert_adds_up(sink, 4000)
    assert files(tmp_path) == []
    told = told_by(narrow)
    assert [number for number, _ in told] == list(range(20))
    for number, before in told:
        assert numbers_of(batches[: number + 1]) <= before
    assert set(seen(narrow).values()) == {1}


def test_a_killed_agent_leaves_in_the_journal_all_that_was_not_acknowledged(narrow, tmp_path):
    """As after SIGKILL: nothing is drained, nothing is closed."""
    cluster = narrow
    first = open_sink(cluster, tmp_path, "always")
    batches = numbered(10)
    first.write(batches[0])
    go_on(first)
    cluster.set_down()
    for one in batches[1:]:
        first.write(one)
    first.report(report(0))
    os.close(first.spool._lock)
    cluster.set_up()
    second = open_sink(cluster, tmp_path, "always")
    go_on(second)
    second.drain(5)
    second.close()
    assert told_by(cluster) == [(0, numbers_of(batches))]
    assert len(seen(cluster)) == 2000
    assert files(tmp_path) == []


def test_a_start_without_a_broker_is_a_start(cluster, tmp_path, mode):
    cluster.set_down()
    sink = open_sink(cluster, tmp_path, mode)
    assert "does not answer" in sink.topic.trouble
    for one in numbered(3):
        sink.write(one)
    wait_until(lambda: sink.spooling, sink.tick)
    bring_back(cluster, sink)
    assert_adds_up(sink, 600)
    assert sink.account.delivered == 600


def test_the_oldest_events_are_dropped_when_the_spool_is_full_and_told_by_cpu(
    cluster, tmp_path, mode
):
    sink = open_sink(cluster, tmp_path, mode, total_bytes=200_000)
    batches = numbered(250)
    take_away(cluster, sink, batches[0])
    for one in batches[1:]:
        sink.write(one)
    assert sink.account.dropped > 0
    assert sink.spool.size_bytes <= 200_000 + (1 << 16)
    assert sum(sink.dropped(0)) == sink.account.dropped == sink.given_up
    assert 0.5 < sink.spool.fill <= 1
    bring_back(cluster, sink)
    assert_adds_up(sink, 50_000)
    counts = seen(cluster)
    assert len(counts) == sink.account.delivered
    gone = sorted({(0, int(n)) for b in batches for n in b.records["seq"]} - counts.keys())
    assert len(gone) == sink.account.dropped
    assert gone[-1][1] < max(seq for _, seq in counts)  # not the youngest


def test_what_is_spooled_at_the_end_is_on_the_disk_also_where_the_spool_was_full(
    cluster, tmp_path, mode
):
    """Of what librdkafka had in its queue, the journal had given up segments by then."""
    sink = open_sink(cluster, tmp_path, mode, total_bytes=200_000, wait_ms=60_000)
    cluster.set_down()
    for one in numbered(400):
        sink.write(one)
    sink.drain(0)
    sink.close()
    assert_adds_up(sink, 80_000)
    assert events_on_disk(tmp_path) == sink.account.spooled > 0
    assert sink.account.dropped == sum(sink.dropped(0)) == sink.given_up


def test_a_full_disk_costs_counted_events_and_never_the_run(cluster, tmp_path, mode, monkeypatch):
    sink = open_sink(cluster, tmp_path, mode)
    batches = numbered(30)
    take_away(cluster, sink, batches[0])
    real = os.write

    for one in batches[1:10]:
        sink.write(one)
    monkeypatch.setattr("taskstream.capture.writer.os.write", full)
    for one in batches[10:20]:
        sink.write(one)
    assert "No space left" in sink.spool.trouble
    assert sink.account.dropped == sink.given_up == 2000
    monkeypatch.setattr("taskstream.capture.writer.os.write", real)
    for one in batches[20:]:
        sink.write(one)
    assert sink.spool.trouble == ""
    bring_back(cluster, sink)
    assert_adds_up(sink, 6000)
    assert sink.account.delivered == 4000
    assert len(seen(cluster)) == 4000


def test_a_journal_without_room_does_not_keep_events_from_the_broker(
    cluster, tmp_path, monkeypatch
):
    sink = open_sink(cluster, tmp_path, "always")

    monkeypatch.setattr("taskstream.capture.writer.os.write", full)
    for one in numbered(5):
        sink.write(one)
    go_on(sink)
    monkeypatch.undo()
    sink.drain(5)
    sink.close()
    assert_adds_up(sink, 1000)
    assert sink.account.delivered == 1000


def test_messages_of_rates_that_no_broker_takes_are_told_as_messages_of_their_topic(
    cluster, tmp_path
):
    sink = open_sink(cluster, tmp_path, "overflow")
    cluster.set_down()
    for _ in range(3):
        sink.topic.send("rates", "taskstream.rates", {"kind": "rates"}, b"key", 10**12)
    sink.drain(0.1)
    sink.close()
    assert list(error_lines(sink.topic)) == [
        "3 messages of topic taskstream.rates (rates): Local: Purged in queue"
    ]


def test_the_spool_is_emptied_no_faster_than_the_rate(cluster, tmp_path):
    sink = open_sink(cluster, tmp_path, "overflow", rate=2000)
    batches = numbered(20)
    take_away(cluster, sink, batches[0])
    for one in batches[1:]:
        sink.write(one)
    cluster.set_up()
    wait_until(lambda: sink.account.delivered >= 200, sink.tick)
    before, start = sink.account.delivered, time.monotonic()
    assert before <= 1000
    wait_until(lambda: sink.account.delivered >= before + 2000, sink.tick)
    assert 0.8 < time.monotonic() - start < 10
    go_on(sink)
    sink.drain(5)
    sink.close()


def test_reports_of_an_outage_are_in_the_topic_behind_their_events(narrow, tmp_path, mode, message):
    sink = open_sink(narrow, tmp_path, mode, message=message)
    batches = numbered(6)
    take_away(narrow, sink, batches[0])
    for number, one in enumerate(batches[1:]):
        sink.write(one)
        sink.report(report(number))
    bring_back(narrow, sink)
    assert told_by(narrow) == [(number, numbers_of(batches[: number + 2])) for number in range(5)]


# --- file systems that really are full, or read-only ---


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a file system of memory."""
    need_root("a file system is mounted")
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_file_system_that_is_full_keeps_what_fits_and_the_rest_is_counted(
    cluster, tmp_path, mode
):
    with mounted(tmp_path / "small", "size=256k"):
        sink = open_sink(cluster, tmp_path / "small" / "spool", mode)
        batches = numbered(300)
        take_away(cluster, sink, batches[0])
        for one in batches[1:]:
            sink.write(one)
        assert "No space left" in sink.spool.trouble
        dropped = sink.account.dropped
        assert 0 < dropped < 60_000
        assert sum(sink.dropped(0)) == dropped
        bring_back(cluster, sink)
        assert_adds_up(sink, 60_000)
        assert sink.account.delivered == 60_000 - dropped
        counts = seen(cluster)
        assert len(counts) == sink.account.delivered
        assert set(counts.values()) == {1}


def test_a_file_system_that_turns_read_only_costs_counted_events_until_it_is_writable(
    cluster, tmp_path
):
    folder = tmp_path / "spool"
    sink = open_sink(cluster, folder, "overflow")
    batches = numbered(20)
    take_away(cluster, sink, batches[0])
    with mounted(folder, "ro,size=64k"):  # over it: a new segment finds this
        for one in batches[1:10]:
            sink.write(one)
        assert "Read-only file system" in sink.spool.trouble
        assert sink.account.dropped == sum(sink.dropped(0)) == 1800
    for one in batches[10:]:
        sink.write(one)
    assert sink.spool.trouble == ""
    bring_back(cluster, sink)
    assert_adds_up(sink, 4000)
    assert sink.account.delivered == len(seen(cluster)) == 2200


def test_a_spool_on_a_read_only_file_system_is_refused_at_the_start(cluster, tmp_path):
    with (
        mounted(tmp_path / "spool", "ro,size=64k,mode=700"),
        pytest.raises(ConfigError, match="Read-only file system"),
    ):
        open_sink(cluster, tmp_path / "spool", "overflow")
