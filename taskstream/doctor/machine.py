"""What a machine's own texts mean for the agent: its kernel, its rights, its file systems.

Pure: from texts and numbers to findings. A configuration only explains: a kernel may have an
option and refuse its use, so whether hooks can be used is a matter of ``trial``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from taskstream.doctor.finding import Finding, State

__all__ = [
    "TRACING",
    "judge_btf",
    "judge_capabilities",
    "judge_cgroups",
    "judge_config",
    "judge_cpus",
    "judge_headers",
    "judge_kernel",
    "judge_lockdown",
    "judge_tracing",
    "visible_mounts",
]

_NO_RETURN = "load mode `return` cannot be used with co-re tracing `tracepoint`"

_FLAGS: dict[str, tuple[State, str]] = {
    "CONFIG_KPROBES": ("warn", "co-re tracing `probe` cannot be used, `tracepoint` can"),
    "CONFIG_BPF": ("fail", "there is no BPF"),
    "CONFIG_BPF_SYSCALL": ("fail", "no program can load BPF"),
    "CONFIG_BPF_JIT": ("warn", "probes are slow, co-re tracing `trampoline` cannot be used"),
    "CONFIG_DEBUG_INFO_BTF": ("warn", "the CO-RE object cannot be relocated"),
    "CONFIG_TRACEPOINTS": ("fail", "there is nothing to attach to"),
    "CONFIG_EVENT_TRACING": ("warn", _NO_RETURN),
    "CONFIG_FTRACE_SYSCALLS": ("warn", _NO_RETURN),
}

_CAPABILITIES = {  # include/uapi/linux/capability.h
    "CAP_BPF": 39,
    "CAP_PERFMON": 38,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_DAC_READ_SEARCH": 2,
}
_WHOLE_UID_RANGE = ["0", "0", "4294967295"]
_AS_ROOT = "run as root, or grant CAP_BPF and CAP_PERFMON; in a container, with --cap-add"

TRACING = {"/sys/kernel/tracing": "tracefs", "/sys/kernel/debug": "debugfs"}


def judge_kernel(system: str, release: str, machine: str) -> Finding:
    """Judge what uname says."""
    found = f"{system} {release} on {machine}"
    if system != "Linux":
        return Finding("kernel", "fail", found, "run the agent on Linux")
    if machine not in ("x86_64", "aarch64"):
        return Finding("kernel", "warn", found, "take x86_64 or aarch64: others are not tested")
    return Finding("kernel", "ok", found)


def judge_config(text: str | None, source: str) -> Iterator[Finding]:
    """Judge the kernel's build options, one finding for each.

    Args:
        text: The configuration; None if there is no file to read.
        source: The file, or where one was looked for.
    """
    if text is None or "CONFIG_" not in text:
        why = f"no kernel configuration in {source}" if text is None else f"{source} has none"
        for flag in _FLAGS:
            yield Finding(flag, "unknown", why, "none needed if the hooks below attach")
        return
    values = dict(
        line.split("=", 1) for line in text.splitlines() if re.match(r"CONFIG_\w+=", line)
    )
    for flag, (state, consequence) in _FLAGS.items():
        value = values.get(flag, "n")
        if value in ("y", "m"):
            yield Finding(flag, "ok", f"{value} in {source}")
        else:
            found = f"not set in {source}: {consequence}"
            yield Finding(flag, state, found, f"run a kernel built with {flag}=y")


def judge_lockdown(text: str | None, mounted: Mapping[str, str]) -> Finding:
    """Judge the kernel's lockdown: confidentiality forbids BPF to read kernel memory."""
    if text is None and "securityfs" not in mounted.values():
        repair = "mount -t securityfs none /sys/kernel/security, to see it"
        return Finding("lockdown", "unknown", "securityfs is not mounted", repair)
    if text is None:
        return Finding("lockdown", "ok", "not in this kernel, or not to be seen")
    chosen = re.search(r"\[(\w+)\]", text)
    level = chosen[1] if chosen else text.strip()
    if level == "confidentiality":
        found = f"{level}: probes may not read kernel memory"
        return Finding("lockdown", "fail", found, "boot without lockdown=confidentiality")
    if level not in ("none", "integrity"):
        return Finding("lockdown", "unknown", f"a level that is not known here: {level}")
    return Finding("lockdown", "ok", level)


def visible_mounts(text: str) -> dict[str, str]:
    """Return type of file system by mount point: of several at one point, the last covers.

    Args:
        text: As in /proc/self/mounts.
    """
    return {point: kind for _, point, kind, *_ in map(str.split, text.splitlines())}


