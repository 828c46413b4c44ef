"""What a probe costs, ns/run: the kernel's own run-time statistics of BPF programs.

The kernel reads its clock twice per run, and one of the two readings is in the figure.
"""

import os
import time
from collections.abc import Iterator

from taskstream.source.libbpf import enable_run_time_stats
from taskstream.source.live import LiveOptions, LiveSource
from tests.bench import load
from tests.bench.figure import Effort, Figure, figure

__all__ = ["kernel", "loaded"]

_RUNS = 5
_SECONDS = 2.0
_READ_EVERY_S = 0.02
_QUIET_HZ = 50
_AIMS_NS = {"fork": 500, "exec": 1500, "exit": 500, "free": 500}

Spent = dict[str, tuple[int, int]]


def loaded(source: LiveSource, mode: str, rate_hz: int, seconds: float) -> Spent:
    """Load the host, and return the ns and the runs of each program meanwhile."""
    before = source.run_time()
    under_way = load.start(mode, rate_hz=rate_hz, seconds=seconds)
    while under_way.running:
        time.sleep(_READ_EVERY_S)
        source.read()
    under_way.end()
    time.sleep(5 * _READ_EVERY_S)  # a free comes from an RCU callback
    source.read()
    after = source.run_time()
    return {p: (after[p][0] - before[p][0], after[p][1] - before[p][1]) for p in after}


def _of_kind(source: LiveSource, spent: Spent, kind: str) -> tuple[float, int]:
    """Return ns/run and runs of all the programs of a kind."""
    programs = [hook.program for hook in source.plan.hooks if hook.kind == kind]
    ns, runs = (sum(column) for column in zip(*(spent[p] for p in programs), strict=True))
    return ns / runs if runs else float("nan"), runs


def kernel(effort: Effort) -> Iterator[Figure]:
    """Time every kind of event on a quiet host and under load."""
    seconds = effort.seconds(_SECONDS)
    runs = effort.runs(_RUNS)
    loads = (("quiet", _QUIET_HZ), ("under load", 0))
    stats = enable_run_time_stats()
    try:
        with LiveSource(LiveOptions(), host="bench") as source:
            for name, rate_hz in loads:
                spent = [loaded(source, "exec", rate_hz, seconds) for _ in range(runs)]
                yield from _figures(name, source, spent)
        with LiveSource(LiveOptions(load_mode="return"), host="bench") as source:
            for name, rate_hz in loads:
                failed = [loaded(source, "fail", rate_hz, seconds / 2) for _ in range(runs)]
                cost = [_of_kind(source, s, "fail") for s in failed]
                yield figure(
                    "kernel",
                    f"kernel, fail, {name}",
                    "ns/run",
                    [ns for ns, _ in cost],
                    note=f"{sum(n for _, n in cost):,} runs; load mode return",
                )
    finally:
        os.close(stats)


def _figures(name: str, source: LiveSource, spent: list[Spent]) -> Iterator[Figure]:
    for kind, aim in _AIMS_NS.items():
        cost = [_of_kind(source, s, kind) for s in spent]
        note = f"{sum(runs for _, runs in cost):,} runs"
        what = f"kernel, {kind}, {name}"
        yield figure("kernel", what, "ns/run", [ns for ns, _ in cost], aim=aim, note=note)
