"""A record of the second ring: filename and argv of an exec, or the name of a cgroup.

No I/O. The layout is that of ``args`` in ``schemas/task_event.toml``.
"""

import struct
from typing import NamedTuple

from taskstream.batch import ExecText
from taskstream.record import ARGS_HEADER, NO_CPU

__all__ = ["ArgsRecord", "CgroupRecord", "parse"]

_HEAD = struct.Struct(
    "<" + "".join("_BH_I___Q"[ARGS_HEADER[name].itemsize] for name in ARGS_HEADER.names or ())
)


class ArgsRecord(NamedTuple):
    """What belongs to the exec event with this number."""

    place: tuple[int, int]
    text: ExecText


class CgroupRecord(NamedTuple):
    """A cgroup that came to be, with its path, or that is gone."""

    id: int
    path: bytes
    gone: bool


def parse(raw: bytes) -> ArgsRecord | CgroupRecord | None:
    """Return what a record says; None if its lengths lead past its end.

    Args:
        raw: As it was submitted; more bytes may follow.
    """
    if len(raw) < _HEAD.size:
        return None
    seq, cpu, filename_bytes, args_bytes = _HEAD.unpack_from(raw)
    middle = _HEAD.size + filename_bytes
    first = raw[_HEAD.size : middle]
    if cpu == NO_CPU:  # seq is the id of a cgroup, args_bytes whether it is gone
        return CgroupRecord(seq, first, bool(args_bytes)) if middle <= len(raw) else None
    if middle + args_bytes > len(raw):
        return None
    return ArgsRecord((cpu, seq), (first, raw[middle : middle + args_bytes]))
