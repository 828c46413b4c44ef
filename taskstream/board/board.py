"""The last readings of every host, and what came before them for as long as a sparkline is.

Pure: the time is passed in. Unknown is not zero: an interval that is missing is a gap in the
history, and a host that fell silent has no rates.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass

from taskstream.board.reading import RATES, SYSTEM, Rates, Reading

__all__ = ["HISTORY", "LOSSES", "Board", "History", "Host", "Row"]

HISTORY = 60
"""How many intervals are kept."""

LOSSES = ("ring", "skipped", "dropped", "spool_dropped", "spool_damaged")
"""Why events are lost, as the chart ``taskstream.lost`` names it."""

SILENT_INTERVALS = 3
SILENT_SLACK_S = 5.0

_UNKNOWN: Rates = (None,) * len(RATES)

History = tuple[Rates | None, ...]
"""Rates of intervals, oldest first; None for an interval that is missing."""


@dataclass(frozen=True, slots=True)
class Row:
    """A group of a host.

    Attributes:
        host: The host.
        name: The group; of the system, the host.
        rates: Of the last interval.
        history: Of the intervals up to that one.
        states: Of the system: what the agent lost and costs.
    """

    host: str
    name: str
    rates: Rates
    history: History
    states: "Host | None" = None


class Host:
    """What is known of one host.

    Attributes:
        last: Its last reading.
        lost: Events that were lost since it was first seen, by cause; empty if not known.
    """

    def __init__(self, first: Reading) -> None:
        self.last = first
        self.lost: dict[str, float] = {}
        self._lost_before: dict[str, float] = {}
        self._histories: dict[str, dict[str, deque[Rates | None]]] = {}
        self._note(first)

    def take(self, reading: Reading) -> bool:
        """Take the next reading, or the last one once more; return whether it was either."""
        if reading.end_wall_ns < self.last.end_wall_ns:
            return False
        if reading.end_wall_ns == self.last.end_wall_ns:
            self._undo()
        else:
            self._lost_before = self.lost
            self._leave_gap(reading)
        self.last = reading
        self._note(reading)
        return True

    def _undo(self) -> None:
        """Take back what the last reading added."""
        for histories in self._histories.values():
            for history in histories.values():
                history.pop()

    def _leave_gap(self, reading: Reading) -> None:
        """Note the intervals that are missing between the last reading and the next."""
        length = max(reading.seconds, self.last.seconds)
        if length <= 0:
            return
        missing = round((reading.start_wall_ns - self.last.end_wall_ns) / 1e9 / length)
        for histories in self._histories.values():
            for history in histories.values():
                history.extend([None] * max(0, min(missing, HISTORY)))

    def _note(self, reading: Reading) -> None:
        self._histories = {
            view: self._noted(self._histories.get(view, {}), table)
            for view, table in reading.tables.items()
        }
        self.lost = self._lost_before | {
            cause: self._lost_before.get(cause, 0) + reading.states[cause]
            for cause in LOSSES
            if cause in reading.states
        }

    @staticmethod
    def _noted(
        before: Mapping[str, deque[Rates | None]], table: Mapping[str, Rates]
    ) -> dict[str, deque[Rates | None]]:
        """Return the histories of the groups that there still are, with the new rates."""
        found = {}
        for name, rates in table.items():
            history = before.get(name)
            if history is None:
                history = deque(maxlen=HISTORY + 1)  # one more: `_undo` must not lose the oldest
            history.append(rates)
            found[name] = history
        return found

    def silent_s(self, now_wall_ns: int) -> float:
        """Return for how long the host has been silent; 0 if the next reading is not overdue."""
        since = (now_wall_ns - self.last.end_wall_ns) / 1e9
        return since if since > SILENT_INTERVALS * self.last.seconds + SILENT_SLACK_S else 0.0

    def rows(self, view: str, *, silent: bool) -> Iterator[Row]:
        """Yield the groups of a view; of a silent host the system alone, without rates."""
        if silent and view != SYSTEM:
            return
        histories = self._histories.get(view, {})
        for name, rates in self.last.tables.get(view, {}).items():
            yield Row(
                self.last.host,
                name,
                _UNKNOWN if silent else rates,
                tuple(histories[name])[-HISTORY:],
                self if view == SYSTEM else None,
            )

    def copy(self) -> "Host":
        """Return a host that stays as this one is now."""
        kept = copy(self)
        kept._histories = {
            view: {name: history.copy() for name, history in histories.items()}
            for view, histories in self._histories.items()
        }
        return kept


class Board:
    """Takes readings in the order of their ends.

    Attributes:
        hosts: What is known, by name of the host.
        disordered: Readings that came when a later one of their host was there; not shown.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self.disordered = 0

    def take(self, reading: Reading) -> None:
        """Take a reading."""
        host = self.hosts.get(reading.host)
        if host is None:
            self.hosts[reading.host] = Host(reading)
        elif not host.take(reading):
            self.disordered += 1

    def copy(self) -> "Board":
        """Return a board that stays as this one is now."""
        kept = Board()
        kept.hosts = {name: host.copy() for name, host in self.hosts.items()}
        kept.disordered = self.disordered
        return kept
