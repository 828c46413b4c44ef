"""The agent's publisher against the real Kafka and its faults: the accounting is exact in each.

What was given is delivered, spooled or counted as dropped; every event of the topic was given;
a copy has its original's `(host, boot_id, cpu, seq)`.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskstream.batch import Batch
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.sink.spooling import SpoolingSink
from taskstream.spool.spool import Spool, SpoolBounds
from tests.capturing import ABOUT, Ticks
from tests.kafka.cluster import KafkaCluster
from tests.plain import events_of
from tests.synthetic import ORIGIN, lives
from tests.topic import fetch
from tests.wire import Wire

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PER_SECOND = 5000
PORTION = 250
SETTINGS = {
    "delivery.timeout.ms": "0",
    "reconnect.backoff.max.ms": "500",
    "socket.timeout.ms": "4000",
    "retry.backoff.max.ms": "500",
}


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaCluster]:
    """Start a broker of this module's own: the session's is not to be killed."""
    with KafkaCluster() as cluster:
        yield cluster


class Stream:
    """A spooling sink that is given events at a steady pace, as the loop gives them."""

    def __init__(
        self, cluster: KafkaCluster, topic: str, folder: Path, mode: str, seconds: int = 85
    ) -> None:
        self.topic = topic
        self.given = 0
        self._cluster = cluster
        kafka = KafkaSink(
            KafkaOptions(
                bootstrap=cluster.bootstrap,
                topic=topic,
                message="batch",
                shard_count=4,
                queue_wait_ms=500,
                patient=True,
                settings=SETTINGS,
            )
        )

        def make(on_drop: Any, on_damage: Any) -> Spool:
            return Spool(
                folder, ORIGIN, ABOUT, SpoolBounds(), clocks=Ticks().pair, on_drop=on_drop,
                on_damage=on_damage,
            )  # fmt: skip

        self.sink = SpoolingSink(kafka, make, always=mode == "always", rate=100_000)
        self._events = lives(PER_SECOND * (seconds + 15) // 4, cpus=1)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: True) -> None:
        """Give events for some seconds, and go on until a condition holds."""
        begin = time.monotonic()
        first = self.given
        while time.monotonic() < begin + seconds or not until():
            assert time.monotonic() < begin + seconds + 60, "it did not come true in time"
            due = first + int((time.monotonic() - begin) * PER_SECOND)
            while self.given < due:
                self._give()
            self.sink.tick()
            self.sink.settle(0.02)
            time.sleep(0.005)

    def _give(self) -> None:
        whole = self._events
        assert self.given + PORTION <= len(whole), "the stream is too short for this test"
        records = whole.records[self.given : self.given + PORTION]
        self.sink.write(Batch(ORIGIN, records, whole.wall_offset_ns, whole.texts))
        self.given += PORTION

    def finish(self, seconds: float = 60) -> Counter[int]:
        """Drain; assert that the books are right; return the copies of each event's number."""
        self.sink.drain(seconds)
        self.sink.close()
        account = self.sink.account
        assert account.received == self.given
        assert account.received == (
            account.delivered + account.rejected + account.dropped + account.spooled
        )
        messages = fetch(self._cluster.bootstrap, self.topic)
        copies = Counter(event["seq"] for m in messages for event in events_of(m.value))
        given = set(self._events.records["seq"][: self.given].tolist())
        assert copies.keys() <= given
        missing = len(given) - len(copies)
        assert missing <= account.rejected + account.dropped + account.spooled
        return copies

    def assert_all_there(self, seconds: float = 60) -> Counter[int]:
        """Finish, and assert that every event was delivered."""
        copies = self.finish(seconds)
        account = self.sink.account
        assert (account.rejected, account.dropped, account.spooled) == (0, 0, 0)
        assert len(copies) == self.given == account.delivered
        return copies


@pytest.fixture(params=["overflow", "always"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def topic() -> str:
    return f"faults-{uuid.uuid4().hex}"


@pytest.mark.parametrize(
    ("mode", "times"),
    [("overflow", 3), ("always", 2), pytest.param("overflow", 10, marks=pytest.mark.long)],
)
def test_a_broker_killed_and_restarted_again_and_again_costs_no_event(
    broker, topic, tmp_path, mode, times
):
    broker.create_topic(topic)
    stream = Stream(broker, topic, tmp_path, mode)
    for _ in range(times):
        stream.run(0.5)
        broker.kill()
        stream.run(0.7)
        broker.restart()
        acknowledged = stream.sink.account.delivered
        stream.run(0, lambda before=acknowledged: stream.sink.account.delivered > before)
    copies = stream.assert_all_there()
    print(f"{stream.given} events, {copies.total() - len(copies)} copies")


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.long)])
def test_a_broker_frozen_for_longer_than_the_queue_wait_costs_no_event(
    broker, topic, tmp_path, mode, seconds
):
    broker.create_topic(topic)
    stream = Stream(broker, topic, tmp_path, mode, seconds + 20)
    stream.run(1)
    broker.freeze()
    try:
        stream.run(seconds)  # past socket.timeout.ms: requests are given up and sent again
        assert stream.sink.spooling
        assert stream.sink.spool.unread > 20_000
    finally:
        broker.thaw()
    copies = stream.assert_all_there()
    assert copies.total() == len(copies), "the idempotent producer made copies"


