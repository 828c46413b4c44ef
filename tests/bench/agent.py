"""The agent as its user starts it: a process, seen from outside.

Rim: runs ``taskstream run``, reads its /proc entry, its CPU clock and its closing line.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["COMMAND", "SHAPES", "Agent", "Books", "environment"]

SHAPES = ("event", "batch")
COMMAND = (sys.executable, "-m", "taskstream", "run", "--config", os.devnull)

_LONGEST_S = 60
_BOOKS = re.compile(
    r"counted (?P<counted>[\d,]+) = read (?P<read>[\d,]+) \+ lost (?P<lost>[\d,]+); "
    r".*running tasks (?P<running>[\d,]+) .*= delivered (?P<delivered>[\d,]+)"
)


def environment() -> dict[str, str]:
    """Return the environment of an installed agent: compiled modules are kept."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


@dataclass(frozen=True, slots=True)
class Books:
    """The closing line.

    Attributes:
        counted: Events that the kernel side counted.
        lost: Of these, events for which the ring had no room.
        unpublished: Events and snapshot tasks that no broker acknowledged, lost ones included.
        missed: Runs that the kernel skipped, as the line tells them.
    """

    counted: int
    lost: int
    unpublished: int
    missed: int
    line: str

    @classmethod
    def of(cls, talk: str) -> Self:
        """Read the books from what an agent said."""
        found = _BOOKS.search(talk)
        if not found:
            raise RuntimeError(f"the agent said no closing line:\n{talk}")
        counted, _, lost, running, delivered = (int(n.replace(",", "")) for n in found.groups())
        skipped = re.search(r"uncounted: ([\d,]+)", talk)
        missed = int(skipped[1].replace(",", "")) if skipped else 0
        return cls(counted, lost, counted + running - delivered, missed, found[0])


class Agent:
    """A running agent; ready from the moment it is made."""

    def __init__(self, address: str, *options: str) -> None:
        words = [*COMMAND, "--bootstrap", address, *options]
        null, pipe = subprocess.DEVNULL, subprocess.PIPE
        self._process = subprocess.Popen(
            words, stdin=null, stdout=null, stderr=pipe, text=True, env=environment()
        )
        self._talk = ""
        self._ended = False
        while "publishing to" not in self._talk:
            assert self._process.stderr is not None
            line = self._process.stderr.readline()
            if not line:
                raise RuntimeError(f"the agent did not start:\n{self._talk}")
            self._talk += line

    def cpu_ns(self) -> int:
        """Return the CPU time of all its threads so far, in ns."""
        clock_id = ~self._process.pid << 3 | 2  # MAKE_PROCESS_CPUCLOCK, CPUCLOCK_SCHED
        return time.clock_gettime_ns(clock_id)

    def memory_kib(self, name: str) -> int:
        """Return a line of /proc/PID/status, such as VmRSS, in KiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
        assert found, name
        return int(found[1])

    def stop(self) -> tuple[Books, int]:
        """End it in good order; return its books and all its CPU time in ns."""
        self._ended = True
        self._process.send_signal(signal.SIGTERM)
        assert self._process.stderr is not None
        self._talk += self._process.stderr.read()
        _, status, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._process.stderr.close()
        return Books.of(self._talk), int((usage.ru_utime + usage.ru_stime) * 1e9)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if not self._ended:
            self._process.kill()
            self._process.communicate(timeout=_LONGEST_S)
