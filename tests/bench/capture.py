"""Captures: what writing one costs, what is read back in a second, and how long an event is.

The events are the sample's, many times over with other numbers; the file is on the disk of
``TMPDIR``, and in the page cache. Rim: files, a broker in another process, the probes once.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np

from taskstream import clock
from taskstream.batch import Batch
from taskstream.capture.rotation import CaptureFiles, Rotation, own_about
from taskstream.interval import Interval
from taskstream.record import COUNTS
from taskstream.report import CpuReport, Report
from taskstream.sink.capture import CaptureSink
from tests.bench.broker import broker
from tests.bench.figure import Effort, Figure, figure
from tests.bench.sample import SAMPLE_EVENTS, batches_of

__all__ = ["capture", "replay"]

_RUNS = 5
_ROUNDS = 24
_AT_ONCE = 1024
_WRITE_AIM_NS = 300
_CHARTS_AIM_NS = 200
_TOPIC_AIM_NS = {"batch": 2000, "event": 4000}


def _rounds(rounds: int) -> list[Batch]:
    """Return the sample many times over: other times, other numbers, other pids."""
    batches = []
    for number in range(rounds):
        for one in batches_of(_AT_ONCE):
            records = one.records.copy()
            for name in ("boot_ns", "start_ns", "process_start_ns", "parent_start_ns"):
                records[name] += np.uint64(number * 2_000_000_000)
            records["seq"] += np.uint64(number * SAMPLE_EVENTS)
            for name in ("pid", "tgid", "pidns_pid", "pidns_tgid"):
                records[name] += np.uint32(number * 1000)
            texts = {(cpu, seq + number * SAMPLE_EVENTS): t for (cpu, seq), t in one.texts.items()}
            batches.append(Batch(one.origin, records, one.wall_offset_ns, texts))
    return batches


def _report(batch: Batch) -> Report:
    counts, none = (_AT_ONCE // 8,) * len(COUNTS), (0,) * len(COUNTS)
    end_ns = int(batch.records["boot_ns"].max())
    interval = Interval(
        start_ns=end_ns - 10**9,
        end_ns=end_ns,
        wall_ns=end_ns + batch.wall_offset_ns,
        counts=counts,
        received=counts,
    )
    cpus = tuple(CpuReport(cpu, batch.origin.run_ns, counts, none, none, 0) for cpu in (0, 1))
    return Report(batch.origin, end_ns, batch.wall_offset_ns, cpus, {}, interval)


def _write(path: Path, batches: list[Batch]) -> CaptureSink:
    about = own_about(10**9, failures_watched=True)
    origin = batches[0].origin
    files = CaptureFiles(path, origin, about, Rotation(), clocks=clock.read_pair, replace=True)
    sink = CaptureSink(files)
    per_interval = SAMPLE_EVENTS // _AT_ONCE
    for number, batch in enumerate(batches, 1):
        sink.write(batch)
        if number % per_interval == 0:
            sink.report(_report(batch))
    sink.close()
    if sink.account.dropped:
        raise RuntimeError(sink.trouble)
    return sink


def capture(effort: Effort) -> Iterator[Figure]:
    """Write captures: CPU time of the thread per event, encoding and compression included."""
    batches = _rounds(4 if effort.quick else _ROUNDS)
    events = sum(map(len, batches))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bench.tsc")
        spent, sizes = [], []
        for _ in range(effort.runs(_RUNS)):
            start = time.thread_time_ns()
            sink = _write(path, batches)
            spent.append((time.thread_time_ns() - start) / events)
            sizes.append(sink.files.size_bytes / events)
    note = f"{events:,} events, a quarter of them execs"
    yield figure("capture", "capture", "ns/event", spent, aim=_WRITE_AIM_NS, note=note)
    yield figure("capture", "capture, on disk", "bytes/event", sizes)


def replay(effort: Effort) -> Iterator[Figure]:
    """Replay a capture with the command line, many times in a row.

    Wall time per event, without that of a replay of next to nothing; for charts, which is work
    of one thread, its CPU time.
    """
    batches = _rounds(4 if effort.quick else _ROUNDS)
    with tempfile.TemporaryDirectory() as folder, broker() as address:
        path = Path(folder, "bench.tsc")
        _write(path, batches)
        nothing = Path(folder, "nothing.tsc")
        _write(nothing, batches[:1])

        def job(words: list[str], times: int, *, cpu: bool = False) -> Iterator[float]:
            paths = [str(path)] * (1 if effort.quick else times)
            events = len(paths) * sum(map(len, batches))
            idle_s = min(_seconds([str(nothing), *words], cpu=cpu) for _ in range(3))
            for _ in range(effort.runs(_RUNS)):
                yield (_seconds([*paths, *words], cpu=cpu) - idle_s) * 1e9 / events

        spent = job(["--to", "charts"], 40, cpu=True)
        yield _rate("the documented charts, as lines", spent, _CHARTS_AIM_NS)
        spent = job(["--to", "charts", "--json"], 8, cpu=True)
        yield _rate("every chart, as JSON", spent, _CHARTS_AIM_NS)
        for shape, aim in _TOPIC_AIM_NS.items():
            words = ["--to", "kafka", "--bootstrap", address, "--message", shape]
            spent = job([*words, "--topic", f"bench.{shape}"], 10 if shape == "batch" else 2)
            yield _rate(f"Kafka, `{shape}` messages", spent, aim)
        yield _rate("JSON lines", job(["--to", "json"], 1), None)


def _rate(what: str, spent: Iterator[float], aim: int | None) -> Figure:
    values = list(spent)
    note = f"{1e9 / median(values):,.0f} events/s"
    return figure("replay", f"replay to {what}", "ns/event", values, aim=aim, note=note)


def _seconds(words: list[str], *, cpu: bool) -> float:
    """Run a replay; return its wall time, or its CPU time."""
    command = [sys.executable, "-m", "taskstream", "replay", *words]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s if cpu else wall_s
