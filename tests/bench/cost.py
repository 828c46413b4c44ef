"""CPU and memory of the whole agent, from ring to broker ack.

A run is a pair of lives of the agent, equally long: one on the idle host, one under load.
The difference of their CPU times since they were ready, by the difference of their events, is
the cost of an event; the looks at an empty ring cancel out. The broker is another process.
Whatever else runs on the host makes events too: they are counted like those of the load.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from statistics import median

from tests.bench import load
from tests.bench.agent import SHAPES, Agent
from tests.bench.broker import broker
from tests.bench.figure import Effort, Figure, figure

__all__ = ["cpu", "memory", "share"]

_RUNS = 3
_SECONDS = 3.0
_SHARE_SECONDS = 2.0
_LOADS = ("exec", "vfork")
_QUIET = 0.1
"""An idle life has at most this share of the events of the loaded one."""
_SETTLE_S = 0.5
_CPU_AIMS_US = {"event": 3.0, "batch": 1.0}
_RSS_AIM_MIB = 80
_RATES_HZ = (100, 200, 400, 800, 1600)
_SHARE_AIMS = {1600: 1.5}


@dataclass(frozen=True, slots=True)
class _Life:
    """One life of an agent: what it used, and what it did."""

    cpu_ns: int
    events: int
    start_kib: int
    end_kib: int
    peak_kib: int


def _live(shape: str, seconds: float, mode: str | None) -> _Life:
    with broker() as address, Agent(address, "--message", shape) as agent:
        time.sleep(_SETTLE_S)
        ready_ns, start_kib = agent.cpu_ns(), agent.memory_kib("VmRSS")
        end_s = time.monotonic() + seconds + _SETTLE_S
        if mode:
            load.run(mode, seconds=seconds)
        time.sleep(max(0.0, end_s - time.monotonic()))
        end_kib, peak_kib = agent.memory_kib("VmRSS"), agent.memory_kib("VmHWM")
        books, cpu_ns = agent.stop()
        return _Life(cpu_ns - ready_ns, books.counted, start_kib, end_kib, peak_kib)


@cache
def _lives(shape: str, mode: str, effort: Effort) -> list[tuple[_Life, _Life]]:
    seconds = effort.seconds(_SECONDS)
    return [
        (_live(shape, seconds, None), _live(shape, seconds, mode))
        for _ in range(effort.runs(_RUNS))
    ]


def cpu(effort: Effort) -> Iterator[Figure]:
    """Load at full speed: user and system time per event, in both shapes."""
    for shape in SHAPES:
        for mode in _LOADS:
            what = f"agent CPU, ring to ack, `{shape}`, {mode} at full speed"
            yield _cpu(what, _lives(shape, mode, effort), shape, effort)


def _cpu(what: str, lives: list[tuple[_Life, _Life]], shape: str, effort: Effort) -> Figure:
    """Subtract the idle lives; those that were not idle tell nothing, and are left out."""
    rate = sum(b.events for _, b in lives) / len(lives) / effort.seconds(_SECONDS)
    gross = [b.cpu_ns / b.events / 1e3 for _, b in lives]
    quiet = [(a, b) for a, b in lives if a.events < b.events * _QUIET]
    net = [(b.cpu_ns - a.cpu_ns) / (b.events - a.events) / 1e3 for a, b in quiet]
    if net:
        note = f"at {rate:,.0f} events/s; idle not subtracted: {median(gross):.2f}"
    else:
        net = gross
        note = f"at {rate:,.0f} events/s; the host was never idle: nothing subtracted"
    return figure("cpu", what, "us/event", net, aim=_CPU_AIMS_US[shape], note=note)


def memory(effort: Effort) -> Iterator[Figure]:
    """Resident memory after the start and after the load, and the highest there was."""
    for shape in SHAPES:
        loaded = [b for mode in _LOADS for _, b in _lives(shape, mode, effort)]
        for what, kib, aim in (
            ("after start", [b.start_kib for b in loaded], None),
            ("after load", [b.end_kib for b in loaded], None),
            ("at most", [b.peak_kib for b in loaded], _RSS_AIM_MIB),
        ):
            mib = [value / 1024 for value in kib]
            note = f"{max(b.events for b in loaded):,} events"
            yield figure("memory", f"RSS, `{shape}`, {what}", "MiB", mib, aim=aim, note=note)


def share(effort: Effort) -> Iterator[Figure]:
    """CPU time by elapsed time at given rates of exec, nothing subtracted."""
    for shape in SHAPES:
        with broker() as address, Agent(address, "--message", shape) as agent:
            time.sleep(_SETTLE_S)
            for rate_hz in (0, *_RATES_HZ):
                yield _share(agent, shape, rate_hz, effort)
            agent.stop()


def _share(agent: Agent, shape: str, rate_hz: int, effort: Effort) -> Figure:
    shares, rates = [], []
    seconds = effort.seconds(_SHARE_SECONDS)
    for _ in range(effort.runs(_RUNS)):
        begin_ns, begin_cpu_ns = time.monotonic_ns(), agent.cpu_ns()
        if rate_hz:
            rates.append(load.run("exec", rate_hz=rate_hz, seconds=seconds).rate_hz)
        else:
            time.sleep(seconds)
        elapsed_ns = time.monotonic_ns() - begin_ns
        shares.append(100 * (agent.cpu_ns() - begin_cpu_ns) / elapsed_ns)
    load_name = f"{rate_hz:,} exec/s" if rate_hz else "idle"
    note = f"reached {min(rates):,.0f} exec/s" if rates else ""
    aim = _SHARE_AIMS.get(rate_hz)
    what = f"agent CPU share, `{shape}`, {load_name}"
    return figure("share", what, "% of a core", shares, aim=aim, note=note)
