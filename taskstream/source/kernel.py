"""What the running kernel has: every capability is tried, not guessed from a version.

Rim: loads and attaches the smallest things for a moment, and mounts tracefs where it is needed.
What follows from the answers: ``taskstream.hook``.
"""

import importlib.util
import mmap
import os
import struct
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from taskstream import place
from taskstream.errors import KernelError
from taskstream.hook import Hook, Via
from taskstream.source import btf, libbpf, tracefs
from taskstream.source.headers import headers_path
from taskstream.source.kernel_config import is_set, read_config
from taskstream.source.perf_event import open_kprobe

__all__ = ["RunningKernel", "check_not_rejected"]

_PROBED = "release_task"  # since 2.6, and what we are about to watch

_INSTRUCTION = struct.Struct("=BBhi")
_RETURN_0 = _INSTRUCTION.pack(0xB7, 0, 0, 0) + _INSTRUCTION.pack(0x95, 0, 0, 0)
_FETCH_AND_ADD = (
    _INSTRUCTION.pack(0xB7, 0, 0, 0)  # r0 = 0
    + _INSTRUCTION.pack(0x7B, 0x0A, -8, 0)  # *(u64 *)(r10 - 8) = r0
    + _INSTRUCTION.pack(0xDB, 0x0A, -8, 1)  # r0 = atomic_fetch_add((u64 *)(r10 - 8), r0)
    + _RETURN_0
)
_BOOT_CLOCK = _INSTRUCTION.pack(0x85, 0, 0, 125) + _RETURN_0  # bpf_ktime_get_boot_ns()


