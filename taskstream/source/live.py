"""This host's kernel as a source: the CO-RE probes, their two rings, their counters.

Rim: touches the kernel, through ``libbpf`` and ``ring``. The protocol between the probes and
this module is written in ``bpf/emit.h``.
"""

import mmap
import os
import resource as limits
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from taskstream import clock, resource
from taskstream.batch import Batch, ExecText, Origin, join_records, take
from taskstream.errors import KernelError, RecordError
from taskstream.record import (
    ARGS_HEADER,
    CPU_TOTALS,
    FLAGS,
    KINDS,
    NO_CPU,
    RECORD,
    SETTINGS,
    VERSION,
    WINDOW_TOTALS,
)
from taskstream.source.libbpf import BpfObject, possible_cpus
from taskstream.source.proc import running_tasks
from taskstream.source.ring import FixedRing, VariableRing

__all__ = ["HOOKS", "LiveOptions", "LiveSource"]

WINDOW_SLOTS = 64  # as in bpf/emit.h
_ARGS_LOST = FLAGS["args_lost"].mask
_ARGS = struct.Struct(
    "<" + "".join("_BH_I___Q"[ARGS_HEADER[name].itemsize] for name in ARGS_HEADER.names or ())
)
_SNAPSHOT = "on_snapshot"

LATE_TEXTS_NS = 20_000_000
"""How long to wait for arguments that another CPU's writing holds up."""

_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

