"""The load generators: ``load.c``, compiled into a directory that goes with this process.

Rim: runs a compiler and processes.
"""

import atexit
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Load", "Reached", "program", "run", "start"]

_SOURCES = Path(__file__).parent
_LONGEST_S = 120


@dataclass(frozen=True, slots=True)
class Reached:
    """What a load really did."""

    calls: int
    ns: int

    @property
    def rate_hz(self) -> float:
        """Calls per second."""
        return self.calls / (self.ns / 1e9)


@cache
def _directory() -> Path:
    made = tempfile.TemporaryDirectory(prefix="taskstream-bench-")
    atexit.register(made.cleanup)
    return Path(made.name)


@cache
def program(name: str) -> Path:
    """Return a program of this directory, compiled."""
    compiler = shutil.which("clang") or shutil.which("cc")
    if not compiler:
        raise SystemExit("bench: no C compiler: apt-get install clang")
    built = _directory() / name
    command = [compiler, "-O2", "-static", "-o", built, _SOURCES / f"{name}.c"]
    subprocess.run([*map(str, command)], check=True)
    return built


class Load:
    """A load under way."""

    def __init__(self, mode: str, rate_hz: int, seconds: float, calls: int) -> None:
        words = [program("load"), mode, rate_hz, seconds, calls, program("tiny")]
        self._process = subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True)

    @property
    def running(self) -> bool:
        """Tell whether it goes on."""
        return self._process.poll() is None

    def end(self) -> Reached:
        """Wait for its end."""
        output, _ = self._process.communicate(timeout=_LONGEST_S)
        if self._process.returncode:
            raise RuntimeError(f"the load ended with {self._process.returncode}")
        words = output.split()
        return Reached(int(words[1]), int(words[3]))


def start(mode: str, *, rate_hz: int = 0, seconds: float = 0, calls: int = 0) -> Load:
    """Start a load; `end` waits for it.

    Args:
        mode: ``exec``, ``vfork``, ``fork`` or ``fail``.
        rate_hz: Calls per second; 0 for as many as can be.
        seconds: How long; 0 for until the calls are made.
        calls: How many; 0 for until the time is over.
    """
    return Load(mode, rate_hz, seconds, calls)


def run(mode: str, *, rate_hz: int = 0, seconds: float = 0, calls: int = 0) -> Reached:
    """Run a load to its end."""
    return start(mode, rate_hz=rate_hz, seconds=seconds, calls=calls).end()
