"""The command line as a user has it: ``python -m taskstream`` in a process of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Done", "start", "taskstream", "until"]

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Lines of standard output."""
        return self.out.splitlines()


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start ``taskstream`` with arguments."""
    return subprocess.Popen(
        [sys.executable, "-m", "taskstream", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def until(process: subprocess.Popen[str], text: str) -> str:
    """Read lines of a command's standard error until one has a text; fail at their end.

    Returns:
        All that was said so far.
    """
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"it ended with {process.wait(30)} and never said {text!r}: {said}")


def taskstream(*arguments: str | Path, **environment: str) -> Done:
    """Run ``taskstream`` with arguments to its end; it never leaves a traceback."""
    with start(*arguments, **environment) as process:
        try:
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()  # what hangs must not hang the tests
    assert "Traceback" not in err, err
    return Done(process.returncode, out, err)
