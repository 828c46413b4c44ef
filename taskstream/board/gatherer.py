"""Messages of the rates topic as readings again.

Pure: the time is passed in. A host's interval comes as a message per chart, and the charts of
one host lie in several partitions, so no message says that it is the last. An interval is
taken for complete when none of its messages came for a while; if one comes still, the reading is
given once more, with all of it.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgpack

from taskstream.board.reading import PLACES, RATES, SYSTEM, Rates, Reading, per_second
from taskstream.chart.state import STATES
from taskstream.errors import MessageError
from taskstream.message.json import dump
from taskstream.record import VERSION

__all__ = ["SETTLE_NS", "Gatherer", "unpack_rates"]

SETTLE_NS = 300_000_000
"""For how long nothing may have come."""

KEEP = 3
"""How many readings of each host that were given are kept, for what comes still."""

_STATES = {state.chart.context for state in STATES}
_VIEWS = {context: place.view for (context, _), place in PLACES.items()}
_UNKNOWN: Rates = (None,) * len(RATES)


class _Key(NamedTuple):
    host: str
    boot_id: str
    run_ns: int
    end_ns: int


@dataclass(slots=True)
class _Parts:
    """What came of an interval."""

    start_wall_ns: int
    end_wall_ns: int
    exact: bool
    release_late: bool
    semantics: str
    came_ns: int = 0
    given: bool = False
    tables: dict[str, dict[str, Rates]] = field(default_factory=dict)
    states: dict[str, float] = field(default_factory=dict)


class Gatherer:
    """Puts messages together.

    Args:
        settle_ns: For how long nothing of an interval may have come, for it to be complete.
    """

    def __init__(self, settle_ns: int = SETTLE_NS) -> None:
        self._settle_ns = settle_ns
        self._parts: dict[_Key, _Parts] = {}

    def add(self, value: bytes, now_ns: int) -> None:
        """Take a message.

        Args:
            value: Its payload.
            now_ns: When it came, by any clock that does not go back.

        Raises:
            MessageError: it is not of this topic, or of a newer version.
        """
        message = unpack_rates(value)
        try:
            self._add(message, now_ns)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise MessageError(f"rates lack or spoil a member: {error!r}") from None

    def _add(self, message: dict[str, Any], now_ns: int) -> None:
        key = _Key(message["host"], message["boot_id"], message["run_ns"], message["end_ns"])
        parts = self._parts.get(key) or _Parts(
            int(message["start_wall_ns"]),
            int(message["end_wall_ns"]),
            bool(message["exact"]),
            bool(message["release_late"]),
            str(message["semantics"]),
        )
        context = message["chart"]
        if context in _VIEWS:  # known from now on, be it empty
            parts.tables.setdefault(_VIEWS[context], {})
        for group in message["groups"]:
            if context in _STATES:
                parts.states |= {name: float(value) for name, value in group["values"].items()}
            else:
                _fill(parts, key.host, context, group)
        parts.came_ns, parts.given = now_ns, False
        self._parts[key] = parts

    def take(self, now_ns: int) -> list[Reading]:
        """Return the readings that are complete and were not given yet, oldest first."""
        ready = [
            (key, parts)
            for key, parts in self._parts.items()
            if not parts.given and now_ns - parts.came_ns >= self._settle_ns
        ]
        ready.sort(key=lambda item: item[1].end_wall_ns)
        for _, parts in ready:
            parts.given = True
        self._forget()
        return [_reading(key, parts) for key, parts in ready]

    def _forget(self) -> None:
        """Let go of what was given, but for the last of each host."""
        given: defaultdict[str, list[_Key]] = defaultdict(list)
        for key, parts in self._parts.items():
            if parts.given:
                given[key.host].append(key)
        for keys in given.values():
            keys.sort(key=lambda key: self._parts[key].end_wall_ns)
            for key in keys[:-KEEP]:
                del self._parts[key]


def unpack_rates(value: bytes) -> dict[str, Any]:
    """Return a message of the topic of rates as a map.

    Raises:
        MessageError: it is not of this topic, or of a newer version.
    """
    try:
        message = _from_json(value) if value[:1] == b"{" else msgpack.unpackb(value)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise MessageError(f"neither MessagePack nor JSON: {error}") from None
    if not isinstance(message, dict) or message.get("kind") != "rates":
        kind = message.get("kind") if isinstance(message, dict) else type(message).__name__
        raise MessageError(f"no rates, but {kind!r}: is this the topic of the rates?")
    version = message.get("v")
    if not isinstance(version, int) or version > VERSION:
        raise MessageError(f"version {version!r}; this taskstream reads up to {VERSION}")
    return message


def _from_json(value: bytes) -> Any:
    message = json.loads(value)
    if rb"\u" in value:  # JSON can name halves of characters, which nobody could print
        dump(message)
    return message


def _fill(parts: _Parts, host: str, context: str, group: dict[str, Any]) -> None:
    seconds = (parts.end_wall_ns - parts.start_wall_ns) / 1e9
    for dimension, count in group["counts"].items():
        place = PLACES.get((context, dimension)) or PLACES.get((context, ""))
        if place is None:
            continue
        named = dimension if place.by_dimension else group["group"]
        name = host if place.view == SYSTEM else str(named)
        table = parts.tables[place.view]
        rates = list(table.get(name, _UNKNOWN))
        rates[place.column] = per_second(int(count), seconds)
        table[name] = tuple(rates)


def _reading(key: _Key, parts: _Parts) -> Reading:
    return Reading(
        host=key.host,
        start_wall_ns=parts.start_wall_ns,
        end_wall_ns=parts.end_wall_ns,
        tables={view: dict(table) for view, table in parts.tables.items()},
        states=dict(parts.states),
        exact=parts.exact,
        release_late=parts.release_late,
        semantics=parts.semantics,
    )
