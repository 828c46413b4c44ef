"""The processes that run, and the app group of each: decided at exec, inherited at fork.

Pure: no I/O, no clock. A process is known by its identity, (tgid, process_start_ns), so a reused
pid is another process, and one that lived for a millisecond has its group as any other. Events
are taken in the order in which they came.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import compress
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import ExecText
from taskstream.grouping.apps import KEPT_NAMES, OTHER, AppGroups
from taskstream.grouping.identity import identities, identity, lies_within, tgid_of
from taskstream.record import FLAGS, KINDS

__all__ = ["ProcessTable"]

GRACE_NS = 2_000_000_000
"""How long a released process is remembered: its threads may be told of later than itself."""

TICK_NS = 10_000_000
"""How far a start time from /proc may lie from the kernel's own, at most (USER_HZ is 100)."""

_LOOK, _FREE, _FORK, _EXEC, _TOLD = range(5)  # from _FORK on, it decides; _TOLD: by the rules
_THREAD, _COARSE = FLAGS["thread"].mask, FLAGS["start_coarse"].mask

Texts = Mapping[tuple[int, int], ExecText]


class ProcessTable:
    """Knows the app group of each process.

    Args:
        rules: The app groups.
        limit: How many processes are kept; beyond it, the released ones go first, then those
            that were met first.

    Attributes:
        names: Groups by number; a number stays its group's, whatever rules come later.
        forgotten: Processes that were forgotten before they were released.
    """

    def __init__(self, rules: AppGroups, *, limit: int = 32_768) -> None:
        self.names: list[str] = [OTHER]
        self.forgotten = 0
        self._limit = limit
        self._groups: dict[int, int] = {}
        self._coarse: dict[int, tuple[int, int]] = {}
        self._released: deque[tuple[int, list[int]]] = deque()
        self.use(rules)

    def __len__(self) -> int:
        return len(self._groups) + len(self._coarse)

    def use(self, rules: AppGroups) -> None:
        """Decide by other rules from now on; what was decided stays until `meet` or an exec."""
        self._rules = rules
        self._numbers: dict[str | None, int] = {None: -1}
        self._numbers |= {name: number for number, name in enumerate(self.names)}
        for name in rules.groups:
            self.number(name)
        self._by_name = _ByName(rules, self._numbers)

    def number(self, name: str) -> int:
        """Return the number of a group, which no rule needs to name."""
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]

    def clear(self) -> None:
        """Forget every process, for what happens next is not told."""
        self._groups.clear()
        self._coarse.clear()
        self._released.clear()

    # --- processes that run already ---

    def meet(self, running: NDArray[np.void], cmdlines: Mapping[int, bytes]) -> None:
        """Decide for processes that run already, or decide anew for all by other rules.

        Args:
            running: ``task`` records; threads among them do not matter.
            cmdlines: Arguments by tgid, with a NUL after each, as /proc/PID/cmdline has them.
        """
        leaders = running[running["flags"] & _THREAD == 0]
        tgids = leaders["tgid"].tolist()
        parents = dict(zip(tgids, leaders["ppid"].tolist(), strict=True))
        comms = dict(zip(tgids, leaders["comm"].tolist(), strict=True))
        matched = {t: self._match(comm, cmdlines.get(t)) for t, comm in comms.items()}
        known = {tgid_of(key): key for key in self._groups}
        for tgid, key, start_ns, flags in zip(
            tgids,
            identities(leaders["tgid"], leaders["process_start_ns"]).tolist(),
            leaders["process_start_ns"].tolist(),
            leaders["flags"].tolist(),
            strict=True,
        ):
            group = _inherited(tgid, matched, parents)
            if not flags & _COARSE:
                self._groups[key] = group
            elif tgid in known and lies_within(known[tgid], key, TICK_NS):
                self._groups[known[tgid]] = group
            else:
                self._coarse[tgid] = start_ns, group

    def _match(self, comm: bytes, argv: bytes | None) -> int:
        """Return the number of the group that the rules say; -1 where they say none."""
        return self._numbers[self._rules.match(comm, argv)]

    # --- events ---

    def assign(self, records: NDArray[np.void], texts: Texts) -> NDArray[np.intp]:
        """Return the number of the group of each event's process, and learn from the events.

        Args:
            records: ``RECORD`` array of shape ``(n,)``, in the order in which they came.
            texts: filename and argv of execs, by ``(cpu, seq)``.
        """
        keys = identities(records["tgid"], records["process_start_ns"]).tolist()
        sources = identities(records["ppid"], records["parent_start_ns"]).tolist()
        acts = _acts_of(records)
        for row, number in self._decided(records, acts, texts):
            acts[row], sources[row] = _TOLD, number
        groups = self._groups
        found: list[int] = []
        for act, key, source in zip(acts, keys, sources, strict=True):
            try:
                if act < _FORK:
                    group = groups[key]
                else:
                    group = groups[key] = source if act == _TOLD else groups[source]
            except KeyError:
                if act < _FORK:
                    group = self._unknown(records[len(found)])
                else:
                    group = groups[key] = self._parent_of(records[len(found)])
            found.append(group)
        self._release(acts, keys, records["boot_ns"])
        return _array(found)

    def of(self, running: NDArray[np.void]) -> NDArray[np.intp]:
        """Return the number of the group of each running task, of those that were met."""
        keys = identities(running["tgid"], running["process_start_ns"]).tolist()
        return np.fromiter(
            (
                self._groups.get(key, self._coarse.get(tgid, (0, 0))[1])
                for key, tgid in zip(keys, running["tgid"].tolist(), strict=True)
            ),
            np.intp,
            len(keys),
        )

    def _decided(
        self, records: NDArray[np.void], acts: bytearray, texts: Texts
    ) -> Iterable[tuple[int, int]]:
        """Return the row of each exec whose group the rules say, and the group's number."""
        if _EXEC not in acts:
            return ()
        execs = (np.frombuffer(acts, np.uint8) == _EXEC).nonzero()[0]
        comms = records["comm"][execs].tolist()
        if len(texts) > len(execs):  # of other batches, too
            texts = {place: texts[place] for place in _places(records, execs) if place in texts}
        present = self._rules.present_in(map(_ARGV, texts.values()))
        if present:
            argvs = [texts.get(place, (None, None))[1] for place in _places(records, execs)]
            matched = self._rules.match_all(comms, argvs, present)
            numbers = [self._numbers[name] for name in matched]
        else:
            numbers = list(map(self._by_name.__getitem__, comms))
        if max(numbers) < 0:
            return ()
        return [pair for pair in zip(execs.tolist(), numbers, strict=True) if pair[1] >= 0]

    def _parent_of(self, fork: np.void) -> int:
        """Return the group of a parent that no event told of; its child has its name."""
        tgid, start_ns = int(fork["ppid"]), int(fork["parent_start_ns"])
        if not start_ns:  # not told for certain: nobody to remember
            return 0
        group = self._adopt(tgid, start_ns)
        if group is None:
            group = max(0, self._match(fork["comm"], None))
            self._groups[identity(tgid, start_ns)] = group
        return group

    def _unknown(self, record: np.void) -> int:
        """Return the group of a process that no event told of."""
        tgid, start_ns = int(record["tgid"]), int(record["process_start_ns"])
        if not start_ns:  # not told for certain: nobody to remember
            return 0
        group = self._groups.get(identity(tgid, start_ns))  # an event before told of it
        if group is None:
            group = self._adopt(tgid, start_ns)
        if group is None:
            group = self._match(record["comm"], None)
            if group < 0:
                parent = identity(int(record["ppid"]), int(record["parent_start_ns"]))
                group = self._groups.get(parent, 0)
            self._groups[identity(tgid, start_ns)] = group
        return group

    def _adopt(self, tgid: int, start_ns: int) -> int | None:
        """Move a process of /proc, whose start is known by the tick, to its exact identity."""
        coarse_ns, group = self._coarse.get(tgid, (0, 0))
        if not coarse_ns or not 0 <= start_ns - coarse_ns < TICK_NS:
            return None
        del self._coarse[tgid]
        self._groups[identity(tgid, start_ns)] = group
        return group

    # --- the end of processes ---

    def _release(self, acts: bytearray, keys: list[int], boot_ns: NDArray[np.uint64]) -> None:
        """Take note of released processes; forget those of a while ago, and what is too many."""
        freed = list(compress(keys, acts.translate(_IS_FREE)))
        if freed:
            self._released.append((int(boot_ns[acts.rfind(_FREE)]), freed))
        newest_ns = int(boot_ns[-1]) if len(boot_ns) else 0
        while self._released and (
            self._released[0][0] < newest_ns - GRACE_NS or len(self._groups) > self._limit
        ):
            for key in self._released.popleft()[1]:
                self._groups.pop(key, None)
        while len(self._groups) > self._limit:
            self._groups.pop(next(iter(self._groups)))
            self.forgotten += 1