HOOKS = {
    "fork": ("on_fork",),
    "exec": ("on_exec",),
    "exit": ("on_exit",),
    "free": ("on_free",),
    "fail": (
        "on_fork_return",
        "on_vfork_return",
        "on_clone_return",
        "on_clone3_return",
        "on_execve_return",
        "on_execveat_return",
    ),
}
"""The programs that make each kind of event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """How to load the probes.

    Attributes:
        load_mode: ``entry``, or ``return`` for failed calls too.
        window_ns: Length of a counting window.
        ring_bytes: Size of the event ring, a power of two and a multiple of the page.
        args_ring_bytes: Size of the ring for filename and argv.
        args_max: Bytes of argv to keep per exec.
        last_thread_by_map: Settle group_dead as on kernels before 6.16.
        snapshot_from_proc: Read the running tasks from /proc, as on kernels before 5.8.
        object_path: The compiled object.
    """

    load_mode: str = "entry"
    window_ns: int = 5_000_000_000
    ring_bytes: int = 8 << 20
    args_ring_bytes: int = 2 << 20
    args_max: int = 4096
    last_thread_by_map: bool = False
    snapshot_from_proc: bool = False
    object_path: Path | None = None


class LiveSource:
    """The probes, loaded and attached; the events are in the ring from the moment it is made.

    Attributes:
        origin: This run.
        attached_ns: CLOCK_BOOTTIME at which all probes were attached.
        clock_step_ns: By how much the wall clock was stepped; who reads it sets it to 0.
        notes: What works in another way than usual here, one line each, with the reason.

    Raises:
        KernelError: the kernel, or this process's rights, do not allow it.
        RecordError: the object was built from another schema version.
    """

    def __init__(self, options: LiveOptions, *, host: str) -> None:
        self.options = options
        self._none = np.empty(0, RECORD)
        self._texts: dict[tuple[int, int], ExecText] = {}
        self._clock = clock.WallClock()
        self.clock_step_ns = 0
        _check_kernel(options)
        self.origin = Origin(host, _boot_id(), clock.boot_ns())
        self.notes: list[str] = []
        self._iterator = not options.snapshot_from_proc
        self._object = self._load_some()
        try:
            self._ring = FixedRing(
                self._object.map_descriptor("events"), options.ring_bytes, RECORD.itemsize
            )
            self._args = VariableRing(self._object.map_descriptor("args"), options.args_ring_bytes)
            self._number_from(self.origin.run_ns)
            self._snapshot_records = self._early_records = np.empty(0, RECORD)
            self.attached_ns = self._attach()
        except BaseException:
            self._object.close()
            raise

    # --- loading ---

    def _load_some(self) -> BpfObject:
        """Load the object; without the task iterator, where the kernel has none (before 5.8)."""
        path = self.options.object_path or resource.bpf_object()
        while True:
            self._object = BpfObject(path)
            try:
                self._load()
            except KernelError as error:
                self._object.close()
                if not self._iterator or "on_snapshot" not in str(error):
                    raise
                self._iterator = False
            except BaseException:
                self._object.close()
                raise
            else:
                if not self._iterator:
                    self.notes.append(
                        "no task iterator: the running tasks are read from /proc, with start "
                        "times good to a clock tick"
                    )
                return self._object

    def _load(self) -> None:
        options, data = self.options, self._object.data(".rodata")
        settings = np.frombuffer(data, SETTINGS, 1) if len(data) == SETTINGS.itemsize else None
        found = "another" if settings is None else int(settings["schema_version"][0])
        if settings is None or found != VERSION:
            raise RecordError(
                f"the BPF object is of schema version {found}, this program of {VERSION}: "
                "build it again with `make bpf`, or install the wheel again"
            )
        settings["wake_bytes"] = options.ring_bytes // 4
        settings["window_ns"] = options.window_ns
        settings["args_max"] = options.args_max
        settings["page_bytes"] = mmap.PAGESIZE
        settings["last_thread_by_map"] = options.last_thread_by_map
        self._object.set_max_entries("events", options.ring_bytes)
        self._object.set_max_entries("args", options.args_ring_bytes)
        if options.load_mode == "entry":
            for program in HOOKS["fail"]:
                self._object.leave_out(program)
        if not self._iterator:
            self._object.leave_out(_SNAPSHOT)
            np.frombuffer(self._object.data(".bss"), np.uint32, 1)[0] = os.getpid()
        _raise_memory_limit()
        self._object.load()

    def _number_from(self, first: int) -> None:
        totals = np.zeros(possible_cpus(), CPU_TOTALS)
        totals["seq"] = first
        self._object.update("totals", 0, totals)

    def _attach(self) -> int:
        """Take the snapshot's first look, attach, take the snapshot; return when all was on.

        The iterator runs once before, so that the probes know the agent from their first
        event on; the snapshot itself comes after the attachment, so that no task is missed.
        """
        if self._iterator:
            self._object.attach(_SNAPSHOT)
            self._object.read_iterator(_SNAPSHOT)
        for program in self.programs:
            self._object.attach(program)
        attached = clock.boot_ns()
        self._snapshot_records = self._running_before(attached)
        self._object.detach(_SNAPSHOT)
        return attached

    def _running_before(self, attached_ns: int) -> NDArray[np.void]:
        """Read the running tasks; those that began after the attachment are in the ring.

        So are some that began while it went on, after its first hook: they are left out here,
        known by the fork events that the ring holds by now. (A task that is stopped for all this
        time between its entry into the pid table and the hook, a few instructions, is in both.)
        """
        if self._iterator:
            read = np.frombuffer(self._object.read_iterator(_SNAPSHOT), RECORD)
        else:
            read = running_tasks()
        self._early_records = self._ring.read().view(RECORD)[:, 0]
        forks = self._early_records[self._early_records["kind"] == KINDS["fork"]]
        forked_ns = dict(zip(forks["pid"].tolist(), forks["start_ns"].tolist(), strict=True))
        slack_ns = 1 if self._iterator else 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        starts = zip(read["pid"].tolist(), read["start_ns"].tolist(), strict=True)
        before = [
            start_ns < attached_ns and not 0 <= forked_ns.get(pid, -1) - start_ns < slack_ns
            for pid, start_ns in starts
        ]
        records = take(read, np.flatnonzero(before))
        records["cpu"] = NO_CPU
        records["seq"] = self.origin.run_ns + np.arange(len(records), dtype=np.uint64)
        return records

    @property
    def programs(self) -> list[str]:
        """Names of the attached programs."""
        kinds = [k for k in HOOKS if k != "fail" or self.options.load_mode == "return"]
        return [program for kind in kinds for program in HOOKS[kind]]

    # --- reading ---

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the ring fills."""
        return self._ring.descriptor

    def snapshot(self) -> Batch:
        """Return the tasks that ran before the probes did, as events of kind ``task``."""
        return self._batch(self._snapshot_records, {})

    def read(self) -> Batch:
        """Take what is in the rings; a batch of none when there is nothing.

        The events first, then the arguments: a probe submits the arguments before it submits
        the event, so those of every event that was read are there. What is left over belongs
        to events that are being written at this moment.
        """
        step = self._clock.refresh(clock.boot_ns())
        if step:
            self.clock_step_ns = step
        if not self._ring.waiting_bytes and not len(self._early_records):
            return self._batch(self._none, {})
        records = self._ring.read().view(RECORD)[:, 0]
        if len(self._early_records):
            records = join_records([self._early_records, records])
            self._early_records = records[:0]
        return self._batch(records, self._take_texts(records))

    def _take_texts(self, records: NDArray[np.void]) -> dict[tuple[int, int], ExecText]:
        """Take the arguments of the execs among ``records``; flag those that do not come.

        Another CPU may be in the middle of writing its arguments before those of an event
        that is here already: then they come within microseconds.
        """
        rows = np.flatnonzero(records["kind"] == KINDS["exec"])
        rows = rows[records["flags"][rows] & _ARGS_LOST == 0]
        if not len(rows):
            return {}
        cpus, numbers = records["cpu"][rows].tolist(), records["seq"][rows].tolist()
        places = list(zip(cpus, numbers, strict=True))
        self._read_texts()
        if not self._texts.keys() >= set(places):
            self._wait_for_texts(set(places))
            late = [
                row for row, place in zip(rows, places, strict=True) if place not in self._texts
            ]
            records["flags"][late] |= _ARGS_LOST
        return {place: self._texts.pop(place) for place in places if place in self._texts}

    def _wait_for_texts(self, places: set[tuple[int, int]]) -> None:
        end_ns = clock.boot_ns() + LATE_TEXTS_NS
        while not self._texts.keys() >= places and clock.boot_ns() < end_ns:
            self._read_texts()

    def _read_texts(self) -> None:
        for raw in self._args.read():
            seq, cpu, filename_bytes, args_bytes = _ARGS.unpack_from(raw)
            middle = _ARGS.size + filename_bytes
            self._texts[cpu, seq] = raw[_ARGS.size : middle], raw[middle : middle + args_bytes]

    def _batch(self, records: NDArray[np.void], texts: Mapping[tuple[int, int], ExecText]) -> Batch:
        if len(records) and (records["version"] != VERSION).any():
            found = sorted(set(records["version"].tolist()) - {VERSION})
            raise RecordError(f"the ring holds records of schema version {found}, not {VERSION}")
        return Batch(self.origin, records, self._clock.pair.offset_ns, texts)

    def totals(self) -> NDArray[np.void]:
        """Return the kernel's loss-free totals: ``CPU_TOTALS`` of shape ``(possible CPUs,)``."""
        return self._object.lookup("totals", 0, CPU_TOTALS)

    def window(self, window: int) -> NDArray[np.uint64]:
        """Return the loss-free counts of one window, by ``COUNTS``, over all CPUs."""
        slots = self._object.lookup("windows", window % WINDOW_SLOTS, WINDOW_TOTALS)
        counts: NDArray[np.uint64] = slots["count"][slots["window"] == window].sum(
            axis=0, dtype=np.uint64
        )
        return counts

    def open_windows(self) -> list[int]:
        """Return the windows that hold counts, in order."""
        slots = [self._object.lookup("windows", i, WINDOW_TOTALS) for i in range(WINDOW_SLOTS)]
        windows = {int(window) for slot in slots for window in slot["window"]}
        return sorted(windows - {0})

    def empty_window(self, window: int) -> None:
        """Make room for a later window: nobody counts in this one any more.

        A slot that holds another window already, after a very long sleep, is left alone.
        """
        slots = self._object.lookup("windows", window % WINDOW_SLOTS, WINDOW_TOTALS)
        if not np.isin(slots["window"], (0, window)).all():
            return
        slots[:] = 0
        self._object.update("windows", window % WINDOW_SLOTS, slots)

    def missed(self) -> dict[str, int]:
        """Return how often the kernel skipped each program (recursion_misses)."""
        return {name: self._object.info(name).recursion_misses for name in self.programs}

    def run_time(self) -> dict[str, tuple[int, int]]:
        """Return ns and runs of each program, while the kernel keeps run-time statistics."""
        infos = {name: self._object.info(name) for name in self.programs}
        return {name: (info.run_time_ns, info.run_count) for name, info in infos.items()}

    # --- the end ---

    def detach(self) -> None:
        """Stop new events; what is in the rings can still be read."""
        for program in self.programs:
            self._object.detach(program)

    def close(self) -> None:
        """Detach and free everything."""
        self._ring.close()
        self._args.close()
        self._object.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _raise_memory_limit() -> None:
    """Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; later ones do not ask."""
    try:
        limits.setrlimit(limits.RLIMIT_MEMLOCK, (limits.RLIM_INFINITY, limits.RLIM_INFINITY))
    except (ValueError, OSError):
        return


def _check_kernel(options: LiveOptions) -> None:
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise KernelError(
            "the kernel has no BTF: /sys/kernel/btf/vmlinux is missing, so the CO-RE object "
            "cannot be relocated; run a kernel built with CONFIG_DEBUG_INFO_BTF"
        )
    if options.load_mode == "entry":
        return
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()
               if line.split()[2] in ("tracefs", "debugfs")]  # fmt: skip
    if not mounted:
        raise KernelError(
            "load mode `return` attaches to system call tracepoints, and tracefs is not mounted: "
            "mount -t tracefs none /sys/kernel/tracing, or use load mode `entry`"
        )
    if not any(os.access(f"{path}/events", os.R_OK) for path in _TRACEFS):
        raise KernelError(
            f"load mode `return` attaches to system call tracepoints, and {mounted[0]} cannot be "
            "read: run as root, or grant CAP_DAC_READ_SEARCH, or use load mode `entry`"
        )