class RunningKernel:
    """Answers with reasons; each is found out once.

    Args:
        without: What to pretend the kernel lacks: names of `hook.CAPABILITIES`, or of functions.
        mounting: Whether tracefs may be mounted where it is needed.

    Attributes:
        notes: What was done to find out, a line each.
    """

    def __init__(self, without: Collection[str] = (), *, mounting: bool = True) -> None:
        self._without = without
        self._mounting = mounting
        self._answers: dict[str, str] = {}
        self._refusals: dict[Hook, str] = {}
        self._functions: dict[str, bool] = {}
        self.notes: list[str] = []

    def lacks(self, capability: str) -> str:
        """Say why something cannot be had; empty if it can."""
        if capability not in self._answers:
            if capability in self._without:
                self._answers[capability] = "left out by the option `without`"
            else:
                self._answers[capability] = _TRIALS[capability](self)
        return self._answers[capability]

    def find_function(self, names: Sequence[str], via: Via) -> str | None:
        """Return the first of some kernel functions that can be watched in a way."""
        exists = self._in_btf if via in ("fentry", "fexit") else self._in_kallsyms
        return next((n for n in names if n not in self._without and exists(n)), None)

    def _in_btf(self, name: str) -> bool:
        return libbpf.function_id(name) > 0

    def _in_kallsyms(self, name: str) -> bool:
        if not self._functions:
            lines = Path("/proc/kallsyms").read_text(errors="replace").splitlines()
            self._functions = {line.split()[2]: True for line in lines if "\t[" not in line}
        return name in self._functions

    def has_tracepoint(self, target: str) -> bool:
        """Tell whether there is a plain tracepoint ``category/name``."""
        if self.lacks("tracefs"):
            return False
        try:
            tracefs.tracepoint_id(*target.split("/"))
        except KernelError:
            return False
        return True

    def system_call(self, name: str) -> str:
        """Return the kernel function of a system call; empty where the machine has no such call.

        (4.17: "syscalls/core, syscalls/x86: Rename struct pt_regs-based sys_*() to __x64_sys_*()")
        """
        machine = os.uname().machine
        if machine == "aarch64" and name in ("fork", "vfork"):
            return ""  # for its 32-bit programs alone
        prefix = {"x86_64": "__x64_sys_", "aarch64": "__arm64_sys_"}.get(machine, "sys_")
        return f"{prefix}{name}"

    def refuse(self, hook: Hook, reason: str) -> None:
        """Remember that a hook was tried in vain."""
        self._refusals[hook] = reason

    def refusal(self, hook: Hook) -> str:
        """Say why a hook that was tried cannot be had; empty if none is known."""
        return self._refusals.get(hook, "")

    # --- what is tried ---

    def _no_btf(self) -> str:
        if btf.PATH.exists() and btf.PATH.stat().st_size:
            return ""
        state = "empty" if btf.PATH.exists() else "missing"
        return f"the kernel has no BTF ({btf.PATH} is {state})"

    def _no_bcc(self) -> str:
        if importlib.util.find_spec("bcc") is None:
            return "BCC is not installed (Debian: apt-get install python3-bpfcc)"
        if headers_path() is None and self._no_btf():
            release = os.uname().release
            return (
                f"BCC needs the kernel's headers or its BTF, and here is neither "
                f"(Debian: apt-get install linux-headers-{release})"
            )
        return ""

    def _no_ring_buffer(self) -> str:
        return _reason(lambda: libbpf.try_ring_buffer(mmap.PAGESIZE))

    def _no_fetch_and_add(self) -> str:
        return _reason(lambda: os.close(libbpf.try_program(libbpf.SOCKET_FILTER, _FETCH_AND_ADD)))

    def _no_boot_clock(self) -> str:
        return _reason(lambda: os.close(libbpf.try_program(libbpf.SOCKET_FILTER, _BOOT_CLOCK)))

    def _no_fentry(self) -> str:
        if no_btf := self.lacks("BTF"):
            return no_btf
        function = libbpf.function_id(_PROBED)

        def attach() -> None:
            program = libbpf.try_program(
                libbpf.TRACING, _RETURN_0, attach_type=libbpf.FENTRY, function=function
            )
            try:
                os.close(libbpf.open_raw_tracepoint(None, program))
            finally:
                os.close(program)

        reason = _reason(attach)
        return f"fentry is refused: {reason}" if reason else ""

    def _no_kprobes(self) -> str:
        reason = _reason(lambda: os.close(open_kprobe(_PROBED, returns=False)))
        text, place = read_config(Path("/"), os.uname().release)
        if reason and text and not is_set(text, "CONFIG_KPROBES"):
            return f"{reason} (CONFIG_KPROBES is not set in {place})"
        return reason

    def _no_tracefs(self) -> str:
        if tracefs.find():
            return ""
        reason = _reason(tracefs.mount) if self._mounting else "not tried"
        if reason:
            return (
                f"tracefs is not mounted, or may not be read, and cannot be mounted ({reason}): "
                f"mount -t tracefs none {tracefs.MOUNT_POINT}"
            )
        self.notes.append(f"tracefs was not mounted: it is now, at {tracefs.MOUNT_POINT}")
        return "" if tracefs.find() else f"{tracefs.MOUNT_POINT} cannot be read"


_TRIALS: dict[str, Callable[[RunningKernel], str]] = {
    "BTF": RunningKernel._no_btf,
    "BCC": RunningKernel._no_bcc,
    "ring buffer": RunningKernel._no_ring_buffer,
    "fetch-and-add": RunningKernel._no_fetch_and_add,
    "boot clock": RunningKernel._no_boot_clock,
    "fentry": RunningKernel._no_fentry,
    "kprobes": RunningKernel._no_kprobes,
    "tracefs": RunningKernel._no_tracefs,
}


def _reason(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except KernelError as error:
        return str(error)
    return ""


def check_not_rejected(path: Path | None = None) -> None:
    """Refuse a kernel that is known to fail.

    Args:
        path: A file with the beginning of a kernel's version a line; None for the one in force.

    Raises:
        KernelError: the running kernel is on the list.
    """
    path = path or place.find(place.REJECT_LIST)
    version = _first_text("/proc/version_signature", "/proc/version")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        beginning = line.strip()
        if beginning and not beginning.startswith("#") and version.startswith(beginning):
            raise KernelError(
                f"this kernel ({version}) is known to fail with BPF: {path}, line {number}, "
                f"has `{beginning}`; run another kernel, or take the line out"
            )


def _first_text(*paths: str) -> str:
    for path in paths:
        try:
            return Path(path).read_text().strip()
        except OSError:
            continue
    return " ".join(os.uname()[2:4])
