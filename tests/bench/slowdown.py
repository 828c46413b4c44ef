"""How much longer a fork/exec-heavy workload takes with the agent: paired, alternating runs.

A pair is the same work with and without the agent, one directly after the other, in turn the
one and the other first; its figure is the ratio of the two, so slow drift of the machine
cancels out.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from tests.bench import load
from tests.bench.agent import Agent
from tests.bench.broker import broker
from tests.bench.figure import Effort, Figure, figure

__all__ = ["slowdown"]

_PAIRS = 6
_EXECS = 2000
_SHELL_EXECS = 600
_SHELL_LOOP = 'i=0; while [ $i -lt "$2" ]; do "$1" -c "$i.c" || exit; i=$((i+1)); done'


def _execs(calls: int) -> float:
    return load.run("exec", calls=calls).ns / 1e9


def _shell(calls: int) -> float:
    """Time a shell that runs small programs one after another, as make does."""
    start = time.monotonic()
    words = ["sh", "-c", _SHELL_LOOP, "sh", str(load.program("tiny")), str(calls)]
    subprocess.run(words, check=True)
    return time.monotonic() - start


def _seconds(work: Callable[[int], float], calls: int, options: tuple[str, ...] | None) -> float:
    """Time work, with an agent of these options, or without one."""
    with ExitStack() as stack:
        if options is not None:
            address = stack.enter_context(broker())
            agent = stack.enter_context(Agent(address, *options))
            stack.callback(agent.stop)
        time.sleep(0.2)
        return work(calls)


def _pair(
    work: Callable[[int], float], calls: int, options: tuple[str, ...], turn: int
) -> tuple[float, float]:
    """Return the seconds without and with the agent."""
    order = (None, options) if turn % 2 == 0 else (options, None)
    seconds = [_seconds(work, calls, choice) for choice in order]
    return (seconds[0], seconds[1]) if turn % 2 == 0 else (seconds[1], seconds[0])


def slowdown(effort: Effort) -> Iterator[Figure]:
    """Compare both workloads, in both load modes."""
    works = (
        ("vfork+exec+wait", _execs, effort.calls(_EXECS)),
        ("shell loop of execs", _shell, effort.calls(_SHELL_EXECS)),
    )
    for name, work, calls in works:
        work(calls // 4)
        for mode in ("entry", "return"):
            options = ("--load-mode", mode)
            pairs = [_pair(work, calls, options, turn) for turn in range(effort.runs(_PAIRS))]
            longer = [100 * (b / a - 1) for a, b in pairs]
            each = sorted(1e6 * (b - a) / calls for a, b in pairs)[len(pairs) // 2]
            base = sorted(1e6 * a / calls for a, _ in pairs)[len(pairs) // 2]
            note = f"{calls:,} calls of {base:,.0f} us; {each:+.1f} us/call"
            what = f"slow-down of {name}, load mode {mode}"
            yield figure("slowdown", what, "%", longer, note=note)
