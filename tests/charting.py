"""A known workload in a group, a service and a container, and an agent that counts it."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "CHILDREN",
    "CONTAINER",
    "EXPECTED",
    "FEW",
    "MARK",
    "MOMENT",
    "PLACES",
    "SERVICE",
    "TINY",
    "Agent",
    "freeze",
    "is_expected",
    "is_over",
    "overflow",
    "wait_for",
    "work",
]

CHILDREN = 97
MARK = f"q{os.getpid()}"  # whoever else runs these tests has another one
SERVICE = f"{MARK}-one"
CONTAINER = f"{os.getpid():08x}" * 8
MOMENT = f"{os.getpid() + 1:08x}" * 8
PLACES = {"service": f"system.slice/{SERVICE}.service", "container": f"docker/{CONTAINER}"}

# One shell, found by its name, and its children: all are in the group.
EXPECTED = {"fork_process": CHILDREN, "exec": CHILDREN + 1, "exit_process": CHILDREN + 1}

FEW = 5
"""Releases that a kernel may hide from BPF, where it hides any (see tests/kernel/guarded.py)."""

STILL_S = 10.0
"""For how long nothing new may come where a kernel hid events: what it hid does not come at all."""

TINY = "[ring]\nsize = 4096\n[stream]\nflush ms = 300\n[global]\n"
"""A configuration whose ring overflows."""


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@dataclass
class Agent:
    """A running agent.

    Attributes:
        process: It.
        out: What it prints.
        err: What it says.
        hidden: Tells which events the kernel hid from BPF (tests/kernel/guarded.py).
    """

    process: subprocess.Popen[str]
    out: Path
    err: Path
    hidden: Callable[[], list[str]] = list
    _counted: int = field(default=-1, init=False)
    _since_s: float = field(default=0.0, init=False)

    @property
    def intervals(self) -> list[dict[str, Any]]:
        lines = self.out.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def counts(self, dimension: str, group: str) -> Counter[str]:
        """Sum the counts of a group over the intervals so far."""
        found: Counter[str] = Counter()
        for interval in self.intervals:
            found.update(interval["groups"][dimension].get(group, {}))
        return found

    def give_up_if_hidden(self, counted: int) -> None:
        """Fail if the same number has been counted for long and the kernel hid events."""
        now_s = time.monotonic()
        if counted != self._counted:
            self._counted, self._since_s = counted, now_s
        elif now_s > self._since_s + STILL_S:
            hidden = self.hidden()
            assert not hidden, f"the kernel hid {len(hidden)} events from BPF: {hidden[:3]} ..."

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def is_expected(found: Counter[str], few: int) -> bool:
    """Tell whether counts are those of the workload; but for ``few`` releases, to the unit."""
    left = {name: count for name, count in found.items() if name != "free"}
    return left == EXPECTED and 0 <= CHILDREN + 1 - found["free"] <= few


def is_over(agent: Agent, dimension: str, group: str, times: int = 1) -> Callable[[], bool]:
    """Return what tells whether all of a group's processes are dead, since two intervals."""

    def over() -> bool:
        dead = times * (CHILDREN + 1)
        counted = agent.counts(dimension, group)["exit_process"]
        if counted < dead:
            agent.give_up_if_hidden(counted)
            return False
        return len(agent.intervals) >= seen.setdefault("intervals", len(agent.intervals) + 2)

    seen: dict[str, int] = {}
    return over


def work(folder: Path, place: Path | None = None, *, first: str = "") -> None:
    """Run the workload, in a cgroup of its own if one is given; `first` are builtins."""
    enter = f"echo $$ > {place}/cgroup.procs; exec" if place else "exec"
    loop = f"{first}i=0; while [ $i -lt {CHILDREN} ]; do {folder}/{MARK}_true; i=$((i + 1)); done"
    subprocess.run(["sh", "-c", f"{enter} {folder}/{MARK}_sh -c '{loop}'"], check=True)


def freeze(pid: int, folder: Path, place: Path | None = None, *, thaw: bool = True) -> None:
    """Run the workload while an agent is stopped, by the workload, and let it go on."""
    work(folder, place, first=f"kill -STOP {pid}; ")
    if thaw:
        os.kill(pid, signal.SIGCONT)


def overflow(agent: Agent, folder: Path, place: Path | None = None) -> None:
    """Run the workload while the agent reads nothing; wait until it has caught up.

    The workload stops it, when it has begun where it belongs: a process that moves to another
    cgroup unseen, or becomes another program, is charged as one of the two with all it lost.
    """
    freeze(agent.process.pid, folder, place, thaw=False)
    before = len(agent.intervals)
    agent.process.send_signal(signal.SIGCONT)
    wait_for(lambda: len(agent.intervals) > before)
