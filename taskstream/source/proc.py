"""The running tasks as /proc tells them, for kernels without a task iterator.

Rim: reads /proc and the cgroup tree. Start times are in clock ticks there, so the records
carry ``start_coarse``: good for a match within one tick at the same pid, no better. A task
that ends while it is read is left out. Fields of stat: proc(5).
"""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskstream.record import FLAGS, KINDS, RECORD, VERSION
from taskstream.source import cgroup_tree

__all__ = ["cmdlines", "is_zombie", "running_tasks"]

_PF_KTHREAD = 0x00200000
_PF_WORKER = 0x00000010 | 0x00004000


def running_tasks(proc: Path = Path("/proc")) -> NDArray[np.void]:
    """Return one ``task`` record per task, without cpu and seq.

    Args:
        proc: The /proc of the initial pid namespace.
    """
    hierarchy = cgroup_tree.hierarchy()
    number = hierarchy.number if hierarchy else 0
    cgroup_ids: dict[str, int | None] = {}
    tasks: list[dict[str, Any]] = []
    for process in proc.iterdir():
        if process.name.isdigit():
            tasks += _tasks_of(process, number)
    starts = {task["tgid"]: task["start_ns"] for task in tasks if task["pid"] == task["tgid"]}
    records = np.zeros(len(tasks), RECORD)
    for record, task in zip(records, tasks, strict=True):
        task["process_start_ns"] = starts.get(task["tgid"], task["start_ns"])
        task["parent_start_ns"] = starts.get(task["ppid"], 0)
        if task["ppid"] and task["ppid"] not in starts:
            task["flags"] |= FLAGS["parent_unknown"].mask
        path = task.pop("cgroup")
        if path not in cgroup_ids:
            cgroup_ids[path] = _inode(hierarchy.tree, path) if hierarchy else None
        cgroup_id = cgroup_ids[path]
        task["cgroup_id"] = cgroup_id or 0
        if cgroup_id is None:
            task["flags"] |= FLAGS["cgroup_unknown"].mask
        for name, value in task.items():
            record[name] = value
    records["version"] = VERSION
    records["kind"] = KINDS["task"]
    return records


def cmdlines(tgids: Iterable[int], proc: Path = Path("/proc")) -> dict[int, bytes]:
    """Return the arguments of processes, with a NUL after each; none of those that are gone."""
    found = {}
    for tgid in tgids:
        try:
            found[tgid] = (proc / str(tgid) / "cmdline").read_bytes()
        except OSError:
            continue
    return found


def is_zombie(tgid: int, proc: Path = Path("/proc")) -> bool:
    """Tell whether a process is dead and not released at this moment."""
    try:
        raw = (proc / str(tgid) / "stat").read_bytes()
    except OSError:
        return False
    return raw[raw.rindex(b")") + 2 :][:1] == b"Z"


def _tasks_of(process: Path, hierarchy: int) -> Iterator[dict[str, Any]]:
    try:
        for task in (process / "task").iterdir():
            try:
                yield _read_task(task, hierarchy)
            except (OSError, ValueError, KeyError):
                continue  # it ended while it was read
    except OSError:
        return


def _read_task(task: Path, hierarchy: int) -> dict[str, Any]:
    raw = (task / "stat").read_bytes()
    comm = raw[raw.index(b"(") + 1 : raw.rindex(b")")]
    stat = raw[raw.rindex(b")") + 2 :].split()
    status = dict(
        line.split(":", 1) for line in (task / "status").read_text(errors="replace").splitlines()
    )
    process_flags = int(stat[6])
    inner_pids = status["NSpid"].split()
    inner_tgids = status["NStgid"].split()
    pid, tgid = int(task.name), int(status["Tgid"])
    flags = FLAGS["start_coarse"].mask
    flags |= FLAGS["thread"].mask if pid != tgid else 0
    flags |= FLAGS["zombie"].mask if stat[0] in (b"Z", b"X") else 0
    if process_flags & _PF_KTHREAD:
        flags |= FLAGS["kernel_thread"].mask
    elif process_flags & _PF_WORKER:
        flags |= FLAGS["io_worker"].mask
    if tgid == os.getpid() or int(stat[1]) == os.getpid():
        flags |= FLAGS["agent"].mask
    try:
        pidns = (task / "ns" / "pid").stat().st_ino
    except OSError:
        pidns, flags = 0, flags | FLAGS["pidns_unknown"].mask
    return {
        "boot_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        "pid": pid,
        "tgid": tgid,
        "ppid": int(stat[1]),
        "start_ns": int(stat[19]) * (10**9 // os.sysconf("SC_CLK_TCK")),
        "uid": int(status["Uid"].split()[0]),
        "gid": int(status["Gid"].split()[0]),
        "pidns": pidns,
        "pidns_pid": int(inner_pids[-1]),
        "pidns_tgid": int(inner_tgids[-1]),
        "comm": comm[:15],
        "flags": flags,
        "cgroup": _cgroup_path(task, hierarchy),
    }


def _cgroup_path(task: Path, hierarchy: int) -> str:
    """Return the task's path in a hierarchy, by its number; empty where there is none."""
    for line in os.fsdecode((task / "cgroup").read_bytes()).split("\n"):
        if line.startswith(f"{hierarchy}:"):
            return line.split(":", 2)[2]
    return ""


def _inode(tree: Path, path: str) -> int | None:
    if not path:
        return None
    try:
        return (tree / path.lstrip("/")).stat().st_ino
    except OSError:
        return None
