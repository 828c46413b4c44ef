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
from tests.kernel.guest.table import Result, write
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
_UNLOADABLE = dict.fromkeys(("5.10", "6.1"), "the kernel refused the BPF object")
# There are no such system calls on it.
_UNLOADABLE_OR_NO_FORK = _UNLOADABLE | {_ARM64: "sys_exit_fork cannot be attached"}
_NO_ITERATOR = dict.fromkeys(KERNELS, ("no task iterator: .* read from /proc",))
_NO_BTF = dict.fromkeys(KERNELS, r"the kernel has no BTF.*CONFIG_DEBUG_INFO_BTF")
_NO_TRACEFS = dict.fromkeys(KERNELS, r"tracefs is not mounted: mount -t tracefs")

ROWS = (
    Row(
        name="tracepoint, `entry`",
        options={"load_mode": "entry"},
        refused=_UNLOADABLE,
        skipped=_SKIPPED,
        fast=True,
    ),
    Row(
        name="tracepoint, `return`",
        options={"load_mode": "return"},
        refused=_UNLOADABLE_OR_NO_FORK,
        skipped=_SKIPPED,
        fast=True,
    ),
    Row(
        name="tracepoint, `return`; forced: last thread by map",
        options={"load_mode": "return", "last_thread_by_map": True},
        refused=_UNLOADABLE_OR_NO_FORK,
        skipped=_SKIPPED,
    ),
    Row(
        name="tracepoint, `return`; forced: snapshot from /proc",
        options={"load_mode": "return", "snapshot_from_proc": True},
        notes=_NO_ITERATOR,
        refused=_UNLOADABLE_OR_NO_FORK,
        skipped=_SKIPPED,
    ),
    Row(
        name="tracepoint, `return`; cgroup v1, no headers",
        options={"load_mode": "return"},
        layout=Layout(cgroup="v1", headers=False),
        refused=_UNLOADABLE_OR_NO_FORK,
        skipped=_SKIPPED,
    ),
    Row(
        name="tracepoint, `entry`; no tracefs",
        options={"load_mode": "entry"},
        layout=Layout(tracefs=False),
        refused=_UNLOADABLE,
        skipped=_SKIPPED,
    ),
    Row(
        name="tracepoint, `return`; no tracefs",
        options={"load_mode": "return"},
        layout=Layout(tracefs=False),
        refused=_NO_TRACEFS,
    ),
    Row(
        name="tracepoint, `entry`; no BTF",
        options={"load_mode": "entry"},
        layout=Layout(btf=False),
        refused=_NO_BTF,
    ),
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
    allowed = ("exact", "missed") if case.kernel in case.row.skipped else ("exact",)
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
        {"name": str(case), "options": dict(case.row.options), "calls": dict(case.row.calls)}
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
        "--write-docs", action="store_true", help="write the results to docs/kernels.md"
    )
    parser.add_argument("--guests", type=int, default=2, metavar="N", help="at a time")
    chosen = parser.parse_args()
    if chosen.write_docs and (chosen.fast or chosen.only):
        parser.error("--write-docs needs all results: it goes with neither --fast nor --only")
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
        write([results[case] for case in cases])
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
