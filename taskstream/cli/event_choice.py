"""Options that choose events of a capture, and how they become a `Selection`."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click

from taskstream.capture.reader import CaptureFile
from taskstream.cli.option import FILE_PATH
from taskstream.errors import CaptureError
from taskstream.record import KINDS
from taskstream.selection import Selection

__all__ = ["choice_options", "moment_ns", "selection_of"]

_OFFSET = re.compile(r"^\+(\d+(\.\d+)?)s?$")

_OPTIONS = (
    click.option(
        "--from",
        "begin",
        metavar="T",
        help="The first moment: +SECONDS from the capture's beginning, or an ISO 8601 time "
        "(of this time zone, unless it names another).",
    ),
    click.option("--until", "end", metavar="T", help="The first moment after; as --from."),
    click.option(
        "--kind",
        "kinds",
        multiple=True,
        type=click.Choice(list(KINDS)),
        help="Only events of this kind; it, and the next three, may be given many times.",
    ),
    click.option(
        "--comm",
        "comms",
        multiple=True,
        metavar="PATTERN",
        help="Only of tasks with this name; a pattern as in a shell.",
    ),
    click.option(
        "--cgroup",
        "cgroups",
        multiple=True,
        metavar="ID|PATTERN",
        help="Only of this cgroup: its id, or a pattern of its path.",
    ),
    click.option(
        "--uid",
        "uids",
        multiple=True,
        metavar="UID",
        type=click.IntRange(0, 2**32 - 1),
        help="Only of this real user id.",
    ),
)


def choice_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command; each but the times may be given many times."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def moment_ns(text: str, file: CaptureFile) -> int:
    """Return CLOCK_BOOTTIME, in the capture's host, of a moment that a user wrote.

    Raises:
        click.UsageError: it is no moment.
        CaptureError: the header, which has the clocks, is damaged.
    """
    if file.header is None:
        raise CaptureError(
            f"{file.name}: the header is damaged: without its clocks there is no --from, no --until"
        )
    clock = file.header.clock
    offset = _OFFSET.match(text)
    if offset:
        return clock.boot_ns + int(float(offset[1]) * 1e9)
    try:
        moment = datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise click.UsageError(
            f"{text!r} is no time: give +SECONDS, or one such as 2026-11-24T13:00:05"
        ) from None
    return round(moment.timestamp() * 1e9) - clock.offset_ns


def selection_of(
    files: Sequence[CaptureFile], *, begin: str | None, end: str | None, **members: Any
) -> Selection:
    """Make a selection of options; times are those of the first file's host."""
    from_ns = None if begin is None else moment_ns(begin, files[0])
    until_ns = None if end is None else moment_ns(end, files[0])
    if from_ns is not None and until_ns is not None and from_ns >= until_ns:
        raise click.UsageError("--from is not before --until")
    return Selection(from_ns=from_ns, until_ns=until_ns, **members)


FILES = click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=FILE_PATH)
"""Captures, one after another; ``-`` is standard input."""
