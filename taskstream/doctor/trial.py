"""What it means that something was tried, and how the kernel refused it.

Pure: from texts to findings. The trials themselves: ``examination``.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from taskstream.doctor.finding import Finding
from taskstream.hook import Hook, Mode, Plan

__all__ = ["hook_repair", "judge_capability", "judge_hook", "judge_mode", "refusal"]

_STANDS_IN = "; stands in for release_task, and runs an RCU grace period after it"

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
