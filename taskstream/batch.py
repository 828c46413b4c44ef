"""The currency: a batch of records, and who made them.

A noun: no I/O, no clock. Every source yields batches and every sink takes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taskstream.record import KINDS, RECORD

__all__ = ["Batch", "ExecText", "Origin", "in_time_order", "join_records", "take"]

ExecText = tuple[bytes, bytes]
"""filename and argv of one exec, as the kernel has them: argv with a NUL after each argument."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One run of an agent on one boot of one host."""

    host: str
    boot_id: str
    run_ns: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one origin.

    Attributes:
        origin: The run that made the records.
        records: ``RECORD`` array of shape ``(n,)``, n >= 0, in the order in which they came.
        wall_offset_ns: CLOCK_REALTIME minus CLOCK_BOOTTIME for these records.
        texts: filename and argv of exec records by ``(cpu, seq)``; none where they were lost.
        cgroups: id and path of the v2 cgroups that came to be, in order; a path of None: it is
            gone. Those of the records are here or came before, where the source tells any.
    """

    origin: Origin
    records: NDArray[np.void]
    wall_offset_ns: int
    texts: Mapping[tuple[int, int], ExecText] = field(default_factory=dict)
    cgroups: Sequence[tuple[int, str | None]] = ()

    def __post_init__(self) -> None:
        assert self.records.dtype == RECORD, self.records.dtype

    def __len__(self) -> int:
        return len(self.records)

    def of_kind(self, kind: str) -> NDArray[np.void]:
        """Return a copy of the records of one kind."""
        return take(self.records, np.flatnonzero(self.records["kind"] == KINDS[kind]))


def take(records: NDArray[np.void], rows: NDArray[np.intp]) -> NDArray[np.void]:
    """Return a copy of some records.

    (Indexing a structured array copies field by field; this moves whole records, eight times
    as fast.)
    """
    opaque = records.view(f"V{RECORD.itemsize}")
    taken: NDArray[np.void] = opaque[rows].view(RECORD)
    return taken


def join_records(parts: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Return a copy of records one after another.

    (``np.concatenate`` would lay the fields out anew, side by side, where ours overlap.)
    """
    if not parts:
        return np.empty(0, RECORD)
    opaque = [part.view(f"V{RECORD.itemsize}") for part in parts]
    joined: NDArray[np.void] = np.concatenate(opaque).view(RECORD)
    return joined


def in_time_order(records: NDArray[np.void]) -> NDArray[np.void]:
    """Return a copy sorted by boot_ns, then cpu and seq."""
    return take(records, np.lexsort((records["seq"], records["cpu"], records["boot_ns"])))
