"""A board as texts: the cells of its rows, the line of what was lost and what it costs, the notes.

Pure. No colour, no width but that of columns: whoever draws decides on those.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from taskstream.board.board import HISTORY, LOSSES, Board, Host, Row
from taskstream.board.choice import Choice, value_of
from taskstream.board.reading import RATES, SYSTEM
from taskstream.board.sparkline import sparkline
from taskstream.chart.chart import NETDATA
from taskstream.hook import RELEASE_LATE
from taskstream.text import printable

__all__ = [
    "GAP_CHARS",
    "Column",
    "Standing",
    "cells",
    "columns_of",
    "number",
    "standing",
]

UNKNOWN = "-"
GAP_CHARS = 2
NAME_CHARS = 12, 32
HOST_CHARS = 16
SPARK_CHARS = 12

_TITLES = {
    **{rate: f"{rate}/s" for rate in RATES},
    "host": "host",
    "lost": "lost",
    "cpu": "CPU %",
    "memory": "MiB",
}

_WHO = {
    "app": "by app: apps = yes, or --apps",
    "cgroup": "by cgroup: cgroups = yes, or --cgroups",
    "service": "by service: cgroups = yes, or --cgroups",
    "command": "by command: [charts] commands = yes",
    "user": "by user: [charts] users = yes",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        key: As `Choice.sort` names it; empty for the sparkline, which no row is sorted by.
        title: Its head.
        chars: How wide it is.
        right: Whether its cells stand at the right.
    """

    key: str
    title: str
    chars: int
    right: bool = True


def columns_of(choice: Choice, width: int) -> list[Column]:
    """Return the columns of a view; names and sparklines take what the others leave.

    Args:
        choice: The view, and by what it is sorted.
        width: Of the table, in characters, with `GAP_CHARS` behind each column.
    """
    titles = {**_TITLES, "name": "host" if choice.view == SYSTEM else choice.view}
    keys = choice.columns[1:]
    chars = {key: HOST_CHARS if key == "host" else max(9, len(titles[key]) + 1) for key in keys}
    left = width - sum(chars.values()) - GAP_CHARS * (len(keys) + 2)
    name_chars = min(max(left - SPARK_CHARS, NAME_CHARS[0]), NAME_CHARS[1])
    spark_chars = min(max(left - name_chars, SPARK_CHARS), HISTORY)
    return [
        Column("name", titles["name"], name_chars, right=False),
        *(Column(key, titles[key], chars[key], right=key != "host") for key in keys),
        Column("", titles[_rate_of(choice)], spark_chars, right=False),
    ]


def _rate_of(choice: Choice) -> str:
    """Return the rate whose past is shown."""
    return choice.sort if choice.sort in RATES else RATES[0]


def cells(row: Row, columns: Sequence[Column], choice: Choice) -> list[str]:
    """Return the texts of a row."""
    return [_cell(row, column, choice) for column in columns]


def _cell(row: Row, column: Column, choice: Choice) -> str:
    if column.key == "name":
        return printable(row.name)
    if column.key == "host":
        return printable(row.host)
    if column.key:
        return number(value_of(row, column.key))
    at = RATES.index(_rate_of(choice))
    return sparkline([rates[at] if rates else None for rates in row.history], column.chars)


def number(value: float | None) -> str:
    """Return a number for people; what is not known is no number."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 1000 or not value % 1 else f"{value:,.1f}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is always visible.

    Attributes:
        when: Time of the end of the last interval, and its length.
        loss: What was lost.
        is_lossy: Whether anything was.
        cost: What the agents cost.
        notes: What must be known to read the numbers.
    """

    when: str
    loss: str
    is_lossy: bool
    cost: str
    notes: list[str]


_LOST = {
    "ring": "lost in the ring",
    "skipped": "missed by the kernel",
    "dropped": "dropped",
    "spool_dropped": "given up by the spool",
    "spool_damaged": "damaged in the spool",
}
_RARE = ("spool_dropped", "spool_damaged")
"""Causes that are told only where there were any."""


