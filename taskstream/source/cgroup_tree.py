"""The cgroups that exist: one walk through the v2 tree.

Rim: reads the mounted hierarchy. A cgroup's id is the inode number of its directory (kernfs).
"""

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["mounted", "scan"]

_TREES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


def mounted() -> Path | None:
    """Return where the v2 hierarchy is mounted; None where it is not."""
    return next((tree for tree in _TREES if (tree / "cgroup.controllers").exists()), None)


def scan(tree: Path | None) -> Iterator[tuple[int, str]]:
    """Yield id and path of every cgroup, parents first; those that go meanwhile are left out.

    Args:
        tree: Where the hierarchy is mounted; None yields nothing.
    """
    if tree is None:
        return
    waiting = [(tree, "/")]
    while waiting:
        directory, path = waiting.pop()
        try:
            id_ = directory.stat().st_ino
            with os.scandir(directory) as entries:
                below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue
        yield id_, path
        waiting += [(directory / name, f"{path.rstrip('/')}/{name}") for name in below]
