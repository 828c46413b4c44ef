"""What must work on which kernel, and what must be refused in which words; runs it.

Run as ``python -m tests.kernel.guest.matrix [--fast] [--only TEXT] [--write-docs]``. A row is a
way to start the source in a guest of some layout; with a kernel it makes a case. All cases of a
kernel and a layout share a boot.
"""

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from tests.kernel.check import PROGRAMS, Verdict
from tests.kernel.guest import arm64
from tests.kernel.guest.fetch import KERNELS, FetchError, obtain
from tests.kernel.guest.kernel import KernelImageError
from tests.kernel.guest.machine import X86_64, GuestError, Layout, run
from tests.kernel.guest.table import Result, kept, write
from tests.kernel.programs import Programs

__all__ = ["CASES", "ROWS", "Case", "Row", "run_cases", "surprise"]

ROOT = Path(__file__).parents[3]
_PROGRAMS = ROOT / "build/workload"
_ARM64 = "arm64"
_preparing = Lock()  # apt and the compiler take one caller at a time

FAST_KERNELS = ("6.1", "6.12")
"""Debian 12's own, and the newest that stays the same: ``new`` changes every few weeks."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A way to start the source.

    Attributes:
        name: As the table has it.
        options: Of ``LiveOptions``.
        layout: Of the guest.
        calls: The names that failed calls have, where they are not the system call's.
        refused: On which kernels the source must refuse to start, and with which message
            (a regular expression).
        notes: On which kernels the source must say what it does in another way than was asked
            for, one regular expression a note. It must say nothing else: a row that silently
            fell back to another way would prove nothing.
        skipped: On which kernels programs may be skipped, so that events are missed.
        fast: Whether it belongs to the fast part.
    """

    name: str
    options: Mapping[str, Any]
    layout: Layout = field(default_factory=Layout)
    calls: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    skipped: Sequence[str] = ()
    fast: bool = False


# From 7.3 on, tracepoint programs may be preempted, and are skipped if they nest.
_SKIPPED = ("new",)

# Failed creations are seen where fork, vfork, clone and clone3 meet, but in tracepoint mode.
_MET = dict.fromkeys(("fork", "vfork", "clone", "clone3"), "kernel_clone")

_LATE = "releases are seen at sched_process_free, an RCU grace period after release_task"
_FROM_PROC = "no task iterator: the running tasks are read from /proc"
_PERF = r"no ring buffer \(left out .*\): events come through perf buffers"
_TREE = "BTF instead of the kernel's headers: BCC could not compile"
_NO_BCC = {_ARM64: "BCC is not installed"}


