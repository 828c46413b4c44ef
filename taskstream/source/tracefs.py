"""Where the kernel's tracepoints are described: tracefs, found, or mounted if need be.

Rim: reads /proc/mounts and files of tracefs. Format files: Documentation/trace/events.rst.
"""

import ctypes
import os
import re
from pathlib import Path

from taskstream.errors import KernelError

__all__ = ["MOUNT_POINT", "field_offset", "find", "mount", "tracepoint_id"]

MOUNT_POINT = Path("/sys/kernel/tracing")
_PLACES = (MOUNT_POINT, Path("/sys/kernel/debug/tracing"))


def find() -> Path | None:
    """Return where tracepoints can be read; None if nowhere."""
    return next((place for place in _PLACES if _can_be_read(place / "events/sched")), None)


def _can_be_read(directory: Path) -> bool:
    """Try it: access(2) knows nothing of capabilities."""
    try:
        return any(directory.iterdir())
    except OSError:
        return False


def mount() -> None:
    """Mount tracefs at its usual place; it stays there.

    Raises:
        KernelError: with the kernel's reason alone.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(b"none", os.fsencode(MOUNT_POINT), b"tracefs", ctypes.c_ulong(0), None):
        raise KernelError(os.strerror(ctypes.get_errno()))


def tracepoint_id(category: str, name: str) -> int:
    """Return the number by which a perf event asks for a tracepoint.

    Raises:
        KernelError: with the reason alone: there is no such tracepoint, or no tracefs.
    """
    place = find()
    if place is None:
        raise KernelError("tracefs is not mounted, or may not be read")
    try:
        return int((place / "events" / category / name / "id").read_text())
    except OSError:
        raise KernelError(f"this kernel has no tracepoint {category}/{name}") from None


def field_offset(category: str, name: str, field: str) -> int | None:
    """Return where a tracepoint's record has a field, in bytes; None if it has none."""
    place = find()
    path = place / "events" / category / name / "format" if place else None
    try:
        text = path.read_text() if path else ""
    except OSError:
        return None
    found = re.search(rf"field:[^;]*\b{field}(?:\[\d*\])?;\s*offset:(\d+);", text)
    return int(found[1]) if found else None
