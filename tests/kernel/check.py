"""The known workload under one live source after another: is every event there, exactly once?

Run as root as ``python -m tests.kernel.check --programs DIRECTORY``, on any machine; the
combinations are a JSON list on standard input, each an object:

    {"name": "...", "options": {LiveOptions by name}, "calls": {"fork": "kernel_clone", ...}}

``calls`` says which ``call`` a failure has where the hooks cannot tell the system call. For each
combination one line of JSON comes out, see ``Verdict``. What happened is known from what the
workloads themselves report, what was seen from the events and the kernel's counters; the law is
happened = delivered + lost + missed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from taskstream.errors import TaskstreamError
from taskstream.record import COUNTS
from taskstream.source.live import LiveOptions
from tests.kernel.control_groups import named_hierarchy, new_group
from tests.kernel.events import Events, call_name
from tests.kernel.host import at_rest, forks_since_boot
from tests.kernel.programs import Programs, Run
from tests.kernel.recorder import Recorder, wait_until

__all__ = ["PROGRAMS", "WORKLOADS", "ZAPPED", "Verdict", "judge"]

ZAPPED = 13
"""Processes whose leader is released together with their last thread, in one call."""

WORKLOADS: tuple[tuple[object, ...], ...] = (
    ("create", "fork", 23),
    ("create", "thread", 29),
    ("create", "vfork", 19),
    ("create", "clone3", 17),
    ("end", "zap", ZAPPED),
    ("fail", "nproc", 7),
    ("fail", "exec"),
)
"""Primes, so that no two of them, nor a multiple, are taken for each other."""

PROGRAMS = tuple(sorted({str(program) for program, *_ in WORKLOADS}))
"""The workloads to compile beforehand, where there is a compiler."""

Row = tuple[Any, ...]


@dataclass
class Verdict:
    """How one combination went.

    Attributes:
        name: Of the combination.
        outcome: ``exact``: each event once, none missed. ``missed``: the kernel skipped programs,
            and the events that are not there are among them. ``wrong``: anything else.
            ``refused``: the source said why it does not start. ``crashed``: another error.
        message: The refusal, or the traceback.
        complaints: What was wrong.
        happened: What the workloads did, by kind.
        delivered: What of it came as events, by kind.
        lost: Events of the whole recording that found no room.
        missed: How often the kernel skipped a program, by program; those that were.
        notes: Of the source.
        seconds: It took, the loading included.
    """

    name: str
    outcome: str = "crashed"
    message: str = ""
    complaints: list[str] = field(default_factory=list)
    happened: dict[str, int] = field(default_factory=dict)
    delivered: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0


def judge(combination: Mapping[str, Any], programs: Programs) -> Verdict:
    """Record the known workload with one combination, and compare."""
    verdict = Verdict(combination["name"])
    began = time.monotonic()
    try:
        options = dict(combination["options"])
        if "without" in options:
            options["without"] = tuple(options["without"])
        with _in_new_group() as cgroup, Recorder(LiveOptions(**options)) as recorder:
            calls = combination.get("calls", {}) if options.get("load_mode") == "return" else None
            _Comparison(verdict, recorder, calls, cgroup).make(programs)
    except TaskstreamError as error:
        verdict.outcome, verdict.message = "refused", str(error)
    except Exception:
        verdict.message = traceback.format_exc()
    verdict.seconds = round(time.monotonic() - began, 2)
    return verdict


class _Comparison:
    """One recording of the known workload.

    Args:
        verdict: To fill in.
        recorder: Under way.
        calls: The names of failed calls that differ from the system call's; None: failures
            are not recorded.
        cgroup: Id of the cgroup that all of it happens in; None: no hierarchy.
    """

    def __init__(
        self,
        verdict: Verdict,
        recorder: Recorder,
        calls: Mapping[str, str] | None,
        cgroup: int | None,
    ) -> None:
        self._verdict = verdict
        self._recorder = recorder
        self._calls = calls
        self._cgroup = cgroup
        self._happened: Counter[Row] = Counter()

    def make(self, programs: Programs) -> None:
        verdict, recorder = self._verdict, self._recorder
        verdict.notes = list(recorder.source.notes)
        if not len(recorder.snapshot.of("task", pid=os.getpid())):
            verdict.complaints.append("the snapshot does not have this process")
        stat, counted = at_rest(forks_since_boot, self._forks)
        with tempfile.TemporaryDirectory() as name:
            _lay_ready(Path(name))
            for program, *arguments in WORKLOADS:
                run = programs.run(str(program), *arguments, cwd=name)
                argv = [os.fspath(programs.path(str(program))), *map(str, arguments)]
                self._happened.update(_done_by(run, argv, self._calls))
        with suppress(AssertionError):  # what did not come is found missing below
            wait_until(self._all_released, every_s=0.1)
        stat_after, counted_after = at_rest(forks_since_boot, self._forks)
        if stat_after - stat != counted_after - counted:
            verdict.complaints.append(
                f"/proc/stat counts {stat_after - stat} forks, the probes (with those that the "
                f"kernel skipped) {counted_after - counted}"
            )
        self._compare(recorder.stop())

    @property
    def _pids(self) -> set[int]:
        return {row[1] for row in self._happened if row[0] == "fork"}

    def _missed(self) -> Counter[str]:
        """Count skipped programs by the kind of event that they make."""
        kinds = {hook.program: hook.kind for hook in self._recorder.source.plan.hooks}
        missed: Counter[str] = Counter()
        for program, number in self._recorder.source.missed().items():
            missed[kinds[program]] += number
        return missed

    def _lost_by_kind(self) -> Counter[str]:
        lost: Counter[str] = Counter()
        numbers = self._recorder.source.totals()["lost"].sum(axis=0).tolist()
        for count, number in zip(COUNTS, numbers, strict=True):
            lost[count.kind] += number
        return +lost

    def _lost(self) -> int:
        return self._lost_by_kind().total()

    def _forks(self) -> int:
        return self._recorder.forks_counted() + self._missed()["fork"]

    def _all_released(self) -> bool:
        self._recorder.read()
        if self._recorder.source.options.charge_losses:
            return not list(self._shortfalls(self._recorder.events))
        released = self._pids & set(self._recorder.events.of("free")["pid"])
        return len(released) + self._missed()["free"] + self._lost() >= len(self._pids)

    def _compare(self, events: Events) -> None:
        verdict = self._verdict
        found, identities = _seen_of(events, self._pids)
        missing, unexpected = self._happened - found, found - self._happened
        verdict.happened = _by_kind(self._happened)
        verdict.delivered = _by_kind(found)
        verdict.lost = self._lost()
        missed = self._missed()
        verdict.missed = {k: n for k, n in self._recorder.source.missed().items() if n}
        lost, absences = self._lost_by_kind(), Counter(_by_kind(missing))
        for kind, absent in absences.items():
            if absent > missed[kind] + lost[kind]:
                verdict.complaints.append(f"{absent} {kind} events are not there: {missing}")
        if unexpected:
            verdict.complaints.append(f"these did not happen: {unexpected}")
        unseen = missed["exit"] + lost["exit"]
        dead = Counter(events.of("exit").with_flag("group_dead")["tgid"])
        for tgid in {row[2] for row in self._happened if row[0] == "fork"}:
            # Before 6.16 it may be another task's exit at the same moment; but it is one.
            if dead[tgid] > 1 or (not dead[tgid] and not unseen):
                verdict.complaints.append(f"{tgid} died {dead[tgid]} times")
        for pid, starts in identities.items():
            if len(starts) != 1:
                verdict.complaints.append(f"{pid} has more than one start_ns: {starts}")
        cgroups = {
            (str(kind), cgroup)
            for kind in ("fork", "exec", "exit", "fail")
            for pid, cgroup in zip(*(events.of(kind)[c] for c in ("pid", "cgroup_id")), strict=True)
            if pid in self._pids and cgroup != self._cgroup
        }
        if self._cgroup is not None and cgroups:
            verdict.complaints.append(f"not of cgroup {self._cgroup}: {sorted(cgroups)}")
        self._compare_counters(events)
        if verdict.complaints:
            verdict.outcome = "wrong"
        elif sum(missed.values()):
            verdict.outcome = "missed"
        else:
            verdict.outcome = "exact"

    def _compare_counters(self, events: Events) -> None:
        """Whatever the kernel counted, over the whole host, came as an event or was lost."""
        counted: Counter[str] = Counter()
        for count in COUNTS:
            counted[count.kind] += self._recorder.counted()[count.name]
        delivered, lost = events.count(), self._lost_by_kind()
        if +counted != Counter(delivered) + lost:
            self._verdict.complaints.append(
                f"the kernel's counters say {dict(+counted)}, the events {delivered}, lost {lost}"
            )
        if self._recorder.source.options.charge_losses:
            self._compare_losses(events)
        elif self._verdict.lost:
            self._verdict.complaints.append(f"{self._verdict.lost} events found no room")

    def _compare_losses(self, events: Events) -> None:
        """Whatever found no room was charged to its process, or to none that can be told."""
        source = self._recorder.source
        totals = source.totals()
        lost, uncharged = totals["lost"].sum(axis=0), totals["uncharged"].sum(axis=0)
        _, losses = source.losses()
        if (losses["count"].sum(axis=0) + uncharged != lost).any():
            self._verdict.complaints.append(
                f"{losses['count'].sum(axis=0)} charged, {uncharged} to nobody, of {lost} lost"
            )
        if not uncharged.any():
            self._verdict.complaints += self._shortfalls(events)

    def _shortfalls(self, events: Events) -> Iterator[str]:
        """Yield the processes of the workload whose events neither came nor were charged.

        What the kernel skipped can be of any of them: as many as that may be absent.
        """
        keys, losses = self._recorder.source.losses()
        sums = losses["count"].sum(axis=1).tolist()
        charged = Counter(dict(zip(keys["tgid"].tolist(), sums, strict=True)))
        came = Counter(events["tgid"])
        processes = {row[1]: row[2] for row in self._happened if row[0] == "fork"}
        happened: Counter[int] = Counter()
        for row, number in self._happened.items():
            happened[processes[row[1]]] += number
        skipped = sum(self._missed().values())
        for tgid, number in happened.items():
            absent = number - came[tgid] - charged[tgid]
            skipped -= max(absent, 0)
            if absent < 0 or skipped < 0:
                yield f"{tgid}: {number} happened, {came[tgid]} came, {charged[tgid]} charged"


def _done_by(run: Run, argv: Sequence[str], calls: Mapping[str, str] | None) -> Iterator[Row]:
    """Yield what a workload reports of itself, as the rows of ``_seen_of``."""
    yield "fork", run.pid, run.pid, os.getpid()
    yield "exec", run.pid, _argv(argv)
    yield "exit", run.pid, 0
    yield "free", run.pid
    for number, child in enumerate(run.children):
        yield "fork", child.pid, child.pid, run.pid
        yield "exec", child.pid, _argv(["create", "exit", str(number)])
        yield "exit", child.pid, child.status
        yield "free", child.pid
    for tid, _ in run.all("thread"):
        yield "fork", tid, run.pid, os.getpid()
        yield "exit", tid, 0
        yield "free", tid
    for leader, tid in run.all("zapped"):
        for pid, status in ((leader, 3 << 8), (tid, 5 << 8)):
            yield "fork", pid, leader, run.pid
            yield "exit", pid, status
            yield "free", pid
    for line in run.output.decode().splitlines():
        word, name, *rest = line.split()
        if word == "call" and calls is not None:
            yield "fail", run.pid, calls.get(name, name), int(rest[0])


def _seen_of(events: Events, pids: set[int]) -> tuple[Counter[Row], dict[int, set[int]]]:
    """Return what the events say of some tasks: one row an event; each task's start_ns."""
    rows: Counter[Row] = Counter()
    identities: dict[int, set[int]] = {}
    for kind in ("fork", "exec", "exit", "free", "fail"):
        for event in events.of(kind):
            pid = int(event["pid"])
            if pid not in pids:
                continue
            identities.setdefault(pid, set()).add(int(event["start_ns"]))
            rows[kind, pid, *_facts(kind, event, events)] += 1
    return rows, identities


