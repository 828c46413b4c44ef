"""The agent's publisher against the real Kafka and its faults: the accounting is exact in each.

What was given is delivered, spooled or counted as dropped; every event of the topic is one that was
given, as it was; a copy is only of what was not acknowledged when it was published again.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskstream.batch import Batch, Origin
from taskstream.record import KINDS
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.sink.spooling import SpoolingSink
from taskstream.spool.spool import Spool, SpoolBounds
from tests.capturing import ABOUT, Ticks
from tests.kafka.cluster import KafkaCluster
from tests.plain import events_of
from tests.synthetic import ORIGIN, lives
from tests.topic import fetch, wait_until
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
        self.given = self.most_in_doubt = 0
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
            self.give(due - self.given)
            self._look()
            time.sleep(0.005)

    def rest(self) -> None:
        """Give nothing until all that was given is acknowledged."""
        wait_until(lambda: not self.sink.account.in_flight, self._look)

    def _look(self) -> None:
        self.sink.tick()
        self.most_in_doubt = max(self.most_in_doubt, self.in_doubt)
        self.sink.settle(0.02)

    @property
    def in_doubt(self) -> int:
        """Events that the broker may have, or not: published, and not acknowledged."""
        return self.sink.account.in_flight - self.sink.spool.unread

    def give(self, events: int) -> None:
        """Give at least so many events at once."""
        end = self.given + events
        while self.given < end:
            self._give()

    def _give(self) -> None:
        whole = self._events
        assert self.given + PORTION <= len(whole), "the stream is too short for this test"
        records = whole.records[self.given : self.given + PORTION]
        self.sink.write(Batch(ORIGIN, records, whole.wall_offset_ns, whole.texts))
        self.given += PORTION

    def found(self) -> Counter[int]:
        """Return how often each event is in the topic, by its place among those given.

        Every one is asserted to be one that was given, and to be told as it was: its copies, too.
        """
        records = self._events.records[: self.given]
        first = int(records["seq"][0])
        columns = [records[name].tolist() for name in ("kind", "boot_ns", "start_ns", "pid")]
        given = list(zip(*columns, strict=True))
        copies: Counter[int] = Counter()
        texts: dict[int, int] = {}
        for message in fetch(self._cluster.bootstrap, self.topic):
            for event in events_of(message.value):
                origin = Origin(event["host"], event["boot_id"], event["run_ns"])
                assert (origin, event["cpu"]) == (ORIGIN, 0)
                place = event["seq"] - first
                kind = KINDS[event["kind"]]
                assert given[place] == (kind, event["boot_ns"], event["start_ns"], event["pid"])
                said = hash(str(sorted(event.items())))
                assert texts.setdefault(place, said) == said, "a copy says something else"
                copies[place] += 1
        return copies

    def finish(self, seconds: float = 60) -> Counter[int]:
        """Drain; assert that the books are right; return the copies of each event."""
        self.sink.drain(seconds)
        self.sink.close()
        account = self.sink.account
        assert account.received == self.given
        assert account.received == (
            account.delivered + account.rejected + account.dropped + account.spooled
        )
        return self.found()

    def assert_all_there(self, seconds: float = 60) -> Counter[int]:
        """Finish; assert that every event was delivered, and none again without a reason."""
        copies = self.finish(seconds)
        account = self.sink.account
        assert (account.rejected, account.dropped, account.spooled) == (0, 0, 0)
        assert len(copies) == self.given == account.delivered
        self.assert_explained(copies)
        return copies

    def assert_explained(self, copies: Counter[int]) -> None:
        """Assert that only a producer made anew published again, what was not acknowledged."""
        again = copies.total() - len(copies)
        assert again <= self.sink.topic.rebuilds * self.most_in_doubt


@pytest.fixture(params=["overflow", "always"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


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
    stream.assert_all_there()


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
    in_doubt = stream.in_doubt
    broker.kill()
    stream.run(1.5)
    sink = stream.sink
    sink.drain(0.3)
    sink.close()
    assert sink.account.spooled > 0
    assert sink.account.dropped == 0
    broker.restart()
    broker.wait()
    before = stream.found()
    assert len(before) == before.total()
    assert sink.account.delivered <= len(before) <= sink.account.delivered + in_doubt
    second = Stream(broker, topic, tmp_path, mode)
    earlier = second.sink.earlier
    partly = earlier.received - sink.account.spooled  # acknowledged, of a segment that was not
    assert partly == 0 if mode == "overflow" else 0 <= partly <= sink.account.delivered
    second.sink.drain(60)
    second.sink.close()
    assert earlier.delivered == earlier.received
    copies = stream.found()
    assert len(copies) == stream.given
    assert copies.total() == len(before) + earlier.delivered
    assert max(copies.values()) <= 2
    assert not list(tmp_path.glob("*.tsc"))


def test_one_of_three_brokers_lost_and_its_leaders_moved_costs_no_event(
    three_brokers, topic, tmp_path
):
    three_brokers.create_topic(topic, 6, 3, min_insync_replicas="2")
    stream = Stream(three_brokers, topic, tmp_path, "overflow")
    stream.run(1)
    before = three_brokers.leaders(topic)
    assert 2 in before.values()
    three_brokers.kill(2)
    stream.run(5, lambda: set(three_brokers.leaders(topic).values()) == {1, 3})
    three_brokers.restart(2)
    stream.run(2)
    copies = stream.assert_all_there()
    assert copies.total() == len(copies), "the idempotent producer made copies"


@pytest.mark.parametrize("at_rest", [True, False])
def test_a_topic_deleted_while_running_is_made_again_or_counted(broker, topic, tmp_path, at_rest):
    """Kafka makes the topic anew here; what it had acknowledged before is gone with the old one."""
    broker.create_topic(topic)
    stream = Stream(broker, topic, tmp_path, "overflow")
    account = stream.sink.account
    stream.run(0.5)
    if at_rest:
        stream.rest()
    else:
        stream.give(10_000)
    given, acknowledged = stream.given, account.delivered
    old = broker.id_of(topic)
    broker.delete_topic(topic)
    wait_until(lambda: broker.id_of(topic) != old)
    stream.run(2)
    copies = stream.finish()
    stream.assert_explained(copies)
    assert broker.id_of(topic) not in (old, None)
    gone = set(range(stream.given)) - copies.keys()
    counted = account.rejected + account.dropped + account.spooled
    assert acknowledged <= len(gone) - counted <= given, "of the old topic"
    assert sum(place >= given for place in gone) <= counted, "called delivered, and not there"
    assert not at_rest or acknowledged == given
