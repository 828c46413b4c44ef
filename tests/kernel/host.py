"""What the kernel says elsewhere than in BPF: /proc, and clocks read around an action."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

__all__ = [
    "TICK_NS",
    "Task",
    "at_rest",
    "descriptors",
    "forks_since_boot",
    "pid_namespace",
    "running_tasks",
    "task_ids",
]

T = TypeVar("T")

PF_KTHREAD = 0x00200000
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def forks_since_boot() -> int:
    """Return ``processes`` of /proc/stat: tasks (threads too) created, without loss."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("processes "):
            return int(line.split()[1])
    raise AssertionError("/proc/stat has no line `processes`")


def at_rest(rising: Callable[[], int], other: Callable[[], T]) -> tuple[int, T]:
    """Read two numbers at a moment when the first does not move: the same before and after."""
    while True:
        before = rising()
        value = other()
        if rising() == before:
            return before, value


@dataclass(frozen=True)
class Task:
    """A task as /proc/PID/task/TID tells it; start in clock ticks since boot."""

    pid: int
    tgid: int
    ppid: int
    uid: int
    gid: int
    start_ticks: int
    kernel_thread: bool
    comm: bytes
    namespace: int
    inner_pid: int
    inner_tgid: int


def _task(directory: Path) -> Task:
    stat = (directory / "stat").read_bytes()
    comm = stat[stat.index(b"(") + 1 : stat.rindex(b")")]
    numbers = stat[stat.rindex(b")") + 2 :].split()
    status = dict(line.split(":\t", 1) for line in (directory / "status").read_text().splitlines())
    return Task(
        pid=int(status["Pid"]),
        tgid=int(status["Tgid"]),
        ppid=int(status["PPid"]),
        uid=int(status["Uid"].split()[0]),
        gid=int(status["Gid"].split()[0]),
        start_ticks=int(numbers[19]),
        kernel_thread=bool(int(numbers[6]) & PF_KTHREAD),
        comm=comm,
        namespace=(directory / "ns/pid").stat().st_ino,
        inner_pid=int(status["NSpid"].split()[-1]),
        inner_tgid=int(status["NStgid"].split()[-1]),
    )


def task_ids() -> set[int]:
    """Return the pid of every task of the host."""
    return {int(directory.name) for directory in Path("/proc").glob("[0-9]*/task/[0-9]*")}


def running_tasks() -> set[Task]:
    """Read every task of the host from /proc.

    Left out are those that end meanwhile, and those that root may not look into: what the
    kernel guards so (as the first process of some sandboxes) it does not show to BPF either.
    """
    tasks = set()
    for directory in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        try:
            tasks.add(_task(directory))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return tasks


def pid_namespace(pid: int | str = "self") -> int:
    """Return the inode number of a live process's pid namespace."""
    return Path(f"/proc/{pid}/ns/pid").stat().st_ino


def descriptors() -> dict[int, str]:
    """Return what is open in this process, by number, but for pipes, sockets and their like.

    Clients of a broker that an earlier test left to the garbage collector open and close those.
    """
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found[int(path.name)] = os.fspath(path.readlink())
    passing = ("pipe:", "socket:", "anon_inode:[event")
    return {number: what for number, what in found.items() if not what.startswith(passing)}
