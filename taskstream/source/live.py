"""This host's kernel as a source: its probes, their two buffers, their counters.

Rim: touches the kernel, through ``probes``. The protocol between the probes and
this module is written in ``bpf/emit.h``.
"""

import os
import resource as limits
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from taskstream import clock
from taskstream.batch import Batch, ExecText, Origin, join_records, take
from taskstream.errors import KernelError, RecordError
from taskstream.hook import HookRefusedError, Plan, choose
from taskstream.merge import TimeMerge
from taskstream.record import (
    CPU_TOTALS,
    FLAGS,
    KINDS,
    NO_CPU,
    PROCESS_KEY,
    PROCESS_LOSSES,
    RECORD,
    VERSION,
    WINDOW_TOTALS,
)
from taskstream.source import args_record, libbpf
from taskstream.source.attachment import Attachment
from taskstream.source.kernel import RunningKernel, check_not_rejected
from taskstream.source.live_options import LiveOptions
from taskstream.source.probes import SNAPSHOT, load
from taskstream.source.proc import running_tasks
from taskstream.text import readable

__all__ = ["LiveOptions", "LiveSource"]

WINDOW_SLOTS = 64  # as in bpf/layout.h
_ARGS_LOST = FLAGS["args_lost"].mask

LATE_TEXTS_NS = 20_000_000
"""How long to wait for arguments that another CPU's writing holds up."""

HOLD_NS = 5_000_000
"""How long events from perf buffers are held back, to come in the order of time."""

