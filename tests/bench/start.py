"""From exec of the command to the first acknowledged event, ms, and where the time goes.

The command runs as its user starts it, but in a process that notes the time at its stations
(``python -m tests.bench.start BEGIN_NS ARGS...``); the stations are wrapped from outside.
The first event is one of the snapshot: the running tasks are published before all else.
"""

import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from tests.bench.agent import environment
from tests.bench.figure import Effort, Figure, figure

__all__ = ["start"]

_RUNS = 7
_AIM_MS = 500.0
_HEAVIEST = 6
_OPTIONS = ("run", "--config", os.devnull)


def _boot_ns() -> int:
    import time

    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


# --- in the process that is measured ---------------------------------------------------------


def _wrap(owner: Any, name: str, after: Callable[[], None]) -> None:
    """Call ``after`` when a method returns."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options)
        finally:
            after()

    setattr(owner, name, wrapped)


def _measured(begin_ns: int) -> None:
    """Run the command; write the stations as JSON, and stop, at the first acknowledgement."""
    stations = {"interpreter": _boot_ns()}
    out = os.dup(1)

    def note(name: str) -> Callable[[], None]:
        return lambda: stations.update({name: _boot_ns()}) if name not in stations else None

    def acknowledged() -> None:
        if "first ack" not in stations:
            note("first ack")()
            ms, last_ns = {}, begin_ns
            for name, at_ns in stations.items():
                ms[name], last_ns = (at_ns - last_ns) / 1e6, at_ns
            os.write(out, json.dumps(ms).encode() + b"\n")
            os.kill(os.getpid(), signal.SIGTERM)

    from taskstream import cli
    from taskstream.cli import run  # noqa: F401 - what the verb would import
    from taskstream.sink.kafka import KafkaSink
    from taskstream.sink.kafka_producer import KafkaProducer
    from taskstream.source.bpf_object import BpfObject
    from taskstream.source.live import LiveSource

    note("imports")()
    _wrap(KafkaSink, "__init__", note("producer and topic"))
    _wrap(BpfObject, "load", note("load"))
    _wrap(LiveSource, "_attach", note("attach and snapshot"))
    _wrap(KafkaProducer, "_on_delivery", acknowledged)
    cli.main()


# --- in the process that measures ------------------------------------------------------------


def _run(*options: str) -> dict[str, float]:
    """Start the command once; return the ms of each station."""
    words = [sys.executable, "-m", "tests.bench.start", str(_boot_ns()), *_OPTIONS, *options]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=60)
    line = next((line for line in done.stdout.splitlines() if line.startswith("{")), "")
    if not line:
        raise RuntimeError(f"the agent acknowledged nothing:\n{done.stderr}")
    stations: dict[str, float] = json.loads(line)
    return stations


def _heaviest_imports() -> str:
    """Name the packages whose own modules take longest to import, of one run."""
    words = [sys.executable, "-X", "importtime", "-c", "import taskstream.cli.run"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), check=True)
    own_us: dict[str, int] = {}
    for us, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr):
        package = name.split(".", 1)[0]
        package = package if package in _PACKAGES else "others"
        own_us[package] = own_us.get(package, 0) + int(us)
    heaviest = sorted(own_us.items(), key=lambda item: -item[1])[:_HEAVIEST]
    return "ms by package: " + ", ".join(f"{name} {us / 1e3:.0f}" for name, us in heaviest)


_PACKAGES = ("numpy", "confluent_kafka", "click", "msgpack", "taskstream", "asyncio", "rich")


def start(effort: Effort) -> Iterator[Figure]:
    """Start the command several times, with a broker elsewhere and with its own."""
    from tests.bench.broker import broker

    with broker() as address:
        options = ("--bootstrap", address)
        _run(*options)  # compiles modules, warms the file cache
        runs = [_run(*options) for _ in range(effort.runs(_RUNS))]
    embedded = [_run() for _ in range(effort.runs(_RUNS))]
    total = [sum(run.values()) for run in runs]
    yield figure("start", "start to first acknowledged event", "ms", total, aim=_AIM_MS)
    for station in runs[0]:
        note = _heaviest_imports() if station == "imports" else ""
        values = [run[station] for run in runs]
        yield figure("start", f"start, of this: {station}", "ms", values, note=note)
    total = [sum(run.values()) for run in embedded]
    yield figure("start", "start to first ack, embedded broker", "ms", total)


if __name__ == "__main__":
    _begin_ns = int(sys.argv[1])
    sys.argv[1:] = sys.argv[2:]
    _measured(_begin_ns)
