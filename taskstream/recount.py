"""Rates from the raw events again: of captures, or of a topic that one process reads alone.

Joint. A source is read in portions; each partition is counted by itself (``taskstream.partial``),
and what was counted of a run is closed into intervals (``taskstream.closing``).
"""

import time
from collections.abc import Callable, Sequence

from taskstream.batch import Batch
from taskstream.capture.content import Names, content_of
from taskstream.capture.frame import Damage
from taskstream.capture.reader import CaptureFile, items_of
from taskstream.cells import SECOND_NS
from taskstream.consumer.reader import Place, Reader
from taskstream.errors import CaptureError
from taskstream.grouping.apps import AppGroups
from taskstream.grouping.choice import Choice
from taskstream.lead import Lead
from taskstream.message.decode import MessageDecoder
from taskstream.partial import PartialSums
from taskstream.reducer import FORGET_MS, SILENT_MS, Outlet, RecountTotals, Reducer
from taskstream.report import Report
from taskstream.turn import most_messages

__all__ = ["Recounter"]

FOR_EVER_MS = 1 << 62

WAIT_S, END_WAIT_S = 0.5, 0.05
"""How long to wait for a portion: while more is published, and for what is there already."""


class Recounter:
    """Recounts one source alone.

    Args:
        choice: By what to count beside the outcomes.
        outlet: Where the intervals go.
        rules: Rules that decide on app groups; None for what the agents had decided.
        late_s: How far, in seconds, an event may come behind others, or behind its report.
        window_s: How long windows are; 0 for the agents' own intervals.
        now_ms: Unix milliseconds.
    """

    def __init__(
        self,
        choice: Choice,
        outlet: Outlet,
        *,
        rules: AppGroups | None = None,
        late_s: float,
        window_s: int = 0,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.totals = RecountTotals()
        self._choice, self._rules, self._now_ms = choice, rules, now_ms
        self._late_ms = int(late_s * 1000)
        self._decoder = MessageDecoder(args=rules is not None)  # command lines are for rules alone
        self._parts: dict[Place, PartialSums] = {}
        self._lead: Lead[Place] = Lead()
        self._reducer = Reducer(choice, outlet, self.totals, window_ns=window_s * SECOND_NS)

    def _part(self, place: Place) -> PartialSums:
        if place not in self._parts:
            late_ns = self._late_ms * 1_000_000
            self._parts[place] = PartialSums(self._choice, late_ns, rules=self._rules)
        return self._parts[place]

    def _turn(self, read_to_ms: int, silent_ms: int, *, over: bool = False) -> None:
        self._count()
        self._reducer.close(read_to_ms - self._late_ms, silent_ms, over=over)

    def _count(self) -> None:
        for place, part in self._parts.items():
            partials = part.take()
            self._lead.note(place, partials, self._now_ms())
            self._reducer.add(partials)

    # --- a topic ---

    def topic(self, reader: Reader, stop: Callable[[], bool], *, exit_at_end: bool) -> None:
        """Read a topic until told to stop, or to its present end.

        Raises:
            BrokerError: reading is refused, or the connection is lost for good.
        """
        most, wait_s = most_messages(0, 0), END_WAIT_S if exit_at_end else WAIT_S
        while not stop():
            stretches = reader.read(wait_s, most)
            events = sum(self.messages(one.place, one.values) for one in stretches)
            most = most_messages(sum(len(one.values) for one in stretches), events)
            reached = reader.read_to_ms
            read_to_ms = min((reached.get(place, 0) for place in reader.places), default=0)
            self._count()
            self._lead.look(reader.waiting, self._now_ms(), {} if exit_at_end else reached)
            reader.hold(self._lead.held)
            self._reducer.close(
                read_to_ms - self._late_ms, read_to_ms - SILENT_MS, behind=self._lead.behind
            )
            for part in self._parts.values():
                part.forget_before(read_to_ms - FORGET_MS)
            self._lead.forget(self._reducer.forget_before(read_to_ms - FORGET_MS))
            if exit_at_end and reader.at_end:
                self.end()
                return

    def messages(self, place: Place, values: Sequence[bytes]) -> int:
        """Count the messages of a partition; return how many events they held."""
        decoded = self._decoder.decode(values)
        for _, error in decoded.rejected:
            self.totals.reject(error)
        return self._part(place).take_in(decoded, self._now_ms())

    def end(self) -> None:
        """Close what there is: nothing more comes."""
        self._turn(FOR_EVER_MS, self._now_ms() - SILENT_MS, over=True)

    # --- captures ---

    def captures(
        self, files: Sequence[CaptureFile], stop: Callable[[], bool], *, skip_damaged: bool = False
    ) -> None:
        """Read captures, one after another.

        Raises:
            CaptureError: a file is damaged, and damage is not to be skipped. What came before
                was counted.
        """
        part = self._part(Place("", 0))
        for file, item in items_of(files):
            if stop():
                return
            if isinstance(item, Damage):
                if not item.cut and not skip_damaged:
                    raise CaptureError(
                        f"{file.name} is damaged: {item}; frames before it were counted "
                        "(--skip-damaged goes on)"
                    )
                self.totals.damaged += 1
                continue
            with file.naming():
                content = content_of(item)
            if isinstance(content, Batch):
                part.add(content, 0)
            elif isinstance(content, Report):
                part.report(content, 0)
                self._turn(0, -1)
            elif isinstance(content, Names) and file.header is not None:
                for id_, path in content.cgroups.items():
                    part.learn(file.header.origin, id_, path)
        self._turn(FOR_EVER_MS, FOR_EVER_MS, over=True)
