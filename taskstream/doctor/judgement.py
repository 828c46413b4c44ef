"""What each check of the doctor means: from texts and numbers to findings.

Pure: no I/O. A trial decides, a kernel's configuration only explains: a kernel may have an
option and refuse its use, so nothing is called usable that was not used.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from taskstream.hook import Hook, Mode, Plan

__all__ = [
    "TRACING",
    "Finding",
    "State",
    "hook_repair",
    "judge_all",
    "judge_broker",
    "judge_broker_faults",
    "judge_btf",
    "judge_capabilities",
    "judge_capability",
    "judge_cgroups",
    "judge_config",
    "judge_cpus",
    "judge_headers",
    "judge_hook",
    "judge_kernel",
    "judge_lockdown",
    "judge_mode",
    "judge_tracing",
    "refusal",
    "visible_mounts",
]

State = Literal["ok", "warn", "fail", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: What was looked at.
        state: ``ok``; ``warn``: something cannot be used; ``fail``: the agent cannot run;
            ``unknown``: it could not be seen, which is not a no.
        found: What is there, in one line.
        repair: What to do about it; None if there is nothing to do.
    """

    check: str
    state: State
    found: str
    repair: str | None = None


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
_STANDS_IN = "; stands in for release_task, and runs an RCU grace period after it"

_BROKER_REPAIRS = {  # by what librdkafka says
    "Failed to resolve": "correct the host name in --bootstrap, or this machine's name service",
    "Connection refused": "start the broker, or correct HOST:PORT in --bootstrap",
    "SSL|security.protocol": "make security.protocol and ssl.* agree with the broker's listener",
    "SASL|uthenticat": "make sasl.* agree with what the broker expects",
    "": "see that HOST:PORT is a Kafka listener and that no firewall is in between",
}


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


_CONSEQUENCES = {
    "ring buffer": "events come through perf buffers",
    "fentry": "tracing `trampoline` cannot be used",
    "kprobes": "tracing `probe` cannot be used, and `legacy` takes tracepoints",
}


def judge_capability(capability: str, reason: str, so_far: Mapping[str, Finding]) -> Finding:
    """Judge something that was tried.

    Args:
        capability: What.
        reason: Why it cannot be had; empty if it can.
        so_far: Findings by check, to explain a refusal.
    """
    if not reason:
        return Finding(capability, "ok", "can be used")
    found = f"{reason}: {_CONSEQUENCES[capability]}"
    return Finding(capability, "warn", found, hook_repair(capability, reason, so_far))


def judge_mode(
    mode: Mode, plan: Plan | None, refused: Mapping[Hook, str | None], reason: str
) -> Finding:
    """Judge one row of the matrix: a type format, and a way of watching kernel functions.

    Args:
        mode: The row.
        plan: What was loaded; None if there is nothing to load.
        refused: By hook: the kernel's reason, or None if it attached.
        reason: Why there is nothing to load.
    """
    legacy = mode.type_format == "legacy"
    check = "mode legacy" if legacy else f"mode {mode.type_format} {mode.tracing}"
    if plan is None:
        return Finding(check, "warn", f"no: {reason}")
    reasons = {hook: why for hook, why in refused.items() if why is not None}
    broken = [hook for hook in reasons if hook.kind != "fail"]
    if broken:
        return Finding(check, "warn", f"no: {broken[0].place}: {reasons[broken[0]]}")
    whys = [f"{hook.place}: {why}" for hook, why in reasons.items()]
    whys += [note for note in plan.notes if note.startswith("failed ")]
    modes = f"entry; not return: {whys[0]}" if whys else "entry, return"
    release = next((hook.place for hook in plan.hooks if hook.kind == "free"), "none")
    late = ", late" if plan.release_late else ""
    return Finding(check, "ok", f"yes: {modes} (release at {release}{late})")


def refusal(message: str) -> str:
    """Cut the kernel's reason out of the message of a load or an attachment that it refused."""
    head, *log = message.splitlines()
    named = re.search(r"(?:cannot be attached|refused the BPF object): (.*?)(?: \(|$)", head)
    reason = named[1] if named else head.split(": ")[0]
    for line, following in pairwise(log):
        if following.startswith("processed ") or "failed to prepare load" in following:
            return f"{reason}: {line.strip().removeprefix('libbpf: ')}"
    return reason


