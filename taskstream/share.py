"""A member's share of a group's work: the partitions that it has, and what it says of them.

Pure: no I/O, no clock. The work has two stages. A partition of the events is counted into partial
sums, which go to the partition of a second topic where all of a host's come together. A partition
of the partial sums is closed into intervals. Whatever a partition of either has in mind is said in
a changelog, so that another member can go on with it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import msgpack

from taskstream.batch import Origin
from taskstream.cells import SECOND_NS
from taskstream.changelog import Changelog, Key, Outgoing, states
from taskstream.closing import Closing
from taskstream.errors import ConfigError, MessageError
from taskstream.fleet_topic import GroupTopics, home_of
from taskstream.grouping.choice import Choice
from taskstream.lead import GroupLead, passed_ms
from taskstream.message.columns import pack
from taskstream.message.decode import MessageDecoder
from taskstream.partial import Partial, PartialSums
from taskstream.record import VERSION
from taskstream.reducer import FORGET_MS, SILENT_MS, Outlet, RecountTotals, Reducer

__all__ = ["FORMAT", "Share"]

FORMAT = 3
"""Of partial sums and changelogs; members that write another one cannot share the work."""


class Share:
    """What one member has in mind.

    Args:
        topics: The group's topics.
        counts: How many partitions each of them has.
        choice: By what to count beside the outcomes.
        outlet: Where the intervals go.
        late_s: How far, in seconds, an event may come behind others, or behind its report.
        window_s: How long windows are; 0 for the agents' own intervals.

    Attributes:
        totals: What the work amounts to that was written.
    """

    def __init__(
        self,
        topics: GroupTopics,
        counts: Mapping[str, int],
        choice: Choice,
        outlet: Outlet,
        *,
        late_s: float,
        window_s: int = 0,
    ) -> None:
        self.totals = RecountTotals()
        self._topics, self._counts = topics, counts
        self._choice, self._outlet = choice, outlet
        self._late_ms = int(late_s * 1000)
        self._window_ns = window_s * SECOND_NS
        self._by = asdict(choice) | {"window_s": window_s, "format": FORMAT}
        self._decoder = MessageDecoder(args=False)
        self._counting: dict[int, _Counting] = {}
        self._closing: dict[int, _Closing] = {}
        self._lead = GroupLead(counts[topics.events])
        self._now_ms = 0

    # --- whose partitions ---

    def gain(self, topic: str, partition: int, entries: Mapping[bytes, bytes]) -> None:
        """Take a partition over.

        Args:
            topic: Of the events, or of the partial sums.
            partition: Which partition of it.
            entries: What its changelog holds: the last value of each key.

        Raises:
            ConfigError: whoever had it counted by something else.
            MessageError: the changelog is none of ours.
        """
        found, pieces = states(entries)
        for state in found.values():
            self._check(state)
        log = Changelog(self._topics.changelog_of(topic), partition, pieces)
        if topic == self._topics.events:
            sums = PartialSums(self._choice, self._late_ms * 1_000_000)
            for key, state in found.items():
                sums.restore(key.origin, state)
            self._counting[partition] = _Counting(sums, log)
        else:
            books = RecountTotals()
            reducer = Reducer(self._choice, self._outlet, books, window_ns=self._window_ns)
            runs: defaultdict[Origin, dict[str, Mapping[str, Any]]] = defaultdict(dict)
            for key, state in found.items():
                runs[key.origin][key.part] = state
            for origin, parts in runs.items():
                if "open" not in parts:
                    raise MessageError(f"state of {origin.host}: it has no part that is open")
                reducer.runs[origin] = Closing(origin, self._choice, self._window_ns)
                reducer.runs[origin].restore(parts)
            self._closing[partition] = _Closing(reducer, log, books)

    def lose(self, topic: str, partition: int) -> None:
        """Put a partition out of mind."""
        if topic == self._topics.events:
            self._counting.pop(partition, None)
        elif partition in self._closing:
            self._closing.pop(partition).reducer.leave()

    def _check(self, message: Mapping[str, Any]) -> None:
        theirs = message.get("by")
        if theirs != self._by:
            raise ConfigError(
                f"members of the group count by different things: here {_told(self._by)}, "
                f"elsewhere {_told(theirs)}: start all of them with the same options, or with "
                "another --group"
            )

    # --- what comes in ---

    def take(self, topic: str, partition: int, values: Sequence[bytes], now_ms: int) -> int:
        """Take messages of a partition that it has.

        Args:
            topic: Of the events, or of the partial sums.
            partition: Which partition of it.
            values: Payloads, in their order.
            now_ms: When they were read, Unix milliseconds.

        Returns:
            How many events were counted.

        Raises:
            ConfigError: another member counts by something else.
        """
        self._now_ms = max(now_ms, self._now_ms)
        if topic != self._topics.events:
            for value in values:
                try:
                    self._take(self._closing[partition], value)
                except MessageError as error:
                    self._closing[partition].books.reject(error)
            return 0
        decoded = self._decoder.decode(values)
        for _, reason in decoded.rejected:
            self._counting[partition].books.reject(reason)
        return self._counting[partition].sums.take_in(decoded, now_ms)

    def _take(self, mine: "_Closing", value: bytes) -> None:
        message = _unpacked(value)
        if message["kind"] == "partial":
            self._check(message)
            mine.reducer.add([Partial.from_map(message)])
        else:
            for partition, moment_ms in message["read_to_ms"].items():
                known_ms = mine.read_to_ms.get(partition, 0)
                mine.read_to_ms[partition] = max(known_ms, moment_ms)
                self._lead.at_end(partition, moment_ms)
        for partition, moment_ms in message["passed_ms"].items():
            self._lead.passed(partition, moment_ms, self._now_ms)

    @property
    def ahead(self) -> set[int]:
        """Partitions of the events that are hours ahead: others are to be read first."""
        return self._lead.ahead

    # --- what goes out ---

    def turn(self, read_to_ms: Mapping[int, int], *, progress: bool) -> list[Outgoing]:
        """Count up to here, close what is over, and return what the others must know of it.

        Args:
            read_to_ms: Per partition of the events, the moment up to which all that was published
                has been read.
            progress: Say how far the events were read.
        """
        messages: list[Outgoing] = []
        for partition, counting in self._counting.items():
            partials = counting.sums.take()
            counting.passed_ms = passed_ms(partials) or counting.passed_ms
            passed = {partition: counting.passed_ms} if counting.passed_ms else {}
            for partial in partials:
                messages += self._partial(partial, passed)
                messages += counting.log.put(
                    Key(partial.origin, "counting"),
                    {"by": self._by} | counting.sums.to_map(partial.origin),
                )
            for origin in counting.sums.forget_before(read_to_ms.get(partition, 0) - FORGET_MS):
                messages += counting.log.forget(origin)
        if progress:
            messages += self._progress(read_to_ms)
        self._lead.look(self._now_ms)
        for closing in self._closing.values():
            messages += self._close(closing)
        return messages

    def open_totals(self) -> RecountTotals:
        """Return what the work amounts to that was not written yet."""
        totals = RecountTotals()
        for books in self._books():
            totals.add(books)
        return totals

    def written(self) -> None:
        """Take note that what `turn` returned was written: it counts from now on."""
        for books in self._books():
            self.totals.add(books.take())

    def _books(self) -> Iterator[RecountTotals]:
        yield from (counting.books for counting in self._counting.values())
        yield from (closing.books for closing in self._closing.values())

    def _partial(self, partial: Partial, passed: Mapping[int, int]) -> Iterator[Outgoing]:
        host = partial.origin.host
        home = home_of(host, self._counts[self._topics.partials])
        for charts, part in partial.by_charts():
            key = f"{host}/{charts}".encode()
            for value in part.messages({"by": self._by, "passed_ms": passed}):
                yield Outgoing(self._topics.partials, home, key, value)

    def _progress(self, read_to_ms: Mapping[int, int]) -> Iterator[Outgoing]:
        passed = {p: counting.passed_ms for p, counting in self._counting.items()}
        known = {partition: moment_ms for partition, moment_ms in passed.items() if moment_ms}
        if not (read_to_ms or known):
            return
        said = {"read_to_ms": dict(read_to_ms), "passed_ms": known}
        value = pack({"v": VERSION, "kind": "progress", **said})
        for home in range(self._counts[self._topics.partials]):
            yield Outgoing(self._topics.partials, home, b"", value)

    def _close(self, closing: "_Closing") -> Iterator[Outgoing]:
        reducer = closing.reducer
        partitions = range(self._counts[self._topics.events])
        read_to_ms = min(closing.read_to_ms.get(partition, 0) for partition in partitions)
        reducer.close(
            read_to_ms - self._late_ms, read_to_ms - SILENT_MS, behind=bool(self._lead.ahead)
        )
        for origin in reducer.forget_before(read_to_ms - FORGET_MS):
            yield from closing.log.forget(origin)
        for origin, closed in reducer.changes():
            run = reducer.runs[origin]
            parts = run.to_maps() | ({"closed": run.closed_to_map()} if closed else {})
            for part, state in parts.items():
                key = Key(origin, part)
                if state is None:
                    yield from closing.log.delete(key)
                else:
                    yield from closing.log.put(key, {"by": self._by} | state)


class _Counting:
    """A partition of the events."""

    def __init__(self, sums: PartialSums, log: Changelog) -> None:
        self.sums, self.log, self.books = sums, log, RecountTotals()
        self.passed_ms = 0


class _Closing:
    """A partition of the partial sums; how far each partition of the events was read."""

    def __init__(self, reducer: Reducer, log: Changelog, books: RecountTotals) -> None:
        self.reducer, self.log, self.books = reducer, log, books
        self.read_to_ms: dict[int, int] = {}


def _unpacked(value: bytes) -> dict[str, Any]:
    try:
        message = msgpack.unpackb(value, strict_map_key=False)
    except (msgpack.UnpackException, ValueError) as error:
        raise MessageError(f"not MessagePack: {str(error) or type(error).__name__}") from None
    if not isinstance(message, dict) or message.get("kind") not in ("partial", "progress"):
        raise MessageError("not a partial sum")
    return message


def _told(by: Any) -> str:
    """Return for people by what somebody counts."""
    if not isinstance(by, dict):
        return "something unknown"
    names = [name for name, value in by.items() if value is True]
    others = [f"{name} {value}" for name, value in by.items() if not isinstance(value, bool)]
    return ", ".join(names + others)
