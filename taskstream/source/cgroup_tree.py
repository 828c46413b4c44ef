"""The cgroups that exist: one walk through the tree of the hierarchy whose cgroups events name.

Rim: reads the mounted hierarchy. A cgroup's id is the inode number of its directory (kernfs).
Events name cgroups of v2; where v1 alone is mounted, those of one of its controllers, for there
every task is in the root of v2.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taskstream.text import readable

__all__ = ["CONTROLLERS", "Hierarchy", "hierarchy", "mounted", "scan", "v1_controllers"]

CONTROLLERS = ("pids", "memory", "cpu", "devices")
"""Controllers of v1 in which systemd and engines make a cgroup for each service and container; the
first that is mounted is taken."""

_V2_TREES = ("sys/fs/cgroup/unified", "sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted hierarchy.

    Attributes:
        tree: Where.
        number: The kernel's; 0 for v2.
        controller: Of v1: the controller by which it is known.
        slot: Of v1: place of that controller in /proc/cgroups.
    """

    tree: Path
    number: int = 0
    controller: str = ""
    slot: int = 0


def hierarchy(root: Path = Path("/")) -> Hierarchy | None:
    """Return the hierarchy whose cgroups events name; None where none is mounted.

    Args:
        root: Of the file system to look at.
    """
    for tree in _V2_TREES:
        if (root / tree / "cgroup.controllers").exists():
            return Hierarchy(root / tree)
    points = v1_controllers(_read(root / "proc/self/mounts"))
    numbers = [line.split() for line in _read(root / "proc/cgroups").splitlines()[1:]]
    for controller in CONTROLLERS:
        for slot, (name, number, *_) in enumerate(numbers):
            if name == controller in points and int(number):
                tree_of = root / points[controller].lstrip("/")
                return Hierarchy(tree_of, int(number), controller, slot)
    return None


def v1_controllers(mounts: str) -> dict[str, str]:
    """Return where each controller of `CONTROLLERS` is mounted as v1.

    Args:
        mounts: As in /proc/self/mounts.
    """
    found = {}
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup":
            found.update({name: point for name in options.split(",") if name in CONTROLLERS})
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def mounted() -> Path | None:
    """Return where the hierarchy is mounted whose cgroups events name; None where none is."""
    found = hierarchy()
    return found.tree if found else None


def scan(tree: Path | None) -> Iterator[tuple[int, str]]:
    """Yield id and path of every cgroup, parents first; those that go meanwhile are left out.

    A path that is no UTF-8 is escaped.

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
        yield id_, readable(os.fsencode(path))
        waiting += [(directory / name, f"{path.rstrip('/')}/{name}") for name in below]
