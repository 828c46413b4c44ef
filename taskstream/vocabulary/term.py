"""A published name and what of an event goes by it; a vocabulary is a list of those.

Pure: no I/O, no clock. Events are the maps of `event` messages, as ``docs/record.md`` lists them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskstream.vocabulary.value import (
    Event,
    Value,
    command_line,
    error_name,
    event_uid,
    exit_code,
    iso,
    process_uid,
    wall_of,
    when_dead,
)

__all__ = [
    "Term",
    "Vocabulary",
    "always",
    "ending",
    "error",
    "event_id",
    "moment",
    "nested",
    "process_id",
    "quoted",
    "same",
    "text",
]


@dataclass(frozen=True, slots=True)
class Term:
    """A published name, and what stands there.

    Attributes:
        path: The name, its parts joined by dots.
        fields: Members of an event that it is made of; none where it is the same for all.
        value: What of an event stands there; None for nothing.
        how: What is done to the members, for people; empty where they stand there as they are.
        whole: The members can be had back from it, so they need not be told again.
    """

    path: str
    fields: tuple[str, ...]
    value: Value
    how: str = ""
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What another standard calls the members of an event.

    Attributes:
        name: Its short name.
        version: Version of the standard whose names these are.
        terms: Its names.
        rest: Where members are put for which it has no name, or none that tells them whole.
        frame: Makes a record of the standard of values by path and of the rest.
    """

    name: str
    version: str
    terms: tuple[Term, ...]
    rest: str
    frame: Callable[[Event, dict[str, Any], dict[str, Any]], dict[str, Any]]

    def translate(self, event: Event) -> dict[str, Any]:
        """Return an event in the words of this vocabulary.

        Args:
            event: The map of an `event` message.

        Returns:
            A map that JSON can hold. Every member of the event that is known is in it, under a
            published name or in the rest.
        """
        values: dict[str, Any] = {}
        told: set[str] = set()
        for term in self.terms:
            value = term.value(event)
            if value is not None:
                values[term.path] = value
                if term.whole:
                    told.update(term.fields)
        rest = {k: v for k, v in event.items() if k not in told and v is not None}
        return self.frame(event, values, rest)


# --- terms ---------------------------------------------------------------------------------------


def same(path: str, field: str) -> Term:
    """Let a member stand there as it is."""
    return Term(path, (field,), lambda event: event.get(field))


def text(path: str, field: str) -> Term:
    """Let a number stand there as text."""

    def value(event: Event) -> str | None:
        return None if event.get(field) is None else str(event[field])

    return Term(path, (field,), value, "as text")


def always(path: str, value: Any) -> Term:
    """Let the same value stand there for every event."""
    shown = value if isinstance(value, str) else json.dumps(value)
    return Term(path, (), lambda _: value, f"`{shown}`")


def event_id(path: str) -> Term:
    """Let the identity of the event stand there."""
    fields = ("host", "boot_id", "cpu", "seq")
    return Term(path, fields, event_uid, "HOST/BOOT_ID/CPU/SEQ", whole=False)


def process_id(path: str, pid: str, start_ns: str) -> Term:
    """Let the identity of a process stand there."""
    fields = ("host", "boot_id", pid, start_ns)
    return Term(path, fields, process_uid(pid, start_ns), "HOST/BOOT_ID/PID-START_NS", whole=False)


def moment(path: str, field: str) -> Term:
    """Let a moment of CLOCK_BOOTTIME stand there as people write it."""
    return Term(path, (field,), iso(wall_of(field)), "ISO 8601, ns", whole=False)


def ending(path: str) -> Term:
    """Let it stand there how a process ended, in one number."""
    how = "with group_dead: status, or 128 + signal"
    return Term(path, ("status", "signal"), when_dead(exit_code), how, whole=False)


def error(path: str) -> Term:
    """Let the name of a failed call's error stand there."""
    return Term(path, ("errno",), error_name, "name, such as `EAGAIN`", whole=False)


def quoted(path: str) -> Term:
    """Let the command line stand there as one text."""
    return Term(path, ("argv",), command_line, "quoted for a shell")


# --- frames --------------------------------------------------------------------------------------


def nested(values: Mapping[str, Any], rest: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Return values as maps in maps, by the parts of their paths; the rest at ``at``."""
    whole: dict[str, Any] = {}
    for path, value in values.items():
        *outer, last = path.split(".")
        _inner(whole, outer)[last] = value
    if rest:
        whole[at] = dict(rest)
    return whole


def _inner(whole: dict[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    for part in parts:
        whole = whole.setdefault(part, {})
    return whole
