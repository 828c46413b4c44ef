"""What of a board is wanted, and the rows that this leaves, in order.

Pure: the time is passed in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from taskstream.board.board import LOSSES, Board, Host, Row
from taskstream.board.reading import RATES, SYSTEM, VIEWS

__all__ = ["Choice", "agent_cpu", "agent_mib", "lost_events", "rows_of", "value_of"]

NAME, HOST = "name", "host"
AGENT = ("lost", "cpu", "memory")
"""Columns that the system view alone has: what the agents of the hosts lost, and cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A view, its order, and what is left out.

    Attributes:
        view: Of `VIEWS`.
        sort: The column by which the rows are in order.
        descending: From the highest to the lowest.
        text: What the name of a row, or of its host, must hold; in any case of letters.
        host: The one host that is shown; empty for all.
        side_by_side: There may be several hosts.
    """

    view: str = "command"
    sort: str = RATES[0]
    descending: bool = True
    text: str = ""
    host: str = ""
    side_by_side: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns by which the view can be sorted, from left to right."""
        if self.view == SYSTEM:
            return (NAME, *RATES, *AGENT)
        return (NAME, *((HOST,) if self.side_by_side and not self.host else ()), *RATES)

    def with_view(self, view: str) -> "Choice":
        """Return the same of another view."""
        chosen = replace(self, view=view)
        return chosen if self.sort in chosen.columns else chosen.with_sort(RATES[0])

    def next_view(self, step: int = 1) -> "Choice":
        """Return the same of the view that is ``step`` further."""
        return self.with_view(VIEWS[(VIEWS.index(self.view) + step) % len(VIEWS)])

    def with_sort(self, column: str) -> "Choice":
        """Return the same by another column: names from a to z, numbers from the highest."""
        return replace(self, sort=column, descending=column not in (NAME, HOST))

    def next_sort(self, step: int = 1) -> "Choice":
        """Return the same by the column that is ``step`` further to the right."""
        columns = self.columns
        at = columns.index(self.sort) if self.sort in columns else 0
        return self.with_sort(columns[(at + step) % len(columns)])

    def reversed(self) -> "Choice":
        """Return the same the other way round."""
        return replace(self, descending=not self.descending)

    def with_text(self, text: str) -> "Choice":
        """Return the same of the rows that have a text."""
        return replace(self, text=text)

    def next_host(self, hosts: list[str]) -> "Choice":
        """Return the same of the next host, after the last one of all hosts."""
        order = ["", *hosts]
        at = order.index(self.host) if self.host in order else 0
        chosen = replace(self, host=order[(at + 1) % len(order)])
        return chosen if chosen.sort in chosen.columns else chosen.with_sort(RATES[0])


def rows_of(board: Board, choice: Choice, now_wall_ns: int | None = None) -> list[Row]:
    """Return the rows that are wanted, in order; what is not known comes last.

    Args:
        board: What there is.
        choice: What is wanted.
        now_wall_ns: The time, which tells silent hosts; None where it has no meaning.
    """
    rows = sorted(_chosen(board, choice, now_wall_ns), key=_rank)  # the order of equals
    if choice.sort in (NAME, HOST):
        return sorted(rows, key=lambda row: _text_of(row, choice.sort), reverse=choice.descending)
    values = [(value_of(row, choice.sort), row) for row in rows]
    known = [(value, row) for value, row in values if value is not None]
    known.sort(key=lambda pair: pair[0], reverse=choice.descending)
    return [row for _, row in known] + [row for value, row in values if value is None]


def _chosen(board: Board, choice: Choice, now_wall_ns: int | None) -> Iterator[Row]:
    text = choice.text.casefold()
    for name, host in sorted(board.hosts.items()):
        if choice.host in ("", name):
            silent = now_wall_ns is not None and host.silent_s(now_wall_ns) > 0
            for row in host.rows(choice.view, silent=silent):
                if text in row.name.casefold() or text in row.host.casefold():
                    yield row


def _rank(row: Row) -> tuple[float, str, str]:
    """Order rows by all that happens in them, then by name."""
    return -sum(rate for rate in row.rates if rate is not None), row.name, row.host


def _text_of(row: Row, column: str) -> str:
    return row.name if column == NAME else row.host


def value_of(row: Row, column: str) -> float | None:
    """Return the number that a row has in a column; None for one that is not known."""
    if column in RATES:
        return row.rates[RATES.index(column)]
    if row.states is None:
        return None
    return {"lost": lost_events, "cpu": agent_cpu, "memory": agent_mib}[column](row.states)


def lost_events(host: Host) -> float | None:
    """Return the events that a host lost since it was first seen, whatever the cause."""
    known = [host.lost[cause] for cause in LOSSES if cause in host.lost]
    return sum(known) if known else None


def agent_cpu(host: Host) -> float | None:
    """Return the CPU that a host's agent took in the last interval, in percent of a core."""
    return host.last.states.get("cpu")


def agent_mib(host: Host) -> float | None:
    """Return the memory of a host's agent."""
    return host.last.states.get("resident")