def _everywhere(*notes: str, **more: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return notes by kernel; ``more`` come on one kernel only."""
    return {kernel: (*notes, *more.get(kernel, ())) for kernel in KERNELS}


def _falls_back(asked: str, to: str, what: str = "") -> str:
    part = f" for {what}" if what else ""
    return f"ebpf co-re tracing `{asked}` falls back to `{to}`{part}: "


def _core(
    tracing: str,
    load_mode: str,
    more: str = "",
    *notes: str,
    met: bool | None = None,
    layout: Layout | None = None,
    fast: bool = False,
    **options: Any,
) -> Row:
    """Make a row of the CO-RE object.

    Args:
        tracing: What is asked for.
        load_mode: Likewise.
        more: What is special about the row.
        notes: What the source must say, on every kernel.
        met: Whether failed creations are seen at kernel_clone; None: but in tracepoint mode.
        layout: Of the guest.
        fast: Whether it belongs to the fast part.
        options: More options.
    """
    met = tracing != "tracepoint" if met is None else met
    late = (_LATE,) if tracing == "tracepoint" else ()
    return Row(
        name=f"co-re, {tracing}, {load_mode}" + (f"; {more}" if more else ""),
        options={"type_format": "co-re", "tracing": tracing, "load_mode": load_mode} | options,
        layout=layout or Layout(),
        calls=_MET if met else {},
        notes=_everywhere(*late, *notes),
        skipped=_SKIPPED,
        fast=fast,
    )


def _legacy(
    load_mode: str,
    more: str = "",
    *notes: str,
    met: bool = True,
    layout: Layout | None = None,
    refused: Mapping[str, str] | None = None,
    fast: bool = False,
    **options: Any,
) -> Row:
    """Make a row of the probes that BCC compiles; what the arguments are: ``_core``."""
    layout = layout or Layout()
    # BCC 0.26 is too old for the headers of 7.3; with BTF it does without them.
    tree = {"new": (_TREE,)} if layout.headers and layout.btf else {}
    return Row(
        name=f"legacy, {load_mode}" + (f"; {more}" if more else ""),
        options={"type_format": "legacy", "load_mode": load_mode} | options,
        layout=layout,
        calls=_MET if met else {},
        notes=_everywhere(*notes, _FROM_PROC, **tree),
        refused={**_NO_BCC, **(refused or {})},
        skipped=_SKIPPED,
        fast=fast,
    )


_TOO_NEW = {"new": "BCC could not compile the probes"}
_NEITHER = dict.fromkeys(KERNELS, "neither type format can be used; co-re: the kernel has no BTF")
_BARE = Layout(headers=False)

TINY = 4096  # room for some 20 events

ROWS = (
    _core("trampoline", "entry", fast=True),
    _core("trampoline", "return", fast=True),
    _core("probe", "entry"),
    _core("probe", "return", fast=True),
    _core("tracepoint", "entry"),
    _core("tracepoint", "return", fast=True),
    _core("trampoline", "return", "perf buffer", buffer="perf", fast=True),
    _core("probe", "return", "perf buffer", buffer="perf"),
    _core("tracepoint", "return", "perf buffer", buffer="perf", fast=True),
    _core(
        "trampoline",
        "return",
        "tiny ring, losses by process, map per core",
        charge_losses=True,
        ring_bytes=TINY,
    ),
    _core(
        "probe",
        "return",
        "tiny perf buffers, losses by process, one map",
        charge_losses=True,
        maps_per_core=False,
        pid_table_size=4096,
        buffer="perf",
        ring_bytes=2 * TINY,
    ),
    _core(
        "probe",
        "return",
        "cgroup v1 and v2, no headers",
        layout=Layout(cgroup="hybrid", headers=False),
    ),
    _core("trampoline", "return", "cgroup v1 alone", layout=Layout(cgroup="v1")),
    _core(
        "tracepoint",
        "return",
        "no tracefs",
        "tracefs was not mounted: it is now, at /sys/kernel/tracing",
        layout=Layout(tracefs=False),
    ),
    _core("trampoline", "return", "no tracefs", layout=Layout(tracefs=False)),
    _core("trampoline", "return", "forced: no ring buffer", _PERF, without=["ring buffer"]),
    _core(
        "trampoline",
        "return",
        "forced: no ring buffer, no boot clock, no fetch-and-add",
        _PERF,
        without=["ring buffer", "boot clock", "fetch-and-add"],
    ),
    _core(
        "trampoline",
        "return",
        "forced: no fentry",
        _falls_back("trampoline", "probe") + "trampoline: left out by the option",
        without=["fentry"],
    ),
    _core(
        "trampoline",
        "return",
        "forced: no fentry, no kprobes",
        _falls_back("trampoline", "tracepoint"),
        _LATE,
        met=False,
        without=["fentry", "kprobes"],
    ),
    _core(
        "trampoline",
        "return",
        "forced: neither kernel_clone nor _do_fork",
        _falls_back("trampoline", "tracepoint", "failed fork, vfork, clone and clone3 calls")
        + "trampoline: this kernel has no kernel_clone or _do_fork; probe: this kernel has no",
        met=False,
        without=["kernel_clone"],
    ),
    _core(
        "trampoline",
        "return",
        "forced: neither cgroup_task_release nor cgroup_release",
        _falls_back("trampoline", "tracepoint", "released tasks")
        + "trampoline: this kernel has no cgroup_task_release or cgroup_release",
        _LATE,
        without=["cgroup_task_release", "cgroup_release"],
    ),
    _core("trampoline", "entry", "forced: last thread by map", last_thread_by_map=True),
    _core("trampoline", "entry", "forced: snapshot from /proc", snapshot_from_proc=True),
    _legacy("entry", "with headers"),
    _legacy("return", "with headers"),
    _legacy("return", "no headers", layout=_BARE, fast=True),
    _legacy("return", "no headers, perf buffer", layout=_BARE, buffer="perf"),
    _legacy(
        "return",
        "no headers; tiny ring, losses by process",
        layout=_BARE,
        charge_losses=True,
        ring_bytes=TINY,
    ),
    _legacy(
        "return",
        "no headers; forced: no kprobes",
        "ebpf type format `legacy`, which would take kprobes, falls back to `tracepoint`: ",
        _LATE,
        met=False,
        layout=_BARE,
        without=["kprobes"],
    ),
    Row(
        name="auto, return; no BTF, with headers",
        options={"load_mode": "return"},
        layout=Layout(btf=False),
        calls=_MET,
        notes=_everywhere(
            "ebpf type format `auto` falls back to `legacy`: the kernel has no BTF", _FROM_PROC
        ),
        refused={**_TOO_NEW, _ARM64: _NEITHER[_ARM64]},
        skipped=_SKIPPED,
    ),
    Row(
        name="auto, return; no BTF, no headers",
        options={"load_mode": "return"},
        layout=Layout(btf=False, headers=False),
        refused=_NEITHER,
    ),
    Row(name="auto, return", options={"load_mode": "return"}, calls=_MET, skipped=_SKIPPED),
)


@dataclass(frozen=True)
class Case:
    """A row on a kernel."""

    kernel: str
    row: Row

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return f"{self.kernel}: {self.row.name}"

    @property
    def fast(self) -> bool:
        """Whether it belongs to the fast part."""
        return self.row.fast and self.kernel in FAST_KERNELS

    @property
    def refusal(self) -> str:
        """The message with which the source must refuse to start; empty: it must start."""
        return self.row.refused.get(self.kernel, "")


CASES = tuple(Case(kernel, row) for kernel in KERNELS for row in ROWS)


def surprise(case: Case, verdict: Verdict) -> str:
    """Return what is not as it must be; empty if all is."""
    told = "\n".join(filter(None, [verdict.outcome, verdict.message, *verdict.complaints]))
    if case.refusal:
        expected = verdict.outcome == "refused" and re.search(case.refusal, verdict.message, re.S)
        return "" if expected else f"not refused with {case.refusal!r}, but {told}"
    allowed = {"exact"}
    if case.kernel in case.row.skipped:
        allowed.add("missed")
    if verdict.outcome not in allowed:
        return told
    notes = case.row.notes.get(case.kernel, ())
    unsaid = [note for note in notes if not any(re.search(note, n) for n in verdict.notes)]
    unasked = [n for n in verdict.notes if not any(re.search(note, n) for note in notes)]
    texts = [f"it should note {note!r}" for note in unsaid]
    return "\n".join(texts + [f"it should not note {note!r}" for note in unasked])


def run_cases(
    cases: Iterable[Case],
    report: Callable[[Result, str], None] = lambda *_: None,
    *,
    guests: int = 2,
) -> dict[Case, Result]:
    """Run cases, each guest of theirs once.

    A guest that dies takes the cases with it that had not ended: their outcome is ``died``.
    That of a kernel that cannot be had is ``not fetched``.

    Args:
        cases: To run.
        report: Is given each result, and what is surprising about it, as its guest ends.
        guests: How many run at a time; each fills a CPU.
    """
    boots: defaultdict[tuple[str, Layout], list[Case]] = defaultdict(list)
    for case in cases:
        boots[case.kernel, case.row.layout].append(case)
    results: dict[Case, Result] = {}
    with ThreadPoolExecutor(guests) as pool:
        for ended in pool.map(_boot, sorted(boots.values(), key=len, reverse=True)):
            for case, result in ended.items():
                report(result, surprise(case, result.verdict))
            results |= ended
    return results


def _boot(cases: Sequence[Case]) -> dict[Case, Result]:
    """Run cases of one kernel and layout in one guest."""
    name, layout = cases[0].kernel, cases[0].row.layout
    combinations = [
        {
            "name": str(case),
            "options": dict(case.row.options),
            "calls": dict(case.row.calls),
        }
        for case in cases
    ]
    release, stdout = "", b""
    try:
        with _preparing:
            kernel = obtain(name)
            machine = arm64.machine() if name == _ARM64 else X86_64
            programs = _compiled(name)
        release = kernel.release
        ended = run(
            kernel,
            [machine.python, "-m", "tests.kernel.check", "--programs", str(programs)],
            machine=machine,
            layout=layout,
            stdin=json.dumps(combinations).encode(),
            directory=ROOT,
            timeout_s=60 + 60 * len(cases),
        )
    except (FetchError, KernelImageError) as error:
        failure = Verdict("", "not fetched", str(error))
    except GuestError as error:
        failure, stdout = Verdict("", "died", str(error)), error.stdout
    else:
        failure, stdout = Verdict("", "crashed", ended.stderr.decode()), ended.stdout
    lines = [line for line in stdout.decode().splitlines(keepends=True) if line.endswith("\n")]
    verdicts = {verdict.name: verdict for verdict in (Verdict(**json.loads(v)) for v in lines)}
    return {
        case: Result(name, release, case.row.name, verdicts.get(str(case), failure))
        for case in cases
    }


def _compiled(kernel: str) -> Path:
    """Return the directory with the compiled workloads for a kernel's machine."""
    directory = _PROGRAMS / (_ARM64 if kernel == _ARM64 else "here")
    directory.mkdir(parents=True, exist_ok=True)
    programs = arm64.programs(directory) if kernel == _ARM64 else Programs(directory)
    for program in PROGRAMS:
        programs.path(program)
    return directory


def main() -> int:
    """Run all, the fast part or some; say what is surprising."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.guest.matrix")
    parser.add_argument("--fast", action="store_true", help="the part that `make test` runs")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    parser.add_argument(
        "--write-docs",
        action="store_true",
        help="write the results to docs/kernels.md, over those that it has of the same cases",
    )
    parser.add_argument("--guests", type=int, default=2, metavar="N", help="at a time")
    chosen = parser.parse_args()
    cases = [case for case in CASES if chosen.only in str(case) and (case.fast or not chosen.fast)]
    surprises = 0

    def report(result: Result, surprise: str) -> None:
        nonlocal surprises
        surprises += bool(surprise)
        mark = f"NOT AS EXPECTED: {surprise}" if surprise else f"{result.verdict.seconds:.1f} s"
        print(f"{result.kernel}: {result.row}: {result.cell()}  {mark}", flush=True)

    began = time.monotonic()
    results = run_cases(cases, report, guests=chosen.guests)
    took = time.monotonic() - began
    print(f"{len(results)} cases = {len(results) - surprises} as expected + {surprises} not; "
          f"{took:.0f} s")  # fmt: skip
    if chosen.write_docs:
        earlier = {(result.kernel, result.row): result for result in kept()}
        places = {case: (case.kernel, case.row.name) for case in CASES}
        known = {case: results.get(case) or earlier.get(place) for case, place in places.items()}
        write([result for result in known.values() if result is not None])
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
