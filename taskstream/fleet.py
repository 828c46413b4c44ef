"""Rates from the raw events by a group of processes, any of which may be killed at any time.

Joint. Each member reads partitions of the events and of the partial sums, and writes what follows
from them (``taskstream.share``) together with how far it has read, in one transaction.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Self
from uuid import uuid4

from taskstream.changelog import Outgoing
from taskstream.consumer.reader import Place, Reader
from taskstream.consumer.state import StateReader
from taskstream.errors import BrokerError, ConfigError, MessageError
from taskstream.fleet_topic import GroupTopics
from taskstream.grouping.choice import Choice
from taskstream.reducer import Outlet, RecountTotals
from taskstream.share import FORMAT, Share
from taskstream.sink.transaction import AbortedError, Transactions
from taskstream.turn import TurnSize, most_messages

__all__ = ["FleetMember", "FleetOptions"]

TURN_S = 1.0
"""How often a member commits."""

OPEN_MORE_S = 40
"""For how much longer than twice its time a transaction is waited for that others left open."""

MOST_ABORTS = 5
"""After how many transactions on end that did not come about a member gives up."""

TERMS_KEY = b"terms"
"""Key, in partition 0 of the changelog of closing, of what all members do alike."""

OURS = {
    "enable.auto.commit",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "isolation.level",
    "partition.assignment.strategy",
    "transactional.id",
}
"""Settings of librdkafka without which nothing is exactly once."""

SESSION_MS = 10_000
"""How long a member may be silent before its partitions are given to others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOptions:
    """How a member works.

    Attributes:
        bootstrap: Broker addresses.
        topic: The topic with the events.
        group: The consumer group.
        instance: Name of this member, under which it finds its partitions again when it comes
            back soon; None for none.
        choice: By what to count beside the outcomes.
        output: What becomes of the intervals: where they go, in which format, by whose formulas.
        late_s: How far, in seconds, an event may come behind others, or behind its report.
        window_s: How long windows are; 0 for the agents' own intervals.
        from_end: Where the group has read nothing yet, begin with what comes from now on.
        exit_at_end: End when what there was of the events at the start has been read.
        settings: librdkafka settings of the user.
    """

    bootstrap: str
    topic: str
    group: str
    instance: str | None = None
    choice: Choice = field(default_factory=Choice)
    output: str = ""
    late_s: float = 10
    window_s: int = 0
    from_end: bool = False
    exit_at_end: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def terms(self) -> bytes:
        """Return what must be the same for all members."""
        by = [name for name, value in asdict(self.choice).items() if value is True]
        terms = {
            "topic": self.topic,
            "by": ["system", *by],
            "limit": self.choice.limit,
            "window_s": self.window_s,
            "output": self.output,
            "format": FORMAT,
        }
        return json.dumps(terms).encode()


