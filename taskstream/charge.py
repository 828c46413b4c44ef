"""Lost events and whose they were: a part of a report, so that every reader can count them.

A noun: no I/O, no clock. What is charged was read from the kernel's table of losses
(``taskstream.grouping.loss``); in a message it is a table of its own, a row per stand-in.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Label, Labels, join_labels, join_records, take
from taskstream.record import COUNTS, KIND_NAMES, KINDS, RECORD, VERSION
from taskstream.text import escape, unescape

__all__ = ["MOST_ROWS", "Charges", "stand_ins"]

MOST_ROWS = 4096
"""Stand-ins of one report, so that it stays far below the megabyte that brokers take."""

_NUMBERS = ("tgid", "start_ns", "ppid", "parent_start_ns", "cgroup_id", "uid")
_NAMES = tuple(count.name for count in COUNTS)


@dataclass(frozen=True, slots=True, eq=False)
class Charges:
    """Lost events to be counted now.

    Attributes:
        events: ``RECORD`` array of shape ``(n,)``: events that stand for the lost ones of a
            process, of the kind that decides its group; made by `stand_ins`.
        counts: For how many each stands, by `COUNTS`; ``int64`` of shape ``(n, len(COUNTS))``.
        nobodys: By `COUNTS`; those of no process that is known.
        labels: Of the events, as those of a batch; None where nobody looked.
    """

    events: NDArray[np.void]
    counts: NDArray[np.int64]
    nobodys: NDArray[np.int64]
    labels: Labels | None = None

    def __eq__(self, other: object) -> bool:
        """Tell whether both charge the same."""
        return isinstance(other, Charges) and self._bytes() == other._bytes()

    __hash__ = None  # type: ignore[assignment]

    def _bytes(self) -> tuple[object, ...]:
        labels = self.labels and [self.labels.table[row] for row in self.labels.rows.tolist()]
        return self.events.tobytes(), self.counts.tobytes(), self.nobodys.tobytes(), labels

    def __bool__(self) -> bool:
        """Tell whether anything is charged."""
        return bool(len(self.events) or self.nobodys.any())

    def parts(self, most: int = MOST_ROWS) -> Iterator["Charges"]:
        """Yield the same in portions, at least one; nobody's events are in the last."""
        ends = [*range(most, len(self.events), most), len(self.events)]
        for end in ends:
            rows = np.arange(max(0, (end - 1) // most * most), end)
            nobodys = self.nobodys if end == ends[-1] else np.zeros_like(self.nobodys)
            labels = self.labels and Labels(self.labels.table, self.labels.rows[rows])
            yield Charges(take(self.events, rows), self.counts[rows], nobodys, labels)

    @classmethod
    def join(cls, parts: Sequence["Charges"]) -> "Charges":
        """Return portions as one; at least one."""
        return cls(
            join_records([part.events for part in parts]),
            np.concatenate([part.counts for part in parts]),
            np.sum([part.nobodys for part in parts], axis=0),
            join_labels([(part.labels, len(part.events)) for part in parts]),
        )

    def to_map(self) -> dict[str, Any]:
        """Return what a report says of it."""
        events = self.events
        kinds = [KIND_NAMES[kind] for kind in events["kind"].tolist()]
        comms = [escape(comm.split(b"\0", 1)[0]) for comm in events["comm"].tolist()]
        numbers = [events[_MEMBERS.get(name, name)].tolist() for name in _NUMBERS]
        columns = [kinds, *numbers, comms, *self.counts.T.tolist()]
        names = ["as", *_NUMBERS, "comm", *_NAMES]
        map_: dict[str, Any] = {"nobodys": dict(zip(_NAMES, self.nobodys.tolist(), strict=True))}
        if self.labels is not None:
            used, rows = np.unique(self.labels.rows, return_inverse=True)
            map_["labels"] = [self.labels.table[number]._asdict() for number in used.tolist()]
            columns.append(rows.tolist())
            names.append("label")
        return {"fields": names, **map_, "rows": [list(row) for row in zip(*columns, strict=True)]}

    @classmethod
    def from_map(cls, map_: dict[str, Any]) -> "Charges":
        """Read what a report says.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: a member is missing or spoilt.
        """
        fields, rows = map_["fields"], map_["rows"]
        if not isinstance(fields, list) or not isinstance(rows, list):
            raise TypeError(f"charges are {map_!r}")
        listed = list(zip(*rows, strict=True)) or [()] * len(fields)
        columns = dict(zip(fields, listed, strict=True))
        events = stand_ins(
            kind=np.array([KINDS[kind] for kind in columns["as"]], np.uint8),
            comm=np.array([_comm(comm) for comm in columns["comm"]], "S16"),
            **{name: _whole(columns[name], RECORD[name].type) for name in _NUMBERS},
        )
        counts = np.zeros((len(rows), len(COUNTS)), np.int64)
        nobodys = np.zeros(len(COUNTS), np.int64)
        for at, name in enumerate(_NAMES):  # an older agent counted fewer things
            counts[:, at] = _whole(columns.get(name, (0,) * len(rows)), np.int64)
            nobodys[at] = _whole((map_["nobodys"].get(name, 0),), np.int64)[0]
        labels = None
        if "labels" in map_:
            table = [Label.of(members) for members in map_["labels"]]
            labels = Labels(table, _whole(columns["label"], np.intp))
            if (labels.rows >= len(table)).any():
                raise ValueError("a charge names a label that is not there")
        return cls(events, counts, nobodys, labels)


_MEMBERS = {"start_ns": "process_start_ns"}


def stand_ins(
    *, tgid: NDArray[Any], start_ns: NDArray[Any], **members: NDArray[Any]
) -> NDArray[np.void]:
    """Return events that stand for those that processes lost.

    Args:
        tgid: Of the processes, shape ``(n,)``.
        start_ns: CLOCK_BOOTTIME of their starts.
        members: Other members of the records: kind, ppid, parent_start_ns, cgroup_id, uid, comm.
    """
    records = np.zeros(len(tgid), RECORD)
    records["version"] = VERSION
    records["pid"] = records["tgid"] = tgid
    records["start_ns"] = records["process_start_ns"] = start_ns
    for name, values in members.items():
        records[name] = values
    return records


def _comm(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"comm is {text!r}")
    return unescape(text)


def _whole(values: tuple[Any, ...], dtype: Any) -> NDArray[Any]:
    """Return whole numbers that are not negative as an array."""
    if not set(map(type, values)) <= {int} or min(values, default=0) < 0:
        raise TypeError(f"what is no number of events, or of a process: {values!r}")
    return np.array(values, dtype)
