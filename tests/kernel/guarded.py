"""What a kernel does not show to BPF, told by ftrace.

Some kernels guard a process against tracing: the first one of a sandbox, with which its host
commands it. A task iterator leaves its tasks out, and no BPF program runs while one of them
is on the CPU: its forks make no event, nor do releases whose RCU callback interrupts it, and
no counter of misses tells. ftrace does see them. So a test that fails while such an event was
seen has met the guard, perhaps, and not a fault: it is run again. Other kernels guard nobody;
there nothing is ever run again.
"""

import os
from pathlib import Path

from taskstream.source.live import LiveOptions, LiveSource
from tests.kernel.host import task_ids

__all__ = ["Witness", "guarded_tasks"]

_TRACEFS = Path("/sys/kernel/tracing")
_EVENTS = (
    "sched/sched_process_free",
    "sched/sched_process_exit",
    "sched/sched_process_exec",
    "task/task_newtask",
)


def guarded_tasks() -> set[int]:
    """Return the pids of tasks that /proc has and the task iterator does not."""
    before = task_ids()
    with LiveSource(LiveOptions(), host="test-host") as source:
        shown = set(source.snapshot().records["pid"].tolist())
    return (before & task_ids()) - shown


class Witness:
    """Counts the lifecycle events that happen while one of some tasks is on the CPU."""

    def __init__(self, tasks: set[int]) -> None:
        self._instance = _TRACEFS / "instances" / f"taskstream-test-{os.getpid()}"
        self._instance.mkdir()
        self._last: list[str] = []
        (self._instance / "set_event_pid").write_text(" ".join(map(str, tasks)))
        for event in _EVENTS:
            (self._instance / "events" / event / "enable").write_text("1")

    def forget(self) -> None:
        """Begin to count anew."""
        if self._instance.exists():
            (self._instance / "trace").write_text("")

    def seen(self) -> list[str]:
        """Return the events since then, one line each; after `close`, those until then."""
        if not self._instance.exists():
            return self._last
        lines = (self._instance / "trace").read_text().splitlines()
        return [line for line in lines if not line.startswith("#")]

    def close(self) -> None:
        """Stop, and leave nothing in tracefs."""
        self._last = self.seen()
        (self._instance / "events" / "enable").write_text("0")
        self._instance.rmdir()