def hook_repair(section: str, reason: str, so_far: Mapping[str, Finding]) -> str:
    """Say what to do about a program that was refused: the first fault that explains it."""
    causes = ["capabilities", "CONFIG_BPF_SYSCALL", "CONFIG_TRACEPOINTS", "lockdown", "BTF"]
    if section.startswith("tp/"):
        causes += ["tracefs", "CONFIG_EVENT_TRACING", "CONFIG_FTRACE_SYSCALLS"]
    if "probe" in section:
        causes += ["CONFIG_KPROBES"]
    for cause in causes:
        finding = so_far.get(cause)
        if finding and finding.state in ("fail", "warn") and finding.repair:
            return finding.repair
    if "not permitted" in reason or "denied" in reason:
        return "look for what forbids bpf(): a container's seccomp profile, a security module"
    return "this kernel is new to the agent: report the output of `taskstream doctor --json`"


def _join(sections: Sequence[str]) -> str:
    """Write places without repeating the directory that they share with the first."""
    directory = sections[0].rpartition("/")[0]
    return " ".join([sections[0], *(s.removeprefix(f"{directory}/") for s in sections[1:])])


def judge_hook(
    kind: str,
    refused: Mapping[str, str | None],
    so_far: Mapping[str, Finding],
    missing: Sequence[str] = (),
) -> Finding:
    """Judge the hooks of one kind of event.

    Args:
        kind: Of event.
        refused: By section of each program: the kernel's reason, or None if it attached.
        so_far: Findings by check, to explain a refusal.
        missing: What is not seen, and why, for want of anything to attach to.
    """
    if missing:
        found = "; ".join(missing)
        return Finding(f"hook {kind}", "warn", found, hook_repair("tp/", found, so_far))
    reasons: dict[str, list[str]] = {}
    for section, reason in refused.items():
        if reason is not None:
            reasons.setdefault(reason, []).append(section)
    if not reasons:
        late = _STANDS_IN if any("sched_process_free" in place for place in refused) else ""
        found = f"attaches at {_join(list(refused))}{late}"
        return Finding(f"hook {kind}", "ok", found)
    found = "; ".join(f"{_join(places)}: {reason}" for reason, places in reasons.items())
    reason, places = next(iter(reasons.items()))
    repair = hook_repair(places[0], reason, so_far)
    if kind == "fail":
        return Finding("hook fail", "warn", f"load mode `return` cannot be used: {found}", repair)
    return Finding(f"hook {kind}", "fail", found, repair)


def judge_broker(
    cluster: str | None, brokers: Sequence[str], topic: str, partitions: int | None
) -> Iterator[Finding]:
    """Judge what a broker answered.

    Args:
        cluster: Its name, if the broker knows one.
        brokers: The addresses under which producers will look for them.
        topic: The topic to publish to.
        partitions: Of the topic; None if it is not among those that are told.
    """
    many = "broker" if len(brokers) == 1 else "brokers"
    found = f"cluster {cluster or 'without a name'}, {len(brokers)} {many}: {' '.join(brokers)}"
    yield Finding("broker", "ok", found)
    if partitions is not None:
        yield Finding("topic", "ok", f"{topic}, partitions: {partitions}")
        return
    repair = f"create {topic}, or let the broker create it (auto.create.topics.enable)"
    yield Finding("topic", "warn", f"{topic} does not exist, or may not be seen", repair)


def judge_broker_faults(said: Sequence[str], timeout_s: float) -> Finding:
    """Judge what librdkafka said while no broker answered."""
    texts = [re.sub(r"/bootstrap|\s*\(after \d+ms in state \w+\)", "", text) for text in said]
    faults = [text for text in dict.fromkeys(texts) if "brokers are down" not in text]
    found = "; ".join(
        ["no broker answers", *faults[:3]] if faults else [f"no answer within {timeout_s:g} s"]
    )
    repair = next(r for p, r in _BROKER_REPAIRS.items() if re.search(p, found))
    return Finding("broker", "fail", found, repair)


def judge_all(findings: Sequence[Finding]) -> Finding:
    """Say whether the agent can run, and how."""
    failed = [finding.check for finding in findings if finding.state == "fail"]
    if failed:
        repair = "repair these first"
        return Finding("agent", "fail", f"cannot run: {', '.join(failed)}", repair)
    hooks = {f.check: f.state for f in findings if f.check.startswith("hook ")}
    default = next((f.found for f in findings if f.check == "default"), "tracepoint")
    failing = hooks.pop("hook fail", "unknown")
    if set(hooks.values()) != {"ok"}:
        return Finding("agent", "unknown", "not every hook was tried", "see the lines above")
    if failing == "ok":
        return Finding("agent", "ok", f"can run: {default}; load mode `entry` or `return`")
    found = f"can run: {default}; load mode `entry`; not all failed calls are seen"
    return Finding("agent", "warn", found, "see hook fail")
