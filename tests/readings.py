"""Readings made up for tests."""

from typing import Any

from taskstream.board.reading import RATES, Rates, Reading

__all__ = ["SECOND", "START_NS", "rates", "reading"]

SECOND = 10**9
START_NS = 1_790_000_000 * SECOND


def rates(processes: float | None = 0, **others: float | None) -> Rates:
    """Return rates that are zero where nothing is said."""
    values = {"processes": processes, **others}
    return tuple(values.get(name, 0) for name in RATES)


def reading(number: int = 1, *, host: str = "web-3", length_s: int = 1, **values: Any) -> Reading:
    """Return the reading of the ``number``-th interval; a keyword of a view is its table."""
    views = ("system", "app", "cgroup", "service", "command", "user")
    tables = {view: values.pop(view) for view in views if view in values}
    return Reading(
        host=host,
        start_wall_ns=START_NS + (number - 1) * length_s * SECOND,
        end_wall_ns=START_NS + number * length_s * SECOND,
        tables={"system": {host: rates()}} | tables,
        **{"states": {}, **values},
    )
