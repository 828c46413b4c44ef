"""Control groups of one test: made where the kernel has them mounted, removed at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["default_hierarchy", "named_hierarchy", "new_group", "pids_hierarchy"]


def _mounts() -> Iterator[tuple[Path, str, set[str]]]:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            yield Path(where), kind, set(options.split(","))


def default_hierarchy() -> Path | None:
    """Return where the v2 hierarchy is mounted."""
    return next((where for where, kind, _ in _mounts() if kind == "cgroup2"), None)


def named_hierarchy() -> tuple[Path, int] | None:
    """Return where the hierarchy is whose cgroups events name, and its number; 0 for v2."""
    if root := default_hierarchy():
        return root, 0
    for where, kind, options in _mounts():
        if kind == "cgroup" and "pids" in options:
            numbers = dict(line.split()[:2] for line in _lines("/proc/cgroups"))
            return where, int(numbers["pids"])
    return None


def _lines(path: str) -> list[str]:
    return [line for line in Path(path).read_text().splitlines() if not line.startswith("#")]


def pids_hierarchy() -> Path | None:
    """Return the directory under which a new group has ``pids.max``."""
    for where, kind, options in _mounts():
        if kind == "cgroup" and "pids" in options:
            return where
    root = default_hierarchy()
    if root is None or "pids" not in (root / "cgroup.controllers").read_text().split():
        return None
    if "pids" not in (root / "cgroup.subtree_control").read_text().split():
        return None
    return root


@contextmanager
def new_group(parent: Path) -> Iterator[Path]:
    """Make a group under ``parent``; whoever is in it at the end must be dead by then."""
    group = parent / f"taskstream-test-{os.getpid()}"
    group.mkdir()
    try:
        yield group
    finally:
        group.rmdir()
