"""The currency: a batch of records, and who made them.

A noun: no I/O, no clock. Every source yields batches and every sink takes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from taskstream.record import KINDS, RECORD

__all__ = [
    "Batch",
    "ExecText",
    "Label",
    "Labels",
    "Origin",
    "in_time_order",
    "join",
    "join_labels",
    "join_records",
    "put",
    "take",
    "time_order",
]

ExecText = tuple[bytes, bytes]
"""filename and argv of one exec, as the kernel has them: argv with a NUL after each argument."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One run of an agent on one boot of one host."""

    host: str
    boot_id: str
    run_ns: int


class Label(NamedTuple):
    """What an agent knows of a task beside its record; None for what it does not know.

    Attributes:
        cgroup: Path from the root of its hierarchy.
        container: Id of the container.
        service: Name of the systemd service, without suffix.
        app_group: Group of apps_groups.conf.
    """

    cgroup: str | None = None
    container: str | None = None
    service: str | None = None
    app_group: str | None = None

    @classmethod
    def of(cls, members: Any) -> "Label":
        """Read what a map says; what it leaves out is not known.

        Raises:
            TypeError: it is no map, or says what is no text.
        """
        if not isinstance(members, dict):
            raise TypeError(f"a label is {members!r}")
        texts = [members.get(name) for name in cls._fields]
        if not all(text is None or isinstance(text, str) for text in texts):
            raise TypeError(f"a label is {texts!r}")
        return cls(*texts)


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a batch's records.

    Attributes:
        table: Those that occur.
        rows: Index in ``table`` of each record's; shape ``(n,)``.
    """

    table: Sequence[Label]
    rows: NDArray[np.intp]

    def column(self, name: str) -> list[str | None]:
        """Return one member for each record."""
        values = [getattr(label, name) for label in self.table]
        return [values[row] for row in self.rows.tolist()]


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one origin.

    Attributes:
        origin: The run that made the records.
        records: ``RECORD`` array of shape ``(n,)``, n >= 0, in the order in which they came.
        wall_offset_ns: CLOCK_REALTIME minus CLOCK_BOOTTIME for these records.
        texts: filename and argv of exec records by ``(cpu, seq)``; none where they were lost.
        cgroups: id and path of the cgroups that came to be, in order; a path of None: it is
            gone. Those of the records are here or came before, where the source tells any.
        labels: None where nobody looked.
    """

    origin: Origin
    records: NDArray[np.void]
    wall_offset_ns: int
    texts: Mapping[tuple[int, int], ExecText] = field(default_factory=dict)
    cgroups: Sequence[tuple[int, str | None]] = ()
    labels: Labels | None = None

    def __post_init__(self) -> None:
        assert self.records.dtype == RECORD, self.records.dtype

    def __len__(self) -> int:
        return len(self.records)

    def part(self, rows: NDArray[np.intp] | slice) -> "Batch":
        """Return some of the records, with their texts and labels; without ``cgroups``."""
        records = self.records[rows] if isinstance(rows, slice) else take(self.records, rows)
        labels = self.labels and Labels(self.labels.table, self.labels.rows[rows])
        return Batch(self.origin, records, self.wall_offset_ns, self.texts, labels=labels)

    def of_kind(self, kind: str) -> NDArray[np.void]:
        """Return a copy of the records of one kind."""
        return take(self.records, np.flatnonzero(self.records["kind"] == KINDS[kind]))

    def to_arrow(self) -> Any:
        """Return a ``pyarrow.RecordBatch``: a column per member of an `event` message.

        What is not known is null. From there: ``polars.from_arrow(...)``, and
        ``.to_pandas(types_mapper=pandas.ArrowDtype)``, which keeps every number exact.

        Raises:
            ConfigError: pyarrow is not installed: ``pip install 'taskstream[arrow]'``.
        """
        # Not an import: the noun stays without its tables, for all who never ask.
        return import_module("taskstream.arrow").record_batch(self)


def take(records: NDArray[np.void], rows: NDArray[np.intp]) -> NDArray[np.void]:
    """Return a copy of some records.

    (Indexing a structured array copies field by field; this moves whole records, eight times
    as fast.)
    """
    opaque = records.view(f"V{RECORD.itemsize}")
    taken: NDArray[np.void] = opaque[rows].view(RECORD)
    return taken


def put(records: NDArray[np.void], rows: NDArray[np.intp], values: NDArray[np.void]) -> None:
    """Set some records, whole, as `take` takes them."""
    size = f"V{RECORD.itemsize}"
    records.view(size)[rows] = values.view(size)


def join_records(parts: Sequence[NDArray[np.void]]) -> NDArray[np.void]:
    """Return a copy of records one after another.

    (``np.concatenate`` would lay the fields out anew, side by side, where ours overlap.)
    """
    if not parts:
        return np.empty(0, RECORD)
    opaque = [part.view(f"V{RECORD.itemsize}") for part in parts]
    joined: NDArray[np.void] = np.concatenate(opaque).view(RECORD)
    return joined


def join(batches: Sequence[Batch]) -> Batch:
    """Return one batch of some, at least one, of one origin and clock pair; without ``cgroups``."""
    first = batches[0]
    if len(batches) == 1:
        return first
    records = join_records([batch.records for batch in batches])
    texts: dict[tuple[int, int], ExecText] = {}
    for batch in batches:
        texts |= batch.texts
    labels = join_labels([(batch.labels, len(batch)) for batch in batches])
    return Batch(first.origin, records, first.wall_offset_ns, texts, labels=labels)


def join_labels(parts: Sequence[tuple[Labels | None, int]]) -> Labels | None:
    """Return the labels of one record after another.

    Args:
        parts: Labels, and of how many records they are; those of a part without are unknown.
    """
    if all(labels is None for labels, _ in parts):
        return None
    numbers: dict[Label, int] = {}
    rows = []
    for labels, count in parts:
        labels = labels or Labels([Label()], np.zeros(count, np.intp))
        places = [numbers.setdefault(label, len(numbers)) for label in labels.table]
        rows.append(np.array(places, np.intp)[labels.rows])
    return Labels(list(numbers), np.concatenate(rows))


def time_order(records: NDArray[np.void]) -> NDArray[np.intp]:
    """Return the rows by boot_ns, then cpu and seq."""
    boot_ns = np.ascontiguousarray(records["boot_ns"])
    order = np.argsort(boot_ns, kind="stable")
    boot_ns = boot_ns[order]
    if (boot_ns[1:] > boot_ns[:-1]).all():
        return order
    return np.lexsort((records["seq"], records["cpu"], records["boot_ns"]))


def in_time_order(records: NDArray[np.void]) -> NDArray[np.void]:
    """Return a copy sorted by boot_ns, then cpu and seq."""
    return take(records, time_order(records))
