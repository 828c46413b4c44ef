"""Where a live screen's readings come from: an agent in this process, or the topic of rates.

Rim: the one is filled by the thread of a pipeline, the other touches a broker. Neither ever
makes its reader wait. A feed of another kind (a capture, that is replayed) gives its intervals
to an `IntervalFeed`, as a pipeline does.
"""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from taskstream.board.gatherer import SETTLE_NS, Gatherer
from taskstream.board.reading import Reading, reading_of
from taskstream.chart.chart import DOCUMENTED
from taskstream.consumer import TopicSource
from taskstream.errors import MessageError
from taskstream.interval import Interval
from taskstream.stats import RunTotals

__all__ = ["Feed", "IntervalFeed", "RatesFeed"]


CATCH_UP_NS = 2_000_000_000
"""How long the past of a topic may take to be read, if its end is not seen before."""


class Feed(Protocol):
    """What a live screen needs of where its readings come from."""

    @property
    def title(self) -> str:
        """What is shown, for people."""

    @property
    def over(self) -> bool:
        """Tell whether nothing will come any more."""

    @property
    def live(self) -> bool:
        """Tell whether the readings are of now, so that what is overdue has a meaning."""

    def take(self) -> list[Reading]:
        """Return the readings since the last call, without waiting."""

    def notes(self) -> list[str]:
        """Return what people must know at present, such as why nothing comes."""


class IntervalFeed:
    """Takes intervals in one thread, and gives readings in another.

    To a pipeline it is a screen.

    Args:
        title: What is shown.
        host: Of which host the intervals are.
        semantics: Whose formulas, ``documented`` or ``netdata``.
        live: Whether they are of now.
    """

    def __init__(
        self, title: str, host: str, semantics: str = DOCUMENTED, *, live: bool = True
    ) -> None:
        self.title = title
        self.live = live
        self.over = False
        self._host, self._semantics = host, semantics
        self._intervals: SimpleQueue[Interval] = SimpleQueue()
        self._notes: list[str] = []

    # --- for the thread of the pipeline ---

    def interval(self, interval: Interval) -> None:
        """Take an interval."""
        self._intervals.put(interval)

    def progress(self, totals: Callable[[], RunTotals], in_queue: int) -> None:
        """Show nothing between intervals."""

    def close(self) -> None:
        """Take note that no more will come."""
        self.over = True

    def note(self, text: str) -> None:
        """Take what people must know."""
        self._notes.append(text)

    # --- for the thread of the screen ---

    def take(self) -> list[Reading]:
        """Return the readings since the last call, without waiting."""
        readings: list[Reading] = []
        while True:
            try:
                interval = self._intervals.get_nowait()
            except Empty:
                return readings
            readings.append(reading_of(interval, self._host, self._semantics))

    def notes(self) -> list[str]:
        """Return what was noted so far."""
        return list(self._notes)


class RatesFeed:
    """Reads the topic of rates, of any number of hosts.

    Args:
        source: Reads the topic.
        title: What is shown.
        settle_ns: For how long nothing of an interval may come, for it to be complete.
        now_ns: A clock that does not go back.
    """

    over = False
    live = True

    def __init__(
        self,
        source: TopicSource,
        title: str,
        *,
        settle_ns: int = SETTLE_NS,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.title = title
        self._source = source
        self._gatherer = Gatherer(settle_ns)
        self._now_ns = now_ns
        self._begun = False
        self._first_ns = 0
        self._rejected = 0
        self._reason = ""

    def take(self) -> list[Reading]:
        """Return the readings since the last call, without waiting.

        Raises:
            BrokerError: reading is refused.
        """
        for value in self._source.values(0):
            try:
                self._gatherer.add(value, self._now_ns())
            except MessageError as error:
                self._rejected += 1
                self._reason = str(error)
        return self._gatherer.take(self._now_ns()) if self._has_begun() else []

    def _has_begun(self) -> bool:
        """Tell whether what was in the topic at the start is read.

        It comes one partition after another, not by time. The end of a busy partition is never
        told: librdkafka tells it by an answer without messages.
        """
        now_ns = self._now_ns()
        self._first_ns = self._first_ns or now_ns
        self._begun |= self._source.at_end or now_ns - self._first_ns >= CATCH_UP_NS
        return self._begun

    def notes(self) -> list[str]:
        """Return why nothing comes, and what was not understood."""
        notes = [self._source.trouble] if self._source.trouble else []
        if self._rejected:
            notes.append(f"{self._rejected:,} messages were not understood: {self._reason}")
        return notes
