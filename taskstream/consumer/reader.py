"""The partitions of one or more topics, read alone or as one of a group of consumers.

Rim: touches a broker through confluent-kafka. It knows nothing of what the messages mean.
"""

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress, count, pairwise
from operator import ne, or_
from typing import Any, Self

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from taskstream.consumer.connection import Connection
from taskstream.consumer.place import Place, Stretch
from taskstream.consumer.reached import Reached
from taskstream.errors import BrokerError
from taskstream.kafka_client import make_admin
from taskstream.turn import FIRST_MESSAGES

__all__ = ["Place", "Reader", "Stretch"]

_FOR_EVER = 1 << 63

COMMITTED_S = 60
"""How long to wait for committed offsets, by default."""


Told = Callable[[Sequence[Place]], None]


class Reader:
    """Reads partitions.

    Args:
        bootstrap: Broker addresses.
        topics: Which topics.
        group: Share the partitions with the other members of this group (cooperatively: what
            moves is taken from one and given to another, the rest goes on); None to read all.
        from_end: Where nothing was committed, begin with what comes from now on.
        beside: A topic of ``topics`` that no member asks for: whoever has a partition of another
            has the one with the same number of this, too. It is read from its beginning,
            ``from_end`` or not.
        to_end: Read no further than the topics' ends at this moment; of ``beside``, see `limit`.
        on_gained: Told of partitions before their first message comes.
        on_losing: Told of partitions while they are this member's still, to commit.
        on_lost: Told of partitions that are another's already: nothing of them may be committed.
        answer_ms: How long the broker may take to answer at the start.
        committed_s: How long to wait for committed offsets: longer than any transaction of
            another member may be open.
        settings: librdkafka settings of the user.
        now_ms: The moment, Unix milliseconds, as everyone reckons it who is told of it.

    Attributes:
        counts: How many partitions each topic has.
        ends: Of the partitions that it has, the offset behind what was read.
        from_start: Nothing of the partitions that it ever had was read before, by this group.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        BrokerError: no broker answers, or a topic does not exist or may not be read.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Sequence[str],
        *,
        group: str | None = None,
        from_end: bool = False,
        to_end: bool = False,
        beside: str | None = None,
        on_gained: Told = lambda _places: None,
        on_losing: Told = lambda _places: None,
        on_lost: Told = lambda _places: None,
        answer_ms: int = 5_000,
        committed_s: float = COMMITTED_S,
        settings: Mapping[str, str] | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._committed_s = committed_s
        self._bootstrap, self._group, self._answer_s = bootstrap, group, answer_ms / 1000
        self._on_gained, self._on_losing, self._on_lost = on_gained, on_losing, on_lost
        self._from_end, self._beside = from_end, beside
        self._member: str | None = None
        self._failure: BaseException | None = None
        self.ends: dict[Place, int] = {}
        self._at_end: set[Place] = set()
        self._places: set[Place] = set()
        self._end_of: dict[tuple[str, int], int] = {}
        self._moved: set[Place] = set()
        self._passed: set[Place] = set()
        self._expected: dict[Place, int] = {}
        self.from_start = not from_end
        config = {
            "group.id": group or "taskstream-rates",
            "auto.offset.reset": "latest" if from_end else "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "isolation.level": "read_committed",
        }
        self._connection = Connection(bootstrap, config, settings)
        self._consumer = self._connection.consumer
        try:
            self._reached = Reached(make_admin(bootstrap, settings), now_ms)
            self.counts = {
                topic: len(self._connection.partitions(topic, self._answer_s)) for topic in topics
            }
            places = [Place(t, p) for t, count in self.counts.items() for p in range(count)]
            if to_end:
                limited = [place for place in places if place.topic != beside]
                self._limit(self._connection.present_ends(limited, self._answer_s))
            if group is None:
                start = OFFSET_END if from_end else OFFSET_BEGINNING
                self._consumer.assign([TopicPartition(*place, start) for place in places])
                self._gain(places)
            else:
                self._consumer.subscribe(
                    [topic for topic in topics if topic != beside],
                    on_assign=lambda _, given: self._called(lambda: self._assigned(given)),
                    on_revoke=lambda _, taken: self._called(
                        lambda: self._revoked(taken, self._on_losing)
                    ),
                    on_lost=lambda _, taken: self._called(
                        lambda: self._revoked(taken, self._on_lost)
                    ),
                )
        except BaseException:
            self._consumer.close()
            raise

    @property
    def trouble(self) -> str:
        """Why nothing comes at present; empty while all is well."""
        return self._connection.trouble

    # --- whose partitions ---

    def _called(self, what: Callable[[], None]) -> None:
        """Do what librdkafka called for; `read` raises what goes wrong.

        A consumer that met an exception in the midst of a rebalance may not close any more.
        """
        try:
            what()
        except BaseException as error:
            self._failure = self._failure or error

    def _assigned(self, given: Sequence[TopicPartition]) -> None:
        self._begin(self._committed(self._pairs(given)))

    def _pairs(self, places: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Return partitions with those beside them."""
        if self._beside is None:
            return list(places)
        there = self.counts[self._beside]
        beside = [TopicPartition(self._beside, p.partition) for p in places if p.partition < there]
        return [*places, *beside]

    def _committed(self, given: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Return where to begin.

        The broker does not say while a transaction of the last owner is open; so what that owner
        left behind is there when `on_gained` looks for it.
        """
        if not given:
            return []
        try:
            stored = self._consumer.committed(list(given), timeout=self._committed_s)
        except KafkaException as error:
            raise self._untold("", error.args[0]) from None
        for one in stored:
            if one.error is not None:
                raise self._untold(f" of {one.topic} [{one.partition}]", one.error)
        return stored

    def _untold(self, of: str, error: KafkaError) -> BrokerError:
        return BrokerError(
            f"broker {self._bootstrap} does not say what group {self._group} has committed{of}: "
            f"{error.str()}"
        )

    def _begin(self, stored: list[TopicPartition]) -> None:
        self.from_start &= all(one.offset < 0 for one in stored)
        self._member = self._consumer.memberid()
        for one in stored:
            if one.offset >= 0:
                self.ends[Place(one.topic, one.partition)] = one.offset
            else:
                late = self._from_end and one.topic != self._beside
                one.offset = OFFSET_END if late else OFFSET_BEGINNING
        self._consumer.incremental_assign(stored)
        self._gain([Place(one.topic, one.partition) for one in stored])

    def _gain(self, places: Sequence[Place]) -> None:
        self._places |= set(places)
        self._on_gained(places)

    def _revoked(self, taken: Sequence[TopicPartition], told: Told) -> None:
        pairs = self._pairs(taken)
        try:
            told([Place(one.topic, one.partition) for one in pairs])
        finally:
            self._give_up(pairs)

    def _give_up(self, taken: Sequence[TopicPartition]) -> None:
        self._connection.release((one.topic, one.partition) for one in taken)
        self._consumer.incremental_unassign(list(taken))
        for one in taken:
            place = Place(one.topic, one.partition)
            self._places.discard(place)
            self._moved.add(place)
            self._at_end.discard(place)
            self._passed.discard(place)
            if place.topic == self._beside:
                self._end_of.pop(place, None)
            self.ends.pop(place, None)
            self._reached.forget(place)

    def rewind(self) -> None:
        """Go back to what was committed, as if the partitions had just been gained.

        Raises:
            BrokerError: the broker does not say what was committed; nothing has changed.
        """
        self._rewind(self._places)

    def _rewind(self, places: Collection[Place]) -> None:
        stored = self._committed([TopicPartition(*place) for place in places])
        self._give_up(stored)
        self._begin(stored)

    def membership(self) -> Any:
        """Return what shows a transaction that this member is one of the group; None if it is not.

        A member that was put out of the group and has not taken notice yet must not commit.
        """
        shown = self._consumer.consumer_group_metadata()
        # Without an id the broker would take it for a client that is too old to have one.
        return shown if self._member and self._consumer.memberid() == self._member else None

    def expect(self, ends: Mapping[Place, int]) -> None:
        """Take note that something was just written to partitions, up to these offsets."""
        self._expected.update(ends)
        self._at_end -= {
            place
            for place, end in ends.items()
            if self.ends.get(place, 0) < min(end, self._end_of.get(place, _FOR_EVER))
        }

    @property
    def places(self) -> set[Place]:
        """The partitions that it has at present."""
        return self._places

    @property
    def whole(self) -> bool:
        """Tell whether it has every partition."""
        return len(self._places) == sum(self.counts.values())

    # --- reading ---

    def read(self, timeout_s: float, most: int = FIRST_MESSAGES) -> list[Stretch]:
        """Wait for messages; return them by partition.

        Args:
            timeout_s: The longest wait, in seconds.
            most: At most so many messages, up to 1,000,000.

        Raises:
            BrokerError: reading is refused, or the connection is lost for good.
        """
        values: defaultdict[Place, list[bytes]] = defaultdict(list)
        self._moved.clear()
        messages = self._consumer.consume(most, timeout_s)
        if self._failure is not None:
            raise self._failure
        failed = list(compress(messages, map(Message.error, messages)))
        good = [message for message in messages if message.error() is None] if failed else messages
        if good:
            self._connection.trouble = ""
        ends = self._take(failed)
        for place, run in _runs(good):
            values[place] += self._within_limit(place, run)
        for place, end in ends:
            self._reach(place, end, eof=True)
        if back := self._moved & self._places:
            self._rewind(back)
        self._reached.look(self._places, self.ends)
        return [
            Stretch(place, listed, self.ends[place])
            for place, listed in values.items()
            if listed and place in self._places - self._moved
        ]

    def _within_limit(self, place: Place, run: list[Message]) -> list[bytes]:
        """Return the values of messages that come one after another, but for those past a limit."""
        limit = self._end_of.get(place, _FOR_EVER)
        past = _offset(run[-1]) >= limit
        if past:
            run = run[: bisect_left(run, limit, key=_offset)]
        if run:
            self._reach(place, _offset(run[-1]) + 1)
        if past and place in self._places - self._moved:
            self._at_end.add(place)
            self._passed.add(place)
        return [value or b"" for value in map(Message.value, run)]

    def _take(self, failed: Sequence[Message]) -> list[tuple[Place, int]]:
        """Take what came in place of messages; return partitions that end, and where.

        Raises:
            BrokerError: reading is refused, or the connection is lost for good.
        """
        ends = []
        for message in failed:
            error, topic = message.error(), message.topic() or ""
            assert error is not None
            if error.code() == KafkaError._PARTITION_EOF:
                ends.append((Place(topic, message.partition() or 0), _offset(message)))
            else:
                self._connection.take(error, topic, grouped=self._group is not None)
        return ends

    def _reach(self, place: Place, end: int, *, eof: bool = False) -> None:
        """Take note of how far a partition was read, and whether that is its present end."""
        if place not in self._places - self._moved or (eof and end < self.ends.get(place, 0)):
            return
        self.ends[place] = end
        limit = self._end_of.get(place, _FOR_EVER)
        # An open transaction hides what is behind it: what looks like the end then is none.
        hidden = place.topic == self._beside and end < limit < _FOR_EVER
        over = eof and end >= self._expected.get(place, 0) and not hidden
        over |= end >= limit
        (self._at_end.add if over else self._at_end.discard)(place)

    def hold(self, places: Iterable[Place]) -> None:
        """Read nothing of some partitions, of those that it has, until the next call."""
        self._connection.hold(self._places & set(places))

    # --- how far ---

    def limit(self, topic: str) -> None:
        """Read no further of a topic than its present ends, open transactions included.

        All that was read must be committed.

        Raises:
            BrokerError: the broker does not tell them.
        """
        places = {place for place in self._places if place.topic == topic}
        self._rewind(self._passed & places)  # an earlier limit had messages left out
        self._limit(self._reached.present_ends(places, self._answer_s))

    def _limit(self, ends: Mapping[tuple[str, int], int]) -> None:
        for place, end in ends.items():
            self._end_of[place] = end
            over = self.ends.get(Place(*place), 0) >= end
            (self._at_end.add if over else self._at_end.discard)(Place(*place))

    @property
    def waiting(self) -> set[Place]:
        """The partitions that it has and that were not read to their end."""
        return self._places - self._at_end

    @property
    def at_end(self) -> bool:
        """Tell whether every partition that it has was read to its end, of now or of the start."""
        return bool(self._places) and self._at_end >= self._places

    @property
    def read_to_ms(self) -> Mapping[Place, int]:
        """Moment, of this host's clock, up to which all that was published has been read."""
        return self._reached.moments_ms

    # --- committing ---

    def commit(self, ends: Mapping[Place, int]) -> None:
        """Commit how far the work is done; returns when the broker has it.

        Raises:
            BrokerError: the broker does not take it.
        """
        offsets = [TopicPartition(*place, end) for place, end in ends.items()]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            raise BrokerError(
                f"offsets of group {self._group} cannot be committed on {self._bootstrap}: "
                f"{error.args[0].str()}"
            ) from None

    def close(self) -> None:
        """Leave the group and the broker.

        Raises:
            Exception: what `on_losing` raised, unless `read` has raised something before.
        """
        before = self._failure
        try:
            self._consumer.close()
        finally:
            self._reached.close()
        if before is None and self._failure is not None:
            raise self._failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _offset(message: Message) -> int:
    return message.offset() or 0


def _runs(messages: Sequence[Message]) -> Iterator[tuple[Place, list[Message]]]:
    """Yield messages of the same partition that come one after another, with the partition."""
    # (No step of ours for each message: it would cost as much as librdkafka's.)
    topics = list(map(Message.topic, messages))
    partitions = list(map(Message.partition, messages))
    others = map(or_, map(ne, topics, topics[1:]), map(ne, partitions, partitions[1:]))
    edges = [0, *compress(count(1), others), len(messages)] if messages else []
    for start, end in pairwise(edges):
        yield Place(topics[start] or "", partitions[start] or 0), list(messages[start:end])