def judge_tracing(mounted: Mapping[str, str], readable: Iterable[str]) -> Finding:
    """Judge where tracefs is; only the system call tracepoints need it.

    Args:
        mounted: As `visible_mounts` returns.
        readable: Mount points whose events this process can read.
    """
    usable = [point for point, kind in TRACING.items() if mounted.get(point) == kind]
    without = _NO_RETURN
    if not usable:
        elsewhere = [p for p, kind in mounted.items() if kind == "tracefs"]
        found = f"only at {elsewhere[0]}" if elsewhere else "not mounted"
        repair = "mount -t tracefs none /sys/kernel/tracing (the agent does, where it may)"
        return Finding("tracefs", "warn", f"{found}: {without}", repair)
    place = " and ".join(f"{TRACING[point]} at {point}" for point in usable)
    if not set(usable) & set(readable):
        repair = "run as root, or grant CAP_DAC_READ_SEARCH too"
        return Finding("tracefs", "warn", f"{place} may not be read: {without}", repair)
    return Finding("tracefs", "ok", place)


def judge_capabilities(status: str, uid_map: str) -> Finding:
    """Judge what this process may do.

    Args:
        status: As in /proc/self/status.
        uid_map: As in /proc/self/uid_map.
    """
    line = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    if not line:
        return Finding("capabilities", "unknown", "/proc/self/status does not tell")
    held = [name for name, bit in _CAPABILITIES.items() if int(line[1], 16) >> bit & 1]
    missing = [name for name in _CAPABILITIES if name not in held]
    found = " ".join(held) or "none of those that matter"
    if held and missing:
        found += f" (not {' '.join(missing)})"
    if "CAP_SYS_ADMIN" not in held and not {"CAP_BPF", "CAP_PERFMON"} <= set(held):
        return Finding("capabilities", "fail", found, _AS_ROOT)
    if uid_map.split() not in ([], _WHOLE_UID_RANGE):
        found += ", but in a user namespace, where they do not count for BPF"
        repair = "run outside of it (containers: without user namespace remapping)"
        return Finding("capabilities", "fail", found, repair)
    return Finding("capabilities", "ok", found)


def judge_cgroups(mounted: Mapping[str, str], controller: str = "") -> Finding:
    """Judge the layout of control groups; events carry ids of the v2 hierarchy.

    Args:
        mounted: Kind of file system by mount point.
        controller: Of v1: by whose hierarchy events name cgroups if v2 is not there.
    """
    v1 = [point for point, kind in mounted.items() if kind == "cgroup"]
    v2 = [point for point, kind in mounted.items() if kind == "cgroup2"]
    if v2:
        also = f", and {len(v1)} hierarchies of v1, whose groups events do not name" if v1 else ""
        return Finding("cgroup", "ok", f"v2 at {v2[0]}{also}")
    if v1:
        if controller:
            return Finding("cgroup", "ok", f"v1 alone: events name the cgroups of {controller}")
        repair = "boot with systemd.unified_cgroup_hierarchy=1"
        found = "v1 alone, without pids, memory, cpu or devices: cgroups have no names"
        return Finding("cgroup", "warn", found, repair)
    repair = "mount -t cgroup2 none /sys/fs/cgroup"
    return Finding("cgroup", "warn", "not mounted: cgroups have no names", repair)


def judge_cpus(possible: str | None, online: str | None) -> Finding:
    """Judge lists of CPUs as in /sys/devices/system/cpu; per-CPU counters are of all possible."""
    if possible is None or online is None:
        return Finding("CPUs", "unknown", "/sys/devices/system/cpu does not tell")
    counts = []
    for text in (possible, online):
        spans = [span.split("-") for span in text.strip().split(",")]
        counts.append(sum(int(span[-1]) - int(span[0]) + 1 for span in spans))
    return Finding("CPUs", "ok", f"{counts[0]} possible, {counts[1]} online")


def judge_btf(size: int | None) -> Finding:
    """Judge the size of the kernel's own BTF; None if the file is not there."""
    if size:
        return Finding("BTF", "ok", f"{size / 1e6:.1f} MB in /sys/kernel/btf/vmlinux")
    found = "/sys/kernel/btf/vmlinux is " + ("missing" if size is None else "empty")
    repair = "run a kernel built with CONFIG_DEBUG_INFO_BTF=y"
    return Finding("BTF", "warn", f"{found}: type format `co-re` cannot be used", repair)


def judge_headers(place: Path | None, release: str, *, btf: bool) -> Finding:
    """Judge where the kernel's headers are; type format `legacy` prefers them to BTF."""
    if place:
        return Finding("kernel headers", "ok", str(place))
    if btf:
        return Finding("kernel headers", "ok", "none: `legacy` compiles with types made from BTF")
    found = "none, and no BTF: type format `legacy` cannot be used"
    repair = f"install them (Debian: apt-get install linux-headers-{release})"
    return Finding("kernel headers", "warn", found, repair)
