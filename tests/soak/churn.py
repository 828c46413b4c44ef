"""Load that never looks the same: each worker has a name and a cgroup that nobody had before.

Rim: runs processes, makes and removes cgroups.
"""

import os
import subprocess
from itertools import count
from pathlib import Path
from typing import Self

from tests.bench import load
from tests.kernel.control_groups import default_hierarchy

__all__ = ["GROUPS", "Churn"]

GROUPS = 40
"""App groups that the workers' names are spread over."""

_WORKERS = 4
_LIFE_S = 2.0
_EXEC_SHARE = 8
"""One worker in so many runs programs; the others only fork."""


class Churn:
    """Workers that are replaced by others when their time is over.

    Args:
        folder: For the names under which the workers run.
        rate_hz: Tasks to create per second, all workers together.

    Attributes:
        names: How many workers, each with a name and a cgroup of its own, there have been.
        made: Tasks that the workers say they created.
    """

    def __init__(self, folder: Path, rate_hz: int) -> None:
        self.names = 0
        self.made = 0
        self._folder = folder
        self._each_hz = rate_hz // _WORKERS
        root = default_hierarchy()
        if root is None:
            raise SystemExit("soak: no cgroup v2 hierarchy is mounted")
        self._root = root / f"soak-{os.getpid()}"
        self._root.mkdir()
        self._numbers = count()
        self._workers: list[tuple[subprocess.Popen[str], Path, Path]] = []

    def go_on(self) -> None:
        """Replace the workers that have ended."""
        for worker in self._workers:
            if worker[0].poll() is not None:
                self._end(worker)
        self._workers = [worker for worker in self._workers if worker[0].returncode is None]
        while len(self._workers) < _WORKERS:
            self._begin()

    def _begin(self) -> None:
        number = next(self._numbers)
        name = f"g{number % GROUPS}-{number}"
        cgroup, program = self._root / name, self._folder / name
        cgroup.mkdir()
        program.symlink_to(load.program("load"))
        mode = "vfork" if number % _EXEC_SHARE else "exec"
        words = [program, mode, self._each_hz, _LIFE_S, 0, load.program("tiny")]
        script = f'echo $$ > {cgroup}/cgroup.procs; exec "$@"'
        process = subprocess.Popen(
            ["sh", "-c", script, "sh", *map(str, words)], stdout=subprocess.PIPE, text=True
        )
        self._workers.append((process, cgroup, program))
        self.names += 1

    def _end(self, worker: tuple[subprocess.Popen[str], Path, Path]) -> None:
        process, cgroup, program = worker
        output, _ = process.communicate(timeout=60)
        if process.returncode:
            raise SystemExit(f"soak: a worker ended with {process.returncode}")
        self.made += int(output.split()[1])
        cgroup.rmdir()
        program.unlink()

    def close(self) -> None:
        """Wait for the workers that are left."""
        for worker in self._workers:
            self._end(worker)
        self._workers.clear()
        self._root.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
