"""The probes of a plan: loaded, attached, and the buffers that they write to.

Rim: touches the kernel. Whether libbpf loaded the compiled object or BCC compiled one makes no
difference from here on: both are maps and programs by descriptor.
"""

import mmap
import os
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from taskstream import resource
from taskstream.errors import KernelError, RecordError
from taskstream.hook import Hook, HookRefusedError, Plan
from taskstream.record import RECORD, SETTINGS, VERSION
from taskstream.source import cgroup_tree, libbpf, tracefs
from taskstream.source.attachment import Attachment
from taskstream.source.bpf_object import HASH, PERCPU_HASH, BpfObject
from taskstream.source.btf import KernelBtf
from taskstream.source.kernel import RunningKernel
from taskstream.source.live_options import LiveOptions
from taskstream.source.perf_buffer import FixedPerfBuffers, VariablePerfBuffers, online_cpus
from taskstream.source.ring import FixedRing, VariableRing

if TYPE_CHECKING:
    from taskstream.source.legacy import LegacyObject

__all__ = ["SNAPSHOT", "Probes", "load"]

SNAPSHOT = Hook("task", "on_snapshot", "iterator", "task")

_RINGS, _PERF_BUFFERS = ("events", "args"), ("events_perf", "args_perf")
_REBUILD = "build it again with `make bpf`, or install the wheel again"


class _Loaded(Protocol):
    """Maps and programs in the kernel."""

    def map_descriptor(self, name: str) -> int:
        """Return the descriptor of a map."""

    def program_descriptor(self, name: str) -> int:
        """Return the descriptor of a program."""

    def close(self) -> None:
        """Free everything."""


def load(plan: Plan, options: LiveOptions, kernel: RunningKernel, *, iterator: bool) -> "Probes":
    """Load what a plan needs; nothing is attached yet.

    Args:
        plan: What, and how.
        options: Sizes and switches.
        kernel: To load it on.
        iterator: Whether the snapshot's program is loaded, too (co-re only).

    Raises:
        KernelError: the kernel refuses it.
        RecordError: the object was built from another schema version.
    """
    settings = {
        "args_max": options.args_max,
        "window_ns": options.window_ns,
        "wake_bytes": options.ring_bytes // 4,
        "page_bytes": mmap.PAGESIZE,
        "last_thread_by_map": int(options.last_thread_by_map),
        "perf_buffer": int(plan.buffer == "perf"),
        "charge_losses": int(options.charge_losses),
        "boot_offset_ns": _boot_offset_ns(),
        "no_boot_clock": int(plan.buffer == "perf" and bool(kernel.lacks("boot clock"))),
        **_cgroup_settings(),
    }
    if plan.type_format == "legacy":
        compiled = _load_legacy(plan, options, settings)
        return Probes(replace(plan, notes=(*plan.notes, *compiled.notes)), options, compiled)
    return Probes(plan, options, _load_core(plan, options, settings, kernel, iterator))


def _buffers(
    perf: bool, loaded: _Loaded, size: int, args_size: int
) -> "tuple[FixedRing | FixedPerfBuffers, VariableRing | VariablePerfBuffers]":
    """Map the buffers of events and arguments; if that fails, free what there is.

    Raises:
        KernelError: the kernel refuses it.
    """
    record, descriptor = RECORD.itemsize, loaded.map_descriptor
    with ExitStack() as stack:
        stack.callback(loaded.close)
        events: FixedRing | FixedPerfBuffers
        args: VariableRing | VariablePerfBuffers
        try:
            if perf:
                events = FixedPerfBuffers(descriptor("events_perf"), size, record)
                stack.callback(events.close)
                args = VariablePerfBuffers(descriptor("args_perf"), args_size)
            else:
                events = FixedRing(descriptor("events"), size, record)
                stack.callback(events.close)
                args = VariableRing(descriptor("args"), args_size)
        except OSError as error:
            raise KernelError(
                f"buffers of {size:,} and {args_size:,} bytes cannot be mapped: {error.strerror}; "
                "run as root, grant CAP_IPC_LOCK, raise kernel.perf_event_mlock_kb, or make "
                "[ring] size smaller"
            ) from None
        stack.pop_all()
    return events, args


def _boot_offset_ns() -> int:
    """Return CLOCK_BOOTTIME minus CLOCK_MONOTONIC.

    The least of a few looks: an interruption between the two clocks makes it more.
    """
    looks = []
    for _ in range(5):
        monotonic_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        looks.append(time.clock_gettime_ns(time.CLOCK_BOOTTIME) - monotonic_ns)
    return min(looks)


def _cgroup_settings() -> dict[str, int]:
    """Return where the probes find the cgroup of a task: nowhere but in v2, if v2 is mounted."""
    found = cgroup_tree.hierarchy()
    if found is None or not found.number:
        return {"cgroup_hierarchy": 0, "cgroup_slot": 0}
    slot = None
    with suppress(KernelError), KernelBtf() as kernel:
        slot = kernel.value_of("cgroup_subsys_id", f"{found.controller}_cgrp_id")
    # /proc/cgroups leaves out what has no v1 files; the kernels that can have BTF as a rule.
    return {
        "cgroup_hierarchy": found.number,
        "cgroup_slot": found.slot if slot is None else slot,
    }


