"""Events lost while stress-ng makes tasks as fast as it can, default buffers, default shape."""

import shutil
import subprocess
from collections.abc import Iterator

from tests.bench.agent import Agent
from tests.bench.broker import broker
from tests.bench.figure import Effort, Figure, figure

__all__ = ["loss"]

_STRESSORS = ("fork", "vfork", "clone", "pthread")
_RUNS = 2
_SECONDS = 3


def _stress(stressor: str, seconds: int) -> None:
    words = ["stress-ng", f"--{stressor}", "0", "--timeout", f"{seconds}s", "--quiet"]
    subprocess.run(words, check=True, capture_output=True)


def _run(stressor: str, seconds: int) -> tuple[int, float, str]:
    """Return what was not published, the events per second, and where it went."""
    with broker() as address, Agent(address, "--drain-timeout", "60") as agent:
        _stress(stressor, seconds)
        books, _ = agent.stop()
    where = f"ring {books.lost:,}, skipped {books.missed:,}"
    return books.unpublished + books.missed, books.counted / seconds, where


def loss(effort: Effort) -> Iterator[Figure]:
    """Count what did not reach the broker, whatever the reason."""
    if not shutil.which("stress-ng"):
        raise SystemExit("bench: stress-ng is missing: apt-get install stress-ng")
    seconds = int(effort.seconds(_SECONDS))
    for stressor in _STRESSORS:
        runs = [_run(stressor, seconds) for _ in range(effort.runs(_RUNS))]
        lost = [float(unpublished) for unpublished, _, _ in runs]
        rate = max(rate for _, rate, _ in runs)
        note = f"up to {rate:,.0f} events/s; {max(runs)[2]}"
        what = f"events not published, stress-ng --{stressor} 0"
        yield figure("loss", what, "events", lost, aim=0, note=note)