class FleetMember:
    """One of the processes that share the work.

    Args:
        options: How it works.
        topics: The group's topics, which exist.
        outlet: Where intervals go.
        output: Returns what the outlet has to write into topics since the last call.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
        BrokerError: no broker answers, or something is refused.
    """

    def __init__(
        self,
        options: FleetOptions,
        topics: GroupTopics,
        outlet: Outlet,
        output: Callable[[], list[Outgoing]] = list,
    ) -> None:
        self._options, self._topics, self._output = options, topics, output
        self._aborts, self._rewind, self._trouble = 0, False, ""
        self._committed: dict[Place, int] = {}
        self._limited = False
        self._unsure: tuple[dict[Place, int], RecountTotals] | None = None
        for setting in OURS & set(options.settings):
            raise ConfigError(f"--kafka {setting}: it is part of how a group works, and stays")
        name = f"{options.group}/{options.instance or uuid4()}"
        consumer = {"session.timeout.ms": str(SESSION_MS)}
        if options.instance is not None:
            consumer["group.instance.id"] = options.instance
        self._transactions = Transactions(options.bootstrap, name, options.settings)
        self._size = TurnSize(self._transactions.timeout_s)
        # Another member that was killed leaves a transaction open for as long, and brokers look
        # every ten seconds. This member's setting stands for that of all.
        patience_s = 2 * self._transactions.timeout_s + OPEN_MORE_S
        self._state = StateReader(options.bootstrap, options.settings, still_s=patience_s)
        self._agree()
        self.reader = Reader(
            options.bootstrap,
            [topics.events, topics.partials],
            group=options.group,
            from_end=options.from_end,
            to_end=options.exit_at_end,
            beside=topics.partials,
            on_gained=self._gained,
            on_losing=self._losing,
            on_lost=self._lost,
            committed_s=patience_s,
            settings=consumer | dict(options.settings),
        )
        self._share = Share(
            topics,
            self.reader.counts,
            options.choice,
            outlet,
            late_s=options.late_s,
            window_s=options.window_s,
        )

    def _agree(self) -> None:
        """Be the first of the group to say what it does, or see that it does the same.

        Raises:
            ConfigError: others do something else.
        """
        place, ours = (self._topics.closing, 0), self._options.terms()
        said = self._state.read([place])[place].get(TERMS_KEY)
        if said is None:
            self._transactions.write([Outgoing(*place, TERMS_KEY, ours)])
            said = self._state.read([place])[place].get(TERMS_KEY)
        if said != ours:
            raise ConfigError(
                f"group {self._options.group} was started as {(said or b'').decode()}, "
                f"and this is {ours.decode()}: start all members alike, or name another --group"
            )

    @property
    def totals(self) -> RecountTotals:
        """What this member's part of the work amounts to."""
        return self._share.totals

    # --- whose partitions ---

    def _gained(self, places: Sequence[Place]) -> None:
        self._limited = False
        for place in places:
            if place.partition >= self.reader.counts[place.topic]:
                raise ConfigError(
                    f"topic {place.topic} has more partitions than when this member was started: "
                    "start all members of the group again"
                )
        logs = {place: (self._log(place), place.partition) for place in places}
        try:
            kept = self._state.read(list(logs.values()))
        except BrokerError as error:
            self._rewind, self._trouble = True, str(error)
            return
        for place, log in logs.items():
            kept[log].pop(TERMS_KEY, None)
            try:
                self._share.gain(*place, kept[log])
            except MessageError as error:
                raise ConfigError(
                    f"topic {log[0]} is none of group {self._options.group}: {error}: "
                    "name another --group"
                ) from None

    def _log(self, place: Place) -> str:
        return self._topics.changelog_of(place.topic)

    def _losing(self, places: Sequence[Place]) -> None:
        self._commit(progress=False)
        self._lost(places)

    def _lost(self, places: Sequence[Place]) -> None:
        for place in places:
            self._share.lose(*place)
            self._committed.pop(place, None)

    # --- working ---

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until told to stop, or to the end if the options say so.

        Raises:
            BrokerError: reading or writing is refused, or the connection is lost for good.
            ConfigError: other members count by something else.
        """
        most, due, size = most_messages(0, 0), 0.0, 0
        while not stop():
            stretches = self.reader.read(0.2, most)
            if self._rewind:
                self._go_back()
                size = 0
                continue
            now_ms = time.time_ns() // 1_000_000
            events = sum(self._share.take(*one.place, one.values, now_ms) for one in stretches)
            messages = sum(
                len(one.values) for one in stretches if one.place.topic == self._topics.events
            )
            portion = sum(sum(map(len, one.values)) for one in stretches)
            size += portion
            read = sum(len(one.values) for one in stretches)
            most = min(most_messages(messages, events), self._size.messages(read, portion))
            idle = self._options.exit_at_end and self._is_over()
            if time.monotonic() >= due or size >= self._size.most_bytes or idle:
                busy = self._commit(progress=not idle)
                self.reader.hold(Place(self._topics.events, p) for p in self._share.ahead)
                due, size = time.monotonic() + TURN_S, 0
                if idle and not busy and self._is_over():
                    return
        self._commit(progress=False)
        if self._unsure is not None:
            self._go_back()  # so that the totals are true

    def _is_over(self) -> bool:
        """Tell whether everything was read that this member has to read.

        What follows from the events is in the partial sums when all of the events was committed;
        whatever others write there later is for those who stay.
        """
        if any(place.topic == self._topics.events for place in self.reader.waiting):
            return False
        if not self._limited:
            self._commit(progress=True)
            if self._rewind:
                return False
            try:
                self.reader.limit(self._topics.partials)
            except BrokerError as error:
                self._trouble = str(error)
                return False
            self._limited = True
        return self.reader.at_end

    def _commit(self, *, progress: bool) -> bool:
        """Write what there is to say; tell whether there was anything."""
        if self._rewind:
            return True
        reached = self.reader.read_to_ms
        read_to_ms = {
            place.partition: reached[place]
            for place in self.reader.places
            if place.topic == self._topics.events and place in reached
        }
        messages = self._share.turn(read_to_ms, progress=progress) + self._output()
        ends = {
            place: end
            for place, end in self.reader.ends.items()
            if self._committed.get(place) != end
        }
        if not messages and not ends:
            return False
        # With no offset at all the broker would not look at who commits.
        read, ends = dict(ends), ends or dict(self.reader.ends)
        before = time.monotonic()
        try:
            written = self._transactions.commit(
                messages,
                [(*place, end) for place, end in ends.items()],
                self.reader.membership,
            )
        except AbortedError as error:
            self._rewind = True
            self._aborts += not error.away
            if error.slow:
                self._size.failed()
            if error.unsure:
                self._unsure = read, self._share.open_totals()
            if self._aborts >= MOST_ABORTS:
                longer_ms = int(3000 * self._transactions.timeout_s)
                more = f": allow more time, with --kafka transaction.timeout.ms={longer_ms}"
                raise BrokerError(
                    f"{self._aborts} transactions on end did not come about: {error}"
                    + (more if error.slow else "")
                ) from None
            self._trouble = f"a transaction did not come about: {error}"
            return True
        self._aborts, self._trouble = 0, ""
        self._size.took(time.monotonic() - before)
        self._share.written()
        self._committed.update(ends)
        self.reader.expect({Place(*place): end for place, end in written.items()})
        return bool(messages)

    def _go_back(self) -> None:
        """Forget what did not come about; where brokers are away, it is tried again later."""
        try:
            self._transactions.abort()
        except AbortedError as error:
            self._trouble = f"a transaction cannot be ended: {error}"
            return
        self._rewind = False
        try:
            self.reader.rewind()
        except BrokerError as error:
            self._rewind, self._trouble = True, str(error)
            return
        if self._unsure is not None:
            (ends, totals), self._unsure = self._unsure, None
            if ends and ends.items() <= self.reader.ends.items():  # it did come about
                self._share.totals.add(totals)

    @property
    def trouble(self) -> str:
        """Why nothing is written at present; empty while all is well."""
        return self.reader.trouble or self._trouble

    @property
    def share(self) -> str:
        """What this member has of the work."""
        counts, places = self.reader.counts, self.reader.places
        has = {topic: sum(place.topic == topic for place in places) for topic in counts}
        return "has " + ", ".join(
            f"{has[topic]} of {count} partitions of {topic}" for topic, count in counts.items()
        )

    def close(self) -> None:
        """Leave the group."""
        self.reader.close()
        self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._rewind |= error is not None  # what there is was not taken to its end
        self.close()
