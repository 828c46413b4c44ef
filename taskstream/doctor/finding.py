"""What one check found, and what all of them say of the agent.

Pure: no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "State", "judge_all"]

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
