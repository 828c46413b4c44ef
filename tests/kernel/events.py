"""The records of one recording, chosen and counted.

Pure. A test selects what its own workload did by identity, never by a quiet machine: the
family of a process is every task that descends from it, each known by pid and start_ns.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import ExecText, in_time_order, take
from taskstream.record import CALLS, FLAGS, KIND_NAMES, KINDS

__all__ = ["Events", "Identity", "call_name"]

_CALL_NAMES = {value: name for name, value in CALLS.items()}

Identity = tuple[int, int]


def call_name(value: int) -> str:
    """Return the name of a ``call`` value."""
    return _CALL_NAMES[value]


@dataclass(frozen=True)
class Events:
    """Records in the order of time, with the texts of their execs."""

    records: NDArray[np.void]
    texts: Mapping[tuple[int, int], ExecText] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[np.void]:
        return iter(self.records)

    def __getitem__(self, column: str) -> list[Any]:
        return self.records[column].tolist()

    def _chosen(self, mask: NDArray[np.bool_]) -> Self:
        return type(self)(take(self.records, np.flatnonzero(mask)), self.texts)

    def of(self, kind: str, **values: int | bytes) -> Self:
        """Choose one kind, and in it the records whose columns have these values."""
        mask = self.records["kind"] == KINDS[kind]
        for name, value in values.items():
            mask = mask & (self.records[name] == value)
        return self._chosen(mask)

    def one(self, kind: str, **values: int | bytes) -> np.void:
        """Return the only record of ``of(...)``."""
        found = self.of(kind, **values)
        assert len(found) == 1, f"{len(found)} {kind} events with {values}, not 1"
        return found.records[0]

    def with_flag(self, name: str) -> Self:
        """Choose the records that have a flag."""
        return self._chosen((self.records["flags"] & FLAGS[name].mask) != 0)

    def without_flag(self, name: str) -> Self:
        """Choose the records that do not have a flag."""
        return self._chosen((self.records["flags"] & FLAGS[name].mask) == 0)

    def without_task(self, pid: int) -> Self:
        """Leave out the events of one task."""
        return self._chosen(self.records["pid"] != pid)

    def count(self) -> dict[str, int]:
        """Count the records by kind; a kind without records is not there."""
        counted = Counter(self.records["kind"].tolist())
        return {KIND_NAMES[kind]: n for kind, n in sorted(counted.items())}

    def tasks(self) -> list[Identity]:
        """Return the identity (pid, start_ns) of every record's subject."""
        return list(zip(self["pid"], self["start_ns"], strict=True))

    def processes(self) -> list[Identity]:
        """Return the identity (tgid, process_start_ns) of every record's process."""
        return list(zip(self["tgid"], self["process_start_ns"], strict=True))

    def numbers(self, cpu: int) -> list[int]:
        """Return the seq numbers of one CPU, in order."""
        return sorted(self.records["seq"][self.records["cpu"] == cpu].tolist())

    def text(self, record: np.void) -> ExecText:
        """Return filename and argv of an exec."""
        return self.texts[int(record["cpu"]), int(record["seq"])]

    def family(self, root: np.void) -> Self:
        """Choose the events of a process and all who descend from it.

        A new task belongs to the family when its process, its parent or its caller does.

        Args:
            root: The fork event of the process.
        """
        tasks = {(int(root["pid"]), int(root["start_ns"]))}
        processes = set(tasks)
        callers = {int(root["tgid"])}
        forks = Events(in_time_order(self.of("fork").records))
        parents = zip(forks["ppid"], forks["parent_start_ns"], strict=True)
        rows = zip(forks.tasks(), forks.processes(), parents, forks["caller_tgid"], strict=True)
        for task, process, parent, caller in rows:
            if process in processes or parent in processes or caller in callers:
                tasks.add(task)
                processes.add(process)
                callers.add(process[0])
            elif process[0] in callers:
                callers.remove(process[0])  # that pid is somebody else's by now
        pairs = zip(self.tasks(), self.processes(), strict=True)
        return self._chosen(
            np.array([task in tasks or process in processes for task, process in pairs], np.bool_)
        )