ESSENTIAL = ("fork", "exec", "exit")
"""Kinds of event without which nothing else would be true."""


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
        self._cgroups: list[tuple[int, str | None]] = []
        self._clock = clock.WallClock()
        self.clock_step_ns = 0
        self._invalid = 0
        self._attached = True
        self._fullest_bytes = 0
        check_not_rejected()
        _raise_memory_limit()
        self.origin = Origin(host, _boot_id(), clock.boot_ns())
        self._snapshot_records = self._early_records = np.empty(0, RECORD)
        self._kernel = RunningKernel(options.without)
        self._iterator = not options.snapshot_from_proc
        self._start()
        self.notes = [*self._kernel.notes, *self.plan.notes]
        if not self._iterator and not options.snapshot_from_proc:
            self.notes.append(
                "no task iterator: the running tasks are read from /proc, with start times good "
                "to a clock tick"
            )

    # --- loading ---

    def _start(self) -> None:
        """Load and attach; what is refused on the way is planned anew without it."""
        while True:
            plan = choose(self.options, self._kernel)
            self._iterator &= plan.type_format == "co-re"
            try:
                self._probes = load(plan, self.options, self._kernel, iterator=self._iterator)
            except KernelError as error:
                if self._iterator and SNAPSHOT.program in str(error):
                    self._iterator = False  # no task iterator before 5.8
                elif not self._refuse_what_does_not_load(plan):
                    raise
                continue
            self._merge = TimeMerge(HOLD_NS) if plan.buffer == "perf" else None
            try:
                self._number_from(self.origin.run_ns)
                self.attached_ns = self._attach()
            except HookRefusedError as refused:
                self._probes.close()
                if refused.hook == SNAPSHOT:
                    self._iterator = False
                    continue
                if refused.hook.kind in ESSENTIAL:
                    raise KernelError(
                        f"{refused}; without it no {refused.hook.kind} events are seen, and "
                        "nothing else would be true: run another kernel, or report the output "
                        "of `taskstream doctor --json`"
                    ) from None
                self._kernel.refuse(refused.hook, refused.reason)
            except BaseException:
                self._probes.close()
                raise
            else:
                return

    def _refuse_what_does_not_load(self, plan: Plan) -> bool:
        """Find the hooks without which the rest may load; tell whether there are any.

        A function to trace is looked up, and may be refused, when its program is loaded.
        """
        if plan.type_format != "co-re":
            return False
        found = False
        for hook in plan.hooks:
            if hook.kind in ESSENTIAL:
                continue
            try:
                load(
                    replace(plan, hooks=(hook,)), self.options, self._kernel, iterator=False
                ).close()
            except KernelError as error:
                self._kernel.refuse(hook, str(error).splitlines()[0])
                found = True
        return found

    @property
    def plan(self) -> Plan:
        """What is attached, and what is not as it was asked for."""
        return self._probes.plan

    def _number_from(self, first: int) -> None:
        totals = np.zeros(libbpf.possible_cpus(), CPU_TOTALS)
        totals["seq"] = first
        libbpf.update(self._probes.map_descriptor("totals"), 0, totals)

    def _attach(self) -> int:
        """Take the snapshot's first look, attach, take the snapshot; return when all was on.

        The iterator runs once before, so that the probes know the agent from their first
        event on; the snapshot itself comes after the attachment, so that no task is missed.
        """
        look = self._probes.attach(SNAPSHOT) if self._iterator else None
        if look:
            libbpf.read_iterator(look.link)
        for hook in self.plan.hooks:
            self._probes.attach(hook)
        attached = clock.boot_ns()
        self._snapshot_records = self._running_before(attached, look)
        self._probes.detach(SNAPSHOT)
        return attached

    def _running_before(self, attached_ns: int, look: Attachment | None) -> NDArray[np.void]:
        """Read the running tasks; those that began after the attachment are in the ring.

        So are some that began while it went on, after its first hook: they are left out here,
        known by the fork events that the ring holds by now. (A task that is stopped for all this
        time between its entry into the pid table and the hook, a few instructions, is in both.)
        """
        read = np.frombuffer(libbpf.read_iterator(look.link), RECORD) if look else running_tasks()
        self._early_records = self._probes.events.read().view(RECORD)[:, 0]
        forks = self._early_records[self._early_records["kind"] == KINDS["fork"]]
        forked_ns = dict(zip(forks["pid"].tolist(), forks["start_ns"].tolist(), strict=True))
        slack_ns = 1 if look else 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        starts = zip(read["pid"].tolist(), read["start_ns"].tolist(), strict=True)
        before = [
            start_ns < attached_ns and not 0 <= forked_ns.get(pid, -1) - start_ns < slack_ns
            for pid, start_ns in starts
        ]
        records = take(read, np.flatnonzero(before))
        records["cpu"] = NO_CPU
        records["seq"] = self.origin.run_ns + np.arange(len(records), dtype=np.uint64)
        return records

    # --- reading ---

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when the ring fills."""
        return self._probes.events.descriptor

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
        records = self._read_records()
        texts = self._take_texts(records)
        if self._probes.args.waiting_bytes:
            self._read_texts()
        batch = self._batch(records, texts, tuple(self._cgroups))
        self._cgroups.clear()
        return batch

    def _read_records(self) -> NDArray[np.void]:
        read_ns = clock.boot_ns()
        records = self._none
        if waiting_bytes := self._probes.events.waiting_bytes:
            self._fullest_bytes = max(self._fullest_bytes, waiting_bytes)
            records = self._probes.events.read().view(RECORD)[:, 0]
        if len(self._early_records):
            records = join_records([self._early_records, records])
            self._early_records = records[:0]
        if self._merge is None:
            return records
        merged = self._merge.merge(records, read_ns)
        return merged if self._attached else join_records([merged, self._merge.flush()])

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
        for raw in self._probes.args.read():
            said = args_record.parse(raw)
            if isinstance(said, args_record.ArgsRecord):
                self._texts[said.place] = said.text
            elif said is not None:
                self._cgroups.append((said.id, None if said.gone else readable(said.path)))
            else:
                self._invalid += 1

    def _batch(
        self,
        records: NDArray[np.void],
        texts: Mapping[tuple[int, int], ExecText],
        cgroups: tuple[tuple[int, str | None], ...] = (),
    ) -> Batch:
        if len(records) and (records["version"] != VERSION).any():
            found = sorted(set(records["version"].tolist()) - {VERSION})
            raise RecordError(f"the ring holds records of schema version {found}, not {VERSION}")
        return Batch(self.origin, records, self._clock.pair.offset_ns, texts, cgroups)

    def totals(self) -> NDArray[np.void]:
        """Return the kernel's loss-free totals: ``CPU_TOTALS`` of shape ``(possible CPUs,)``."""
        return libbpf.lookup(self._probes.map_descriptor("totals"), 0, CPU_TOTALS)

    def _slots(self, slot: int) -> NDArray[np.void]:
        return libbpf.lookup(self._probes.map_descriptor("windows"), slot, WINDOW_TOTALS)

    def window(self, window: int) -> NDArray[np.uint64]:
        """Return the loss-free counts of one window, by ``COUNTS``, over all CPUs."""
        slots = self._slots(window % WINDOW_SLOTS)
        counts: NDArray[np.uint64] = slots["count"][slots["window"] == window].sum(
            axis=0, dtype=np.uint64
        )
        return counts

    def open_windows(self) -> list[int]:
        """Return the windows that hold counts, in order."""
        slots = [self._slots(slot) for slot in range(WINDOW_SLOTS)]
        windows = {int(window) for slot in slots for window in slot["window"]}
        return sorted(windows - {0})

    def empty_window(self, window: int) -> None:
        """Make room for a later window: nobody counts in this one any more.

        A slot that holds another window already, after a very long sleep, is left alone.
        """
        slots = self._slots(window % WINDOW_SLOTS)
        if not np.isin(slots["window"], (0, window)).all():
            return
        slots[:] = 0
        libbpf.update(self._probes.map_descriptor("windows"), window % WINDOW_SLOTS, slots)

    def losses(self) -> tuple[NDArray[np.void], NDArray[np.void]]:
        """Return lost events by process, cumulative, where ``charge_losses`` is set.

        Returns:
            Fresh arrays of shape ``(n,)``: ``PROCESS_KEY``, and ``PROCESS_LOSSES`` with the
            sums over all CPUs and what the process was when it was looked at last.
        """
        if not self.options.charge_losses:
            return np.empty(0, PROCESS_KEY), np.empty(0, PROCESS_LOSSES)
        cpus = libbpf.possible_cpus() if self.options.maps_per_core else 1
        keys, values = libbpf.read_table(
            self._probes.map_descriptor("losses"), PROCESS_KEY, PROCESS_LOSSES, cpus=cpus
        )
        newest = values["named_ns"].argmax(axis=1)
        merged = values[np.arange(len(keys)), newest]
        merged["count"] = values["count"].sum(axis=1)
        return keys, merged

    def forget_losses(self, key: NDArray[np.void]) -> None:
        """Free the entry of a process; ``key`` is of shape ``(1,)``."""
        libbpf.delete(self._probes.map_descriptor("losses"), key)

    def missed(self) -> dict[str, int]:
        """Return how often the kernel skipped each program that makes events."""
        makers = {hook.program for hook in self.plan.hooks if hook.kind != "cgroup"}
        return {name: runs for name, runs in self._probes.missed().items() if name in makers}

    def fullest(self) -> float:
        """Return how much of the ring was taken at most since the last call, from 0 to 1.

        Of perf buffers, of all together.
        """
        fullest_bytes, self._fullest_bytes = self._fullest_bytes, 0
        return min(1.0, fullest_bytes / self.options.ring_bytes)

    @property
    def late(self) -> int:
        """Events that came out of a perf buffer too late to be in order."""
        return self._merge.late if self._merge else 0

    @property
    def invalid(self) -> int:
        """Records of both rings that were skipped: they are not as the probes write them."""
        return self._invalid + self._probes.events.invalid + self._probes.args.invalid

    def run_time(self) -> dict[str, tuple[int, int]]:
        """Return ns and runs of each program, while the kernel keeps run-time statistics."""
        return self._probes.run_time()

    # --- the end ---

    def detach(self) -> None:
        """Stop new events; what is in the rings can still be read."""
        for hook in self.plan.hooks:
            self._probes.detach(hook)
        self._attached = False

    def close(self) -> None:
        """Detach and free everything; a second time, nothing."""
        self._probes.close()

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
