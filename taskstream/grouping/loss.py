"""Who lost events belong to: the kernel's table of losses, settled from interval to interval.

Pure: no I/O, no clock. The table is cumulative; what rose since the last look is charged. What no
entry has (the table was full, or the process could not be told) is nobody's, and counted in
``other``, so that the sums over the groups are those of the host.
"""

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import take
from taskstream.charge import Charges, stand_ins
from taskstream.message.columns import short_text
from taskstream.record import COUNTS, KINDS, PROCESS_KEY, PROCESS_LOSSES

__all__ = ["LossBook"]


class LossBook:
    """Remembers what was charged already."""

    def __init__(self) -> None:
        self._charged: dict[bytes, NDArray[np.int64]] = {}
        self._settled = np.zeros(len(COUNTS), np.int64)

    def settle(
        self, keys: NDArray[np.void], losses: NDArray[np.void], lost: NDArray[np.int64]
    ) -> tuple[Charges, NDArray[np.void]]:
        """Return what rose since the last look, and who lost nothing since then.

        Args:
            keys: ``PROCESS_KEY`` array of shape ``(n,)``.
            losses: ``PROCESS_LOSSES`` array of shape ``(n,)``, cumulative.
            lost: All that was lost since the start, by `COUNTS`, read after the table.

        Returns:
            The charges; and the keys that can be forgotten, a ``PROCESS_KEY`` array.
        """
        counts = losses["count"].astype(np.int64)
        before = [self._charged.get(key.tobytes()) for key in keys]
        known = [_NOTHING if b is None else b for b in before]
        rose = counts - np.array(known, np.int64).reshape(-1, _N)
        moved = rose.any(axis=1)
        for row in np.flatnonzero(moved).tolist():
            self._charged[keys[row].tobytes()] = counts[row]
        quiet = keys[~moved]
        for key in quiet:
            self._charged.pop(key.tobytes(), None)
        nobodys = np.maximum(lost - self._settled - rose.sum(axis=0), 0)
        self._settled += rose.sum(axis=0) + nobodys
        return Charges(*_stand_ins(keys[moved], losses[moved], rose[moved]), nobodys), quiet


_N = len(COUNTS)
_FORK, _EXEC = (
    next(i for i, count in enumerate(COUNTS) if count.name == name)
    for name in ("fork_process", "exec")
)
_NOTHING = np.zeros(_N, np.int64)


def _stand_ins(
    keys: NDArray[np.void], losses: NDArray[np.void], rose: NDArray[np.int64]
) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return an event for each process, and its counts: an exec where one was lost, else an exit.

    Before it comes its fork, if that was lost: it belongs to the group of the parent.
    """
    assert keys.dtype == PROCESS_KEY, keys.dtype
    assert losses.dtype == PROCESS_LOSSES, losses.dtype
    forked = np.flatnonzero(rose[:, _FORK])
    rows = np.concatenate([forked, np.arange(len(keys))])
    counts = rose[rows]
    counts[: len(forked), np.arange(_N) != _FORK] = 0
    counts[len(forked) :, _FORK] = 0
    kind = np.where(rose[rows, _EXEC] > 0, KINDS["exec"], KINDS["exit"])
    kind[: len(forked)] = KINDS["fork"]
    told = counts.any(axis=1)
    rows, kind, counts = rows[told], kind[told], counts[told]
    own = ("ppid", "parent_start_ns", "cgroup_id", "uid")
    records = stand_ins(
        tgid=keys["tgid"][rows],
        start_ns=keys["start_ns"][rows],
        kind=kind,
        comm=short_text(losses["comm"][rows])[0],
        **{name: losses[name][rows] for name in own},
    )
    # Oldest first: a shell is what its lost exec made of it before its children inherit.
    order = np.argsort(records["start_ns"], kind="stable")
    return take(records, order), counts[order]
