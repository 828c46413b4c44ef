"""What an agent knows of the task of each event beside its record: cgroup, container, app group.

Pure: no I/O, no clock.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Label, Labels
from taskstream.grouping.cgroup import CONTAINER
from taskstream.grouping.names import CgroupNames
from taskstream.record import FLAGS

__all__ = ["labels_of"]

_UNKNOWN = np.uint32(FLAGS["cgroup_unknown"].mask)
_GROUP_BITS = np.uint64(16)  # ids of cgroups are far from 2**48


def labels_of(
    records: NDArray[np.void],
    cgroups: CgroupNames,
    groups: tuple[NDArray[np.intp], Sequence[str]] | None,
) -> Labels:
    """Return the labels of records.

    Args:
        records: ``RECORD`` array of shape ``(n,)``.
        cgroups: Names of the cgroups.
        groups: The number of each record's app group, shape ``(n,)``, and the groups by number;
            None where nobody decided.
    """
    ids = np.where(records["flags"] & _UNKNOWN, np.uint64(0), records["cgroup_id"])
    codes = ids << _GROUP_BITS
    if groups is not None:
        codes |= groups[0].astype(np.uint64)
    distinct, rows = np.unique(codes, return_inverse=True)
    names = groups[1] if groups is not None else (None,)
    table = [_label(code >> 16, names[code & 0xFFFF], cgroups) for code in distinct.tolist()]
    return Labels(table, rows)


def _label(id_: int, app_group: str | None, cgroups: CgroupNames) -> Label:
    cgroup = cgroups.get(id_) if id_ else None
    if cgroup is None:
        return Label(app_group=app_group)
    container = cgroup.id if cgroup.kind == CONTAINER else None
    return Label(cgroup.path, container, cgroup.service or None, app_group)