def _load_core(
    plan: Plan,
    options: LiveOptions,
    settings: dict[str, int],
    kernel: RunningKernel,
    iterator: bool,
) -> BpfObject:
    claims = bool(kernel.lacks("fetch-and-add"))
    opened = BpfObject(options.object_path or resource.bpf_object(claims=claims))
    try:
        _set(opened, settings)
        opened.set_max_entries("events", options.ring_bytes)
        opened.set_max_entries("args", options.args_ring_bytes)
        opened.set_max_entries("losses", options.pid_table_size)
        opened.set_type("losses", PERCPU_HASH if options.maps_per_core else HASH)
        unused = _RINGS if plan.buffer == "perf" else _PERF_BUFFERS
        for name in (*unused, *(() if options.charge_losses else ("losses",))):
            opened.leave_out_map(name)
        hooks = [*plan.hooks, SNAPSHOT] if iterator else plan.hooks
        opened.keep_programs({hook.program for hook in hooks})
        for hook in plan.hooks:
            if hook.via in ("fentry", "fexit"):
                opened.set_target(hook.program, hook.target)
        if not iterator:
            np.frombuffer(opened.data(".bss"), np.uint32, 1)[0] = os.getpid()
        opened.load()
    except BaseException:
        opened.close()
        raise
    return opened


def _set(opened: BpfObject, settings: dict[str, int]) -> None:
    data = opened.data(".rodata")
    view = np.frombuffer(data, SETTINGS, 1) if len(data) == SETTINGS.itemsize else None
    found = "another" if view is None else int(view["schema_version"][0])
    if view is None or found != VERSION:
        raise RecordError(
            f"the BPF object is of schema version {found}, this program of {VERSION}: {_REBUILD}"
        )
    for name, value in settings.items():
        view[name] = value


def _load_legacy(plan: Plan, options: LiveOptions, settings: dict[str, int]) -> "LegacyObject":
    from taskstream.source.legacy import LegacyObject  # takes its time

    by_map = options.last_thread_by_map or not _exit_tells_group_dead()
    more: dict[str, int | str] = {
        "last_thread_by_map": int(by_map),
        "wake_events": max(1, options.ring_bytes // 4 // RECORD.itemsize // len(online_cpus())),
        "events_bytes": options.ring_bytes,
        "args_bytes": options.args_ring_bytes,
        "losses_type": "percpu_hash" if options.maps_per_core else "hash",
        "losses_max": options.pid_table_size if options.charge_losses else 1,
        "agent_tgid": os.getpid(),
        "kprobes": int(any("kprobe" in hook.program for hook in plan.hooks)),
        "sys_exit_ret_at": tracefs.field_offset("syscalls", "sys_exit_clone", "ret") or 16,
    }
    maps = ["totals", "windows", "losses"]
    maps += _PERF_BUFFERS if plan.buffer == "perf" else _RINGS
    return LegacyObject({**settings, **more}, maps, plan.hooks)


def _exit_tells_group_dead() -> bool:
    """Tell whether sched_process_exit has the argument group_dead (6.16)."""
    try:
        with KernelBtf() as kernel:
            record = "trace_event_raw_sched_process_exit"
            return kernel.offset_of(record, "group_dead") is not None
    except KernelError:
        return tracefs.field_offset("sched", "sched_process_exit", "group_dead") is not None


class Probes:
    """Loaded probes; closed with everything that they have.

    Attributes:
        plan: What is loaded.
        events: The buffer of events.
        args: The buffer of filename and argv.
    """

    def __init__(self, plan: Plan, options: LiveOptions, loaded: _Loaded) -> None:
        self.plan = plan
        self._loaded = loaded
        self._attached: dict[str, Attachment] = {}
        self._missed: dict[str, int] = {}
        self._closed = False
        self.events, self.args = _buffers(
            plan.buffer == "perf", loaded, options.ring_bytes, options.args_ring_bytes
        )

    def map_descriptor(self, name: str) -> int:
        """Return the descriptor of a map."""
        return self._loaded.map_descriptor(name)

    def attach(self, hook: Hook) -> Attachment:
        """Attach one program.

        Raises:
            HookRefusedError: the kernel will not have it.
        """
        try:
            attached = Attachment(hook, self._loaded.program_descriptor(hook.program))
        except KernelError as error:
            raise HookRefusedError(hook, str(error)) from None
        self._attached[hook.program] = attached
        return attached

    def detach(self, hook: Hook) -> None:
        """Detach one program; it may be detached already."""
        attached = self._attached.pop(hook.program, None)
        if attached:
            self._missed[hook.program] = attached.missed()
            attached.close()

    def missed(self) -> dict[str, int]:
        """Return how often the kernel skipped each program of the plan since it was loaded."""
        now = {name: attached.missed() for name, attached in self._attached.items()}
        told = self._missed | now
        return {hook.program: told.get(hook.program, 0) for hook in self.plan.hooks}

    def run_time(self) -> dict[str, tuple[int, int]]:
        """Return ns and runs of each program, while the kernel keeps run-time statistics."""
        infos = {
            hook.program: libbpf.info(self._loaded.program_descriptor(hook.program))
            for hook in self.plan.hooks
        }
        return {name: (info.run_time_ns, info.run_count) for name, info in infos.items()}

    def close(self) -> None:
        """Detach and free everything; a second time, nothing."""
        if self._closed:
            return
        self._closed = True
        for hook in [attached.hook for attached in self._attached.values()]:
            self.detach(hook)
        self.events.close()
        self.args.close()
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
