"""What each way of watching the kernel costs: the probes, the start, the memory.

Each mode runs in a process of its own (``python -m tests.bench.mode OPTIONS SECONDS RUNS``), so
that none holds what another left behind. A mode that this kernel cannot have is left out here;
in an emulated kernel that has them all, they are compared with each other.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.figure import Effort, Figure, figure

__all__ = ["guest", "mode"]

ROOT = Path(__file__).parents[2]
_RUNS = 5
_SECONDS = 2.0
_GUEST = "6.12"
_REFERENCE = "co-re, tracepoint, ring"

MODES: dict[str, dict[str, Any]] = {
    "co-re, trampoline, ring": {"type_format": "co-re", "tracing": "trampoline"},
    "co-re, probe, ring": {"type_format": "co-re", "tracing": "probe"},
    _REFERENCE: {"type_format": "co-re", "tracing": "tracepoint"},
    "co-re, tracepoint, perf": {"type_format": "co-re", "tracing": "tracepoint", "buffer": "perf"},
    "co-re, tracepoint, ring, numbers by claim": {
        "type_format": "co-re",
        "tracing": "tracepoint",
        "without": ["fetch-and-add"],
    },
    "co-re, tracepoint, ring, losses by process": {
        "type_format": "co-re",
        "tracing": "tracepoint",
        "charge_losses": True,
    },
    "legacy, ring": {"type_format": "legacy"},
    "legacy, perf": {"type_format": "legacy", "buffer": "perf"},
}


# --- in the process that is measured -------------------------------------------------------------


def _resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def _measured(options: dict[str, Any], seconds: float, runs: int) -> dict[str, Any]:
    import resource

    from taskstream.source.libbpf import enable_run_time_stats
    from taskstream.source.live import LiveOptions, LiveSource
    from tests.bench.kernel import loaded

    options = {**options, "without": tuple(options.get("without", ()))}
    started_ms, nanoseconds, events = [], [], 0
    stats = enable_run_time_stats()
    for _ in range(runs):
        before = time.perf_counter()
        with LiveSource(LiveOptions(**options), host="bench") as source:
            started_ms.append((time.perf_counter() - before) * 1e3)
            resident = _resident_kib()
            plan = source.plan
            spent = loaded(source, "exec", 0, seconds)
        ns, count = (sum(column) for column in zip(*spent.values(), strict=True))
        nanoseconds.append(ns / count)
        events += count
    os.close(stats)
    compiler = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "tracing": plan.tracing,
        "start_ms": started_ms,
        "ns": nanoseconds,
        "events": events,
        "resident_mib": resident / 1024,
        "compiler_mib": compiler / 1024 if plan.type_format == "legacy" else 0,
    }


# --- the figures ---------------------------------------------------------------------------------


def _run(name: str, seconds: float, runs: int) -> dict[str, Any] | None:
    """Measure one mode in a process of its own; None where the kernel cannot have it."""
    options = json.dumps(MODES[name])
    command = [sys.executable, "-m", "tests.bench.mode", options, str(seconds), str(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout)
    wanted = MODES[name].get("tracing", found["tracing"])
    return found if found["tracing"] == wanted else None


def mode(effort: Effort) -> Iterator[Figure]:
    """Measure every mode that this kernel can have."""
    for name in MODES:
        found = _run(name, effort.seconds(_SECONDS), effort.runs(_RUNS))
        if found is None:
            continue
        note = f"{found['events']:,} events, exec load; functions by {found['tracing']}"
        yield figure("mode", f"{name}: probes", "ns/event", found["ns"], note=note)
        yield figure("mode", f"{name}: load and attach", "ms", found["start_ms"])
        compiler = found["compiler_mib"]
        note = f"the compiler took {compiler:.0f} MiB in its own process" if compiler else ""
        yield figure(
            "mode", f"{name}: RSS of the source", "MiB", [found["resident_mib"]], note=note
        )


def guest(effort: Effort) -> Iterator[Figure]:
    """Compare the modes with each other in an emulated kernel that has them all."""
    from tests.kernel.guest.fetch import obtain
    from tests.kernel.guest.machine import run

    kernel = obtain(_GUEST)
    seconds, runs = effort.seconds(_SECONDS), effort.runs(3)
    load = ["-c", f"from tests.bench.mode import tell; tell({seconds}, {runs})"]
    ended = run(kernel, [sys.executable, *load], directory=ROOT, timeout_s=1200)
    if ended.status:
        raise RuntimeError(ended.stderr.decode()[-400:])
    found = json.loads(ended.stdout)
    reference = found[_REFERENCE]["ns"]
    for name, told in found.items():
        ratios = [ns / other for ns, other in zip(told["ns"], reference, strict=True)]
        note = f"{told['events']:,} events in Linux {kernel.release}, emulated"
        yield figure("mode-guest", f"{name}: probes, to {_REFERENCE}", "ratio", ratios, note=note)


def tell(seconds: float, runs: int) -> None:
    """Print what every mode costs, as JSON."""
    found = {name: _run(name, seconds, runs) for name in MODES}
    print(json.dumps({name: told for name, told in found.items() if told}))


if __name__ == "__main__":
    print(json.dumps(_measured(json.loads(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))))
