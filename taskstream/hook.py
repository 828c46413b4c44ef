"""Which programs are attached where: the table of hooks, and the choice for one kernel.

Pure: no I/O. It knows what each mode needs and what to fall back to; what a kernel has is told
by whoever tried it (``taskstream.source.kernel``). Each fallback is a note, never silent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from taskstream.errors import KernelError

__all__ = [
    "BUFFERS",
    "CAPABILITIES",
    "LOAD_MODES",
    "RELEASE_LATE",
    "TRACINGS",
    "TYPE_FORMATS",
    "Hook",
    "HookRefusedError",
    "Kernel",
    "Mode",
    "Plan",
    "choose",
]

TYPE_FORMATS = ("auto", "co-re", "legacy")
TRACINGS = ("trampoline", "probe", "tracepoint")
LOAD_MODES = ("entry", "return")
BUFFERS = ("auto", "ring", "perf")
CAPABILITIES = (
    "BTF",
    "BCC",
    "ring buffer",
    "fetch-and-add",
    "boot clock",
    "fentry",
    "kprobes",
    "tracefs",
)
"""What a kernel may lack, or be taken to lack."""

Via = Literal[
    "tp_btf", "raw_tracepoint", "tracepoint", "fentry", "fexit", "kprobe", "kretprobe", "iterator"
]

_SECTIONS = {"tracepoint": "tp", "raw_tracepoint": "raw_tp", "iterator": "iter"}

RELEASE_LATE = "releases are seen at sched_process_free, an RCU grace period after release_task"
"""What every output says where no hook in release_task can be had."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One program and where it is attached.

    Attributes:
        kind: Of the events that it makes.
        program: Its name in ``bpf/``.
        via: The way of attaching it.
        target: The tracepoint, as ``category/name`` where it is a plain one, or the function.
    """

    kind: str
    program: str
    via: Via
    target: str

    @property
    def place(self) -> str:
        """Where it is attached, in the words of libbpf's section names."""
        return f"{_SECTIONS.get(self.via, self.via)}/{self.target}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is loaded and attached.

    Attributes:
        type_format: ``co-re`` or ``legacy``.
        buffer: ``ring`` or ``perf``.
        hooks: In the order in which they are attached.
        notes: What is not as it was asked for, and why; and what that means. A line each.
    """

    type_format: str
    buffer: str
    hooks: tuple[Hook, ...]
    notes: tuple[str, ...]

    @property
    def tracing(self) -> str:
        """Name the way in which kernel functions are watched."""
        ways = {"fentry": "trampoline", "kprobe": "probe"}
        return next((ways[h.via] for h in self.hooks if h.via in ways), "tracepoint")

    @property
    def failures_watched(self) -> bool:
        """Tell whether failed creations of tasks are seen."""
        return any(hook.program in _CREATE_PROGRAMS for hook in self.hooks)

    @property
    def release_late(self) -> bool:
        """Tell whether sched_process_free stands in for release_task."""
        return any(hook.program == "on_free" for hook in self.hooks)


class HookRefusedError(KernelError):
    """The kernel would not have one hook that was planned; there may be another way."""

    def __init__(self, hook: Hook, reason: str) -> None:
        super().__init__(f"{hook.place} cannot be attached: {reason}")
        self.hook = hook
        self.reason = reason


class Mode(Protocol):
    """What the user asked for."""

    @property
    def type_format(self) -> str:
        """One of `TYPE_FORMATS`."""

    @property
    def tracing(self) -> str:
        """One of `TRACINGS`: the first to try."""

    @property
    def load_mode(self) -> str:
        """One of `LOAD_MODES`."""

    @property
    def buffer(self) -> str:
        """One of `BUFFERS`."""

    @property
    def cgroup_names(self) -> bool:
        """Whether the names of cgroups are wanted as they appear."""


class Kernel(Protocol):
    """What a kernel has."""

    def lacks(self, capability: str) -> str:
        """Say why something cannot be had; empty if it can.

        Args:
            capability: One of `CAPABILITIES`.
        """

    def find_function(self, names: Sequence[str], via: Via) -> str | None:
        """Return the first of some kernel functions that can be watched in a way."""

    def has_tracepoint(self, target: str) -> bool:
        """Tell whether there is a plain tracepoint ``category/name``."""

    def system_call(self, name: str) -> str:
        """Return the kernel function of a system call; empty where the machine has no such call."""

    def refusal(self, hook: Hook) -> str:
        """Say why a hook that was tried cannot be had; empty if none is known."""


@dataclass(frozen=True, slots=True)
class _Aim:
    """Something that happens in kernel functions, for which a tracepoint can stand in."""

    kind: str
    what: str
    stem: str
    functions: tuple[str, ...]
    returns: bool
    stand_ins: tuple[tuple[str, str], ...]
    unseen: str = "are not seen"


def _failures(kernel: Kernel) -> Iterator[_Aim]:
    yield _Aim(
        "fail",
        "failed fork, vfork, clone and clone3 calls",
        "on_create",
        ("kernel_clone", "_do_fork"),  # 5.10: "fork: rename _do_fork() to kernel_clone()"
        returns=True,
        stand_ins=tuple((f"on_{call}_return", f"syscalls/sys_exit_{call}") for call in _CREATES),
    )
    for call in ("execve", "execveat"):
        yield _Aim(
            "fail",
            f"failed {call} calls",
            f"on_{call}",
            (kernel.system_call(call),),
            returns=True,
            stand_ins=((f"on_{call}_return", f"syscalls/sys_exit_{call}"),),
        )


# Called by release_task alone, once for each task that it releases. release_task itself is no
# choice: it may go on to the leader of the task's process in the same call. (cgroup_task_release
# since 6.19: "cgroup: Rename cgroup lifecycle hooks to cgroup_task_*()")
_RELEASE = _Aim(
    "free",
    "released tasks",
    "on_release",
    ("cgroup_task_release", "cgroup_release"),
    returns=False,
    stand_ins=(("on_free", "sched_process_free"),),
    unseen="are not seen, and so no zombies",
)

_CGROUPS = ("cgroup_mkdir", "cgroup_rename", "cgroup_rmdir")

_CREATES = ("fork", "vfork", "clone", "clone3")
_CREATE_PROGRAMS = {
    "on_create_fexit",
    "on_create_kretprobe",
    *(f"on_{call}_return" for call in _CREATES),
}

_NEEDS = {"trampoline": "fentry", "probe": "kprobes", "tracepoint": ""}
_LIFECYCLE = (
    ("fork", "on_fork", "task_newtask"),
    ("exec", "on_exec", "sched_process_exec"),
    ("exit", "on_exit", "sched_process_exit"),
)


def choose(mode: Mode, kernel: Kernel) -> Plan:
    """Choose what to load on a kernel.

    Raises:
        KernelError: nothing that was asked for, nor what it falls back to, can be had.
    """
    notes: list[str] = []
    type_format = _type_format(mode.type_format, kernel, notes)
    buffer = mode.buffer
    no_ring = kernel.lacks("ring buffer") if buffer != "perf" else ""
    if no_ring:
        notes.append(f"no ring buffer ({no_ring}): events come through perf buffers")
    buffer = "perf" if no_ring or buffer == "perf" else "ring"
    first = TRACINGS.index(mode.tracing)
    ways = TRACINGS[first:] if type_format == "co-re" else TRACINGS[1:]
    aims = [_RELEASE, *(_failures(kernel) if mode.load_mode == "return" else ())]
    via: Via = "tp_btf" if type_format == "co-re" else "raw_tracepoint"
    hooks = [Hook(kind, program, via, target) for kind, program, target in _LIFECYCLE]
    fallen: dict[tuple[str, str], list[str]] = {}
    for aim in aims:
        found, way, reasons = _first_way(aim, ways, type_format, kernel)
        hooks += found
        if not found:
            notes.append(f"{aim.what} {aim.unseen}: {reasons}")
        elif way == "tracepoint":
            notes += _missing_stand_ins(aim, found, type_format, kernel)
        if found and reasons:
            fallen.setdefault((way, reasons), []).append(aim.what)
    for (way, reasons), whats in fallen.items():
        part = f" for {', '.join(whats)}" if len(whats) < len(aims) else ""
        notes.append(f"{_asked(mode, type_format)} falls back to `{way}`{part}: {reasons}")
    if mode.cgroup_names:
        hooks += _cgroup_hooks(via, kernel, notes)
    plan = Plan(type_format, buffer, tuple(hooks), tuple(notes))
    if plan.release_late:
        plan = Plan(type_format, buffer, plan.hooks, (*notes, RELEASE_LATE))
    return plan


def _cgroup_hooks(via: Via, kernel: Kernel, notes: list[str]) -> list[Hook]:
    hooks = [Hook("cgroup", f"on_{name}", via, name) for name in _CGROUPS]
    refused = [reason for hook in hooks if (reason := kernel.refusal(hook))]
    if not refused:
        return hooks
    notes.append(f"cgroups that are gone before they are looked up have no name: {refused[0]}")
    return []


def _asked(mode: Mode, type_format: str) -> str:
    if type_format == "legacy":
        return "ebpf type format `legacy`, which would take kprobes,"
    return f"ebpf co-re tracing `{mode.tracing}`"


def _type_format(wanted: str, kernel: Kernel, notes: list[str]) -> str:
    if wanted == "legacy":
        if no_bcc := kernel.lacks("BCC"):
            raise KernelError(f"ebpf type format `legacy` cannot be used: {no_bcc}")
        return "legacy"
    no_btf = kernel.lacks("BTF")
    if not no_btf:
        return "co-re"
    if no_bcc := kernel.lacks("BCC"):
        raise KernelError(
            f"neither type format can be used; co-re: {no_btf}; legacy: {no_bcc}; "
            "run a kernel built with CONFIG_DEBUG_INFO_BTF, or install what legacy needs"
        )
    notes.append(f"ebpf type format `{wanted}` falls back to `legacy`: {no_btf}")
    return "legacy"


def _first_way(
    aim: _Aim, ways: Sequence[str], type_format: str, kernel: Kernel
) -> tuple[list[Hook], str, str]:
    """Return the hooks of the first way that can be had, its name, and why none before it."""
    reasons: list[str] = []
    for way in ways:
        missing = kernel.lacks(_NEEDS[way]) if _NEEDS[way] else ""
        hooks = [] if missing else list(_hooks(aim, way, type_format, kernel))
        refused = [reason for hook in hooks if (reason := kernel.refusal(hook))]
        kept = [hook for hook in hooks if not kernel.refusal(hook)]
        if kept and (not refused or way == "tracepoint"):
            return kept, way, "; ".join(reasons)
        if not missing and not hooks:
            missing = _absent(aim, way, kernel)
        reasons.append(f"{way}: {missing or refused[0]}")
    return [], "", "; ".join(reasons)


def _missing_stand_ins(
    aim: _Aim, found: Sequence[Hook], type_format: str, kernel: Kernel
) -> Iterator[str]:
    """Yield a note for each that is refused, and each missing one whose system call is there."""
    refused = {
        hook.program: kernel.refusal(hook)
        for hook in _hooks(aim, "tracepoint", type_format, kernel)
    }
    for program, target in aim.stand_ins:
        call = target.removeprefix("syscalls/sys_exit_")
        if any(hook.program == program for hook in found):
            continue
        if reason := refused.get(program):
            yield f"failed {call} calls are not seen: {reason}"
            continue
        function = kernel.system_call(call)
        if function and kernel.find_function((function,), "kprobe"):
            yield f"failed {call} calls are not seen: this kernel has no tracepoint {target}"


def _absent(aim: _Aim, way: str, kernel: Kernel) -> str:
    if way == "tracepoint":
        return kernel.lacks("tracefs") or "this kernel has no such tracepoint"
    return f"this kernel has no {' or '.join(aim.functions)}"


def _hooks(aim: _Aim, way: str, type_format: str, kernel: Kernel) -> Iterator[Hook]:
    """Yield the hooks of one way that the kernel has."""
    if way == "tracepoint":
        for program, target in aim.stand_ins:
            if "/" not in target:
                via: Via = "tp_btf" if type_format == "co-re" else "raw_tracepoint"
                yield Hook(aim.kind, program, via, target)
            elif kernel.has_tracepoint(target):
                yield Hook(aim.kind, program, "tracepoint", target)
        return
    if way == "trampoline":
        via = "fexit" if aim.returns else "fentry"
    else:
        via = "kretprobe" if aim.returns else "kprobe"
    function = kernel.find_function(aim.functions, via)
    if function:
        yield Hook(aim.kind, f"{aim.stem}_{via}", via, function)