class _ByName(dict[bytes, int]):
    """The number of the group of each name alone, -1 where no rule says one; found but once."""

    def __init__(self, rules: AppGroups, numbers: Mapping[str | None, int]) -> None:
        super().__init__()
        self._rules, self._numbers = rules, numbers

    def __missing__(self, comm: bytes) -> int:
        if len(self) >= KEPT_NAMES:
            self.clear()
        self[comm] = self._numbers[self._rules.match(comm)]
        return self[comm]


def _act_table(**acts: int) -> bytes:
    """Return what a record means for the table, by its kind."""
    table = bytearray([_LOOK]) * 256
    for kind, act in acts.items():
        table[KINDS[kind]] = act
    return bytes(table)


_OF_LEADERS = _act_table(fork=_FORK, exec=_EXEC, free=_FREE)
_OF_THREADS = _act_table(exec=_EXEC)  # their forks make no process, their releases end none
_IS_FREE = bytes(act == _FREE for act in range(256))
_ARGV = itemgetter(1)  # of an `ExecText`


def _acts_of(records: NDArray[np.void]) -> bytearray:
    """Return what each record means for the table."""
    kinds = records["kind"].tobytes()
    acts = kinds.translate(_OF_LEADERS)
    threads = records["pid"] != records["tgid"]
    if b"\1" in threads.tobytes():  # of a few hundred, `any` takes longer
        of_threads = np.frombuffer(kinds.translate(_OF_THREADS), np.uint8)
        acts = np.where(threads, of_threads, np.frombuffer(acts, np.uint8)).tobytes()
    return bytearray(acts)


def _array(numbers: list[int]) -> NDArray[np.intp]:
    """Make an array of numbers, by way of bytes where they are small: at a third of the cost."""
    try:
        return np.frombuffer(bytes(numbers), np.uint8).astype(np.intp)
    except ValueError:
        return np.array(numbers, np.intp)


def _places(records: NDArray[np.void], execs: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    """Return where the texts of execs are."""
    return zip(records["cpu"][execs].tolist(), records["seq"][execs].tolist(), strict=True)


def _inherited(tgid: int, matched: Mapping[int, int], parents: Mapping[int, int]) -> int:
    """Return the group that the rules say of a process or else of its nearest ancestor."""
    seen = set()
    while tgid in matched and tgid not in seen:
        if matched[tgid] >= 0:
            return matched[tgid]
        seen.add(tgid)
        tgid = parents[tgid]
    return 0
