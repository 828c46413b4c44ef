"""A broker in a process of its own, so that its CPU time is not the agent's.

``python -m tests.bench.broker`` prints the address and lives until its input is closed.
Rim: runs a process.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["broker"]


@contextmanager
def broker() -> Iterator[str]:
    """Start a broker; yields its address."""
    words = [sys.executable, "-m", "tests.bench.broker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError("the broker did not start")
        try:
            yield address
        finally:
            process.communicate(timeout=30)


def _serve() -> None:
    from taskstream.broker import EmbeddedBroker

    with EmbeddedBroker() as embedded:
        print(embedded.address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve()
