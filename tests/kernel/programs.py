"""The workloads: C programs that do a known thing and print what they did.

They are compiled when first asked for. Each line of their output is a fact: a name, then
numbers, as in ``child PID STATUS ...`` for a process that was reaped.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Programs", "Reaped", "Run", "Running"]

SOURCES = Path(__file__).parent / "workload"
_FLAGS = ["-O2", "-D_GNU_SOURCE", "-static", "-pthread", "-Wall", "-Werror"]


@dataclass(frozen=True)
class Reaped:
    """What wait4 told a workload about a child; times in us, memory in KiB, I/O in 512 bytes."""

    pid: int
    status: int
    time_us: int
    max_rss_kib: int
    minor_faults: int
    major_faults: int
    blocks_in: int
    blocks_out: int
    voluntary_switches: int
    involuntary_switches: int


@dataclass(frozen=True)
class Run:
    """A workload that has ended."""

    pid: int
    output: bytes

    def all(self, name: str) -> list[tuple[int, ...]]:
        """Return the numbers of every fact of one name."""
        lines = [line.split() for line in self.output.decode().splitlines()]
        return [tuple(map(int, numbers)) for word, *numbers in lines if word == name]

    def one(self, name: str) -> int:
        """Return the only number of the only fact of one name."""
        (numbers,) = self.all(name)
        (number,) = numbers
        return number

    @property
    def children(self) -> list[Reaped]:
        """The children that the workload reaped, in order."""
        return [Reaped(*numbers) for numbers in self.all("child")]


class Running:
    """A workload under way; it waits for input at a place that its source tells."""

    def __init__(self, argv: Sequence[str], **options: object) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, **options)  # type: ignore[call-overload]
        self.pid: int = self._process.pid
        self._output = b""

    def fact(self) -> tuple[str, list[int]]:
        """Read the next line."""
        line = self._process.stdout.readline()
        self._output += line
        name, *numbers = line.decode().split()
        return name, [int(n) for n in numbers]

    def go_on(self) -> None:
        """Give it the line that it waits for."""
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def finished(self) -> bool:
        """Tell whether it has ended; its output must fit into a pipe until then."""
        return self._process.poll() is not None

    def end(self, status: int = 0) -> Run:
        """Close its input and wait for it; it must end with a status."""
        rest, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == status, f"ended with {self._process.returncode}"
        return Run(self.pid, self._output + rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with self._process:
            pass


class Programs:
    """Compiles workloads into a directory and runs them.

    Args:
        directory: Where the programs are, or will be.
        flags: More flags for the compiler.
    """

    def __init__(self, directory: Path, flags: Sequence[str] = ()) -> None:
        self._directory = directory
        self._flags = flags
        self._compiler = shutil.which("clang") or shutil.which("gcc")

    def path(self, name: str) -> Path:
        """Return the program, compiled."""
        program = self._directory / name
        if not program.exists():
            assert self._compiler, "neither clang nor gcc: apt-get install clang"
            flags = [*_FLAGS, *self._flags]
            subprocess.run(
                [self._compiler, *flags, "-o", program, SOURCES / f"{name}.c"], check=True
            )
        return program

    def start(self, name: str, *arguments: object, **options: object) -> Running:
        """Start a workload; options are those of Popen."""
        return Running([os.fspath(self.path(name)), *map(str, arguments)], **options)

    def run(self, name: str, *arguments: object, status: int = 0, **options: object) -> Run:
        """Run a workload to its end; it must end with a status."""
        with self.start(name, *arguments, **options) as running:
            return running.end(status)