def standing(board: Board, choice: Choice, now_wall_ns: int | None = None) -> Standing:
    """Sum up the hosts that are shown."""
    hosts = [host for name, host in sorted(board.hosts.items()) if choice.host in ("", name)]
    known = [cause for cause in LOSSES if any(cause in host.lost for host in hosts)]
    lost = {cause: sum(host.lost.get(cause, 0) for host in hosts) for cause in known}
    told = [cause for cause in LOSSES if lost.get(cause) or cause not in _RARE]
    return Standing(
        when=_when(hosts),
        loss="   ".join(f"{_LOST[c]} {number(lost[c]) if c in lost else UNKNOWN}" for c in told),
        is_lossy=any(lost.values()),
        cost=_cost(hosts),
        notes=_notes(board, hosts, choice, now_wall_ns),
    )


def _when(hosts: Sequence[Host]) -> str:
    if not hosts:
        return "waiting for the first interval to end"
    last = max((host.last for host in hosts), key=lambda reading: reading.end_wall_ns)
    end = datetime.fromtimestamp(last.end_wall_ns / 1e9).astimezone()
    many = f"{len(hosts)} hosts, " if len(hosts) > 1 else ""
    return f"{many}{last.seconds:.3g} s up to {end:%H:%M:%S}"


def _cost(hosts: Sequence[Host]) -> str:
    parts = [
        _sum(hosts, "cpu", "CPU {:.1f} % of a core"),
        _sum(hosts, "resident", "memory {:,.0f} MiB"),
        _sum(hosts, "queued", "queue {:,.0f}"),
        *_most(hosts, "ring_fill", "ring {:.0f} %"),
        *_most(hosts, "spool_fill", "spool {:.0f} %"),
        _sum(hosts, "zombies", "zombies {:,.0f}"),
    ]
    oldest_s = max((host.last.states.get("oldest", 0) for host in hosts), default=0)
    age = f" (oldest {oldest_s:,.1f} s)" if oldest_s else ""
    return f"agent{'s' if len(hosts) > 1 else ''}: {'   '.join(parts)}{age}"


def _most(hosts: Sequence[Host], name: str, text: str) -> Iterator[str]:
    """Yield the highest value, if any is known."""
    known = [host.last.states[name] for host in hosts if name in host.last.states]
    if known:
        yield text.format(max(known))


def _sum(hosts: Sequence[Host], state: str, shape: str) -> str:
    known = [host.last.states[state] for host in hosts if state in host.last.states]
    return shape.format(sum(known)) if known else f"{shape.split()[0]} {UNKNOWN}"


def _notes(
    board: Board, hosts: Sequence[Host], choice: Choice, now_wall_ns: int | None
) -> list[str]:
    notes = []
    lasts = [host.last for host in hosts]
    for text, of_it in (
        (RELEASE_LATE, [last for last in lasts if last.release_late]),
        ("not exact: the kernel skipped probes", [last for last in lasts if not last.exact]),
        ("by the formulas of Netdata", [last for last in lasts if last.semantics == NETDATA]),
    ):
        names = [last.host for last in of_it]
        if names:
            of = "" if len(names) == len(hosts) else f"{', '.join(map(printable, names[:5]))}: "
            notes.append(of + text)
    for host in hosts:
        silent_s = host.silent_s(now_wall_ns) if now_wall_ns is not None else 0
        if silent_s:
            notes.append(f"{printable(host.last.host)}: nothing for {silent_s:,.0f} s")
    if hosts and not any(choice.view in host.last.tables for host in hosts):
        notes.append(f"nobody counts {_WHO[choice.view]}, where the agent runs")
    if board.disordered:
        notes.append(f"{board.disordered:,} intervals came after later ones, and are not shown")
    return notes