def _facts(kind: str, event: Any, events: Events) -> Row:
    if kind == "fork":
        return int(event["tgid"]), int(event["ppid"])
    if kind == "exec":
        _, argv = events.texts.get((int(event["cpu"]), int(event["seq"])), (b"", b""))
        return (argv,)
    if kind == "exit":
        return (int(event["exit_code"]),)
    if kind == "fail":
        return call_name(event["call"]), int(event["errno"])
    return ()


def _argv(words: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _by_kind(rows: Counter[Row]) -> dict[str, int]:
    kinds: Counter[str] = Counter()
    for row, number in rows.items():
        kinds[row[0]] += number
    return dict(kinds)


def _lay_ready(directory: Path) -> None:
    """Lay out the files that ``fail exec`` tries to run."""
    directory.chmod(0o755)
    (directory / "unreadable").write_text("no execute permission")
    (directory / "directory").mkdir()
    (directory / "no_format").write_bytes(b"\0" * 64)
    (directory / "busy").write_bytes(b"\x7fELF")
    (directory / "wrong_interpreter").write_text("#!/nowhere/to/be/found\n")
    for name in ("no_format", "busy", "wrong_interpreter"):
        (directory / name).chmod(0o755)
    (directory / "loop").symlink_to("loop")
    (directory / "link").symlink_to("busy")


@contextmanager
def _in_new_group() -> Iterator[int | None]:
    """Be in a cgroup of its own meanwhile; yield its id, None where no hierarchy is mounted."""
    found = named_hierarchy()
    if found is None:
        yield None
        return
    root, number = found
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    before = next(path for of, _, path in lines if int(of) == number)
    with new_group(root) as group:
        (group / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield group.stat().st_ino
        finally:
            (root / before.lstrip("/") / "cgroup.procs").write_text(str(os.getpid()))


def main() -> None:
    """Judge the combinations of standard input, one line each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=Path, required=True, help="directory of the workloads")
    programs = Programs(parser.parse_args().programs.resolve())
    for combination in json.load(sys.stdin):
        print(json.dumps(asdict(judge(combination, programs))), flush=True)


if __name__ == "__main__":
    main()