@pytest.fixture(scope="module")
def laid() -> Iterator[Wire]:
    """A network namespace, and a wire to it."""
    with Wire() as wire:
        yield wire


@pytest.fixture(scope="module")
def remote(laid: Wire) -> Iterator[KafkaCluster]:
    """Start a broker at the other end of the wire."""
    with KafkaCluster(address=laid.there, within=laid.within) as cluster:
        yield cluster


@pytest.fixture
def wire(laid: Wire) -> Iterator[Wire]:
    """The wire; whole again when the test is over."""
    yield laid
    laid.mend()
    laid.speed_up()


def test_a_network_that_is_cut_for_longer_than_the_queue_wait_costs_no_event(
    wire, remote, topic, tmp_path, mode
):
    """Nothing refuses or resets: what was sent never arrives, as behind a pulled plug."""
    remote.create_topic(topic)
    stream = Stream(remote, topic, tmp_path, mode)
    stream.run(1)
    wire.cut()
    stream.run(6)  # past socket.timeout.ms
    assert stream.sink.spooling
    assert stream.sink.spool.unread > 20_000
    wire.mend()
    copies = stream.assert_all_there()
    assert copies.total() == len(copies), "the idempotent producer made copies"


def test_a_network_slower_than_the_events_costs_no_event(wire, remote, topic, tmp_path, mode):
    remote.create_topic(topic)
    stream = Stream(remote, topic, tmp_path, mode)
    stream.run(1)
    wire.slow_down("200kbit")
    before = stream.sink.account.delivered
    stream.run(5)
    behind = stream.given - stream.sink.account.delivered
    assert behind > 12_000, "the network was not slow"
    assert stream.sink.account.delivered >= before
    wire.speed_up()
    copies = stream.assert_all_there()
    assert copies.total() == len(copies), "the idempotent producer made copies"


def test_what_a_lost_broker_leaves_in_the_spool_the_next_run_publishes(
    broker, topic, tmp_path, mode
):
    broker.create_topic(topic)
    stream = Stream(broker, topic, tmp_path, mode)
    stream.run(0.5)
    broker.kill()
    stream.run(1.5)
    sink = stream.sink
    sink.drain(0.3)
    sink.close()
    assert sink.account.spooled > 0
    assert sink.account.dropped == 0
    broker.restart()
    broker.wait()
    second = Stream(broker, topic, tmp_path, mode)
    assert second.sink.earlier.received >= sink.account.spooled
    second.sink.drain(60)
    second.sink.close()
    assert second.sink.earlier.delivered == second.sink.earlier.received
    messages = fetch(broker.bootstrap, topic)
    copies = Counter(event["seq"] for m in messages for event in events_of(m.value))
    assert len(copies) == stream.given
    assert not list(tmp_path.glob("*.tsc"))


def test_one_of_three_brokers_lost_and_its_leaders_moved_costs_no_event(
    three_brokers, topic, tmp_path
):
    three_brokers.create_topic(topic, 6, 3, min_insync_replicas="2")
    stream = Stream(three_brokers, topic, tmp_path, "overflow")
    stream.run(1)
    three_brokers.kill(2)
    stream.run(5)
    three_brokers.restart(2)
    stream.run(2)
    copies = stream.assert_all_there()
    assert copies.total() == len(copies), "the idempotent producer made copies"


def test_a_topic_deleted_while_running_is_made_again_or_counted(broker, topic, tmp_path):
    """Kafka makes the topic anew here; what it had acknowledged before is gone with the old one."""
    broker.create_topic(topic)
    stream = Stream(broker, topic, tmp_path, "overflow")
    stream.run(0.5)
    broker.delete_topic(topic)
    stream.run(2)
    stream.sink.drain(60)
    stream.sink.close()
    account = stream.sink.account
    assert account.received == stream.given
    assert account.in_flight == 0
    assert account.received == (
        account.delivered + account.rejected + account.dropped + account.spooled
    )
