"""The examination: reads /proc and /sys, tries every probe, asks a broker.

Rim: touches the kernel, and a broker if there is one to ask. What it loads and attaches is
gone when it returns. What the answers mean: ``machine``, ``trial`` and ``broker``.
"""

import importlib
import mmap
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from taskstream import resource
from taskstream.doctor.broker import judge_broker, judge_broker_faults
from taskstream.doctor.finding import Finding, judge_all
from taskstream.doctor.machine import (
    TRACING,
    judge_btf,
    judge_capabilities,
    judge_cgroups,
    judge_config,
    judge_cpus,
    judge_headers,
    judge_kernel,
    judge_lockdown,
    judge_tracing,
    visible_mounts,
)
from taskstream.doctor.trial import hook_repair, judge_capability, judge_hook, judge_mode, refusal
from taskstream.errors import KernelError
from taskstream.hook import Hook, HookRefusedError, Plan, choose
from taskstream.record import RECORD, SETTINGS, VERSION
from taskstream.source import cgroup_tree, libbpf
from taskstream.source.bpf_object import BpfObject
from taskstream.source.headers import headers_path
from taskstream.source.kernel import RunningKernel, check_not_rejected
from taskstream.source.kernel_config import read_config
from taskstream.source.live import LiveOptions
from taskstream.source.probes import SNAPSHOT, load

__all__ = ["examine"]

_REBUILD = "build it again with `make bpf`, or install the wheel again"
_KINDS = ("fork", "exec", "exit", "free", "fail")


def examine(
    *,
    kafka: Mapping[str, str] | None = None,
    topic: str = "taskstream.events",
    timeout_s: float = 5.0,
    object_path: Path | None = None,
    root: Path = Path("/"),
) -> list[Finding]:
    """Find out whether the agent can run here, and what keeps it from running.

    Args:
        kafka: librdkafka settings, ``bootstrap.servers`` among them; None asks no broker.
        topic: The topic that the agent would publish to.
        timeout_s: How long a broker may take to answer.
        object_path: The compiled object; None for the one that the agent takes.
        root: Where /proc, /sys, /boot and /lib are looked for; trials are of this kernel.

    Returns:
        The findings in order; the last, ``agent``, sums up.
    """
    findings: list[Finding] = []
    findings += _look(root)
    findings.append(_find_bcc())
    findings += _try(object_path, findings)
    findings += _ask_broker(kafka, topic, timeout_s)
    findings.append(judge_all(findings))
    return findings


# --- to look -------------------------------------------------------------------------------------


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _look(root: Path) -> Iterator[Finding]:
    kernel = os.uname()
    yield judge_kernel(kernel.sysname, kernel.release, kernel.machine)
    yield from judge_config(*read_config(root, kernel.release))
    mounted = visible_mounts(_read(root / "proc/self/mounts") or "")
    yield judge_lockdown(_read(root / "sys/kernel/security/lockdown"), mounted)
    yield judge_tracing(mounted, [p for p in TRACING if _shows_events(root, p)])
    btf = root / "sys/kernel/btf/vmlinux"
    yield judge_btf(btf.stat().st_size if btf.exists() else None)
    status = _read(root / "proc/self/status") or ""
    yield judge_capabilities(status, _read(root / "proc/self/uid_map") or "")
    named = cgroup_tree.hierarchy(root)
    yield judge_cgroups(mounted, named.controller if named else "")
    cpus = root / "sys/devices/system/cpu"
    yield judge_cpus(_read(cpus / "possible"), _read(cpus / "online"))


def _shows_events(root: Path, point: str) -> bool:
    """Tell whether this process can read tracepoints below a mount point."""
    events = "events" if TRACING[point] == "tracefs" else "tracing/events"
    try:
        return any((root / point.lstrip("/") / events).iterdir())
    except OSError:
        return False


def _find_bcc() -> Finding:
    """Look for BCC by importing it: its library may be missing or of another version."""
    repair = (
        "for type format `legacy`: apt-get install python3-bpfcc; "
        "a venv needs --system-site-packages"
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bcc = importlib.import_module("bcc")
    except (ImportError, OSError, AttributeError) as error:
        return Finding("BCC", "warn", f"cannot be imported: {error}", repair)
    if not hasattr(bcc, "BPF"):
        return Finding("BCC", "warn", f"{bcc.__file__} is another package of this name", repair)
    return Finding("BCC", "ok", getattr(bcc, "__version__", "of unknown version"))


# --- to try --------------------------------------------------------------------------------------


def _try(object_path: Path | None, findings: Sequence[Finding]) -> Iterator[Finding]:
    so_far = {finding.check: finding for finding in findings}
    try:
        yield Finding("libbpf", "ok", libbpf.version())
    except KernelError as error:
        repair = "install libbpf 1.0 or newer (Debian: apt-get install libbpf1)"
        yield Finding("libbpf", "fail", str(error).split(" (")[0], repair)
        return
    kernel = RunningKernel(mounting=False)
    claims = bool(kernel.lacks("fetch-and-add"))
    compiled = _open_object(object_path or resource.bpf_object(claims=claims))
    yield compiled
    yield _judge_rejection()
    options = LiveOptions(
        load_mode="return",
        ring_bytes=mmap.PAGESIZE,
        args_ring_bytes=mmap.PAGESIZE,
        object_path=object_path,
    )
    for capability in ("ring buffer", "fentry", "kprobes"):
        yield judge_capability(capability, kernel.lacks(capability), so_far)
    yield judge_headers(headers_path(), os.uname().release, btf=not kernel.lacks("BTF"))
    if compiled.state != "ok":
        for check in ("iterator", *(f"hook {kind}" for kind in _KINDS)):
            yield Finding(check, "unknown", "not tried without the BPF object", compiled.repair)
        return
    yield _try_iterator(options, kernel, so_far)
    for type_format, tracing in (
        ("co-re", "trampoline"),
        ("co-re", "probe"),
        ("co-re", "tracepoint"),
        ("legacy", "probe"),
    ):
        wanted = replace(options, type_format=type_format, tracing=tracing)
        yield _try_mode(wanted, kernel)
    yield from _try_default(options, kernel, so_far)


def _judge_rejection() -> Finding:
    try:
        check_not_rejected()
    except KernelError as error:
        return Finding("reject list", "fail", str(error), "run another kernel")
    return Finding("reject list", "ok", "this kernel is not on it")


def _open_object(path: Path) -> Finding:
    check = "BPF object"
    if not path.exists():
        repair = "build it with `make bpf`, or install a wheel"
        return Finding(check, "fail", f"{path} is missing", repair)
    try:
        with BpfObject(path) as opened:
            data = opened.data(".rodata")
            ours = len(data) == SETTINGS.itemsize
            found = int(np.frombuffer(data, SETTINGS, 1)["schema_version"][0]) if ours else None
    except KernelError as error:
        return Finding(check, "fail", str(error).splitlines()[0], _REBUILD)
    if found != VERSION:
        version = f"schema version {found or 'unknown'}, this program is of {VERSION}"
        return Finding(check, "fail", f"{path} is of {version}", _REBUILD)
    return Finding(check, "ok", f"{path}, schema version {found}")


def _try_iterator(
    options: LiveOptions, kernel: RunningKernel, so_far: Mapping[str, Finding]
) -> Finding:
    nothing = Plan("co-re", "perf" if kernel.lacks("ring buffer") else "ring", (), ())
    try:
        with load(nothing, options, kernel, iterator=True) as probes:
            read = libbpf.read_iterator(probes.attach(SNAPSHOT).link)
    except KernelError as error:
        reason = refusal(str(error))
        repair = hook_repair("iter/task", reason, so_far)
        found = f"the running tasks are read from /proc: {reason}"
        return Finding("iterator", "warn", found, repair)
    return Finding("iterator", "ok", f"reads {len(read) // RECORD.itemsize} tasks")


def _try_mode(wanted: LiveOptions, kernel: RunningKernel) -> Finding:
    """Load and attach one row of the matrix, in load mode `return`."""
    try:
        plan = choose(wanted, kernel)
    except KernelError as error:
        return judge_mode(wanted, None, {}, str(error))
    fallback = next((note for note in plan.notes if "falls back" in note), "")
    if wanted.type_format == "co-re" and fallback:
        reasons = fallback.partition(": ")[2]
        return judge_mode(wanted, None, {}, reasons.partition("; ")[0])
    return judge_mode(wanted, plan, _try_hooks(plan, wanted, kernel), "")


def _try_default(
    options: LiveOptions, kernel: RunningKernel, so_far: Mapping[str, Finding]
) -> Iterator[Finding]:
    """Load and attach what the agent would take without being told, hook by hook."""
    try:
        plan = choose(options, kernel)
    except KernelError as error:
        for kind in _KINDS:
            repair = hook_repair("", str(error), so_far)
            yield Finding(f"hook {kind}", "fail", str(error), repair)
        return
    refused = _try_hooks(plan, options, kernel)
    for hook, reason in refused.items():
        if reason is not None and hook.kind == "free" and hook.via in ("fentry", "kprobe"):
            kernel.refuse(hook, reason)  # as the agent does: there is another way
            yield from _try_default(options, kernel, so_far)
            return
    for kind in _KINDS:
        own = {hook.place: refused[hook] for hook in plan.hooks if hook.kind == kind}
        consequence = [note for note in plan.notes if note.startswith("failed ")]
        yield judge_hook(kind, own, so_far, consequence if kind == "fail" else ())
    yield Finding("default", "ok", f"{plan.type_format}, {plan.tracing}, {plan.buffer} buffer")


def _try_hooks(plan: Plan, options: LiveOptions, kernel: RunningKernel) -> dict[Hook, str | None]:
    """Load programs together and attach them one by one.

    One program can keep all from loading; then each is tried alone.

    Returns:
        By hook: the kernel's reason for refusing it, None if it was attached.
    """
    refused: dict[Hook, str | None] = dict.fromkeys(plan.hooks)
    try:
        with load(plan, options, kernel, iterator=False) as probes:
            for hook in plan.hooks:
                try:
                    probes.attach(hook)
                except HookRefusedError as error:
                    refused[hook] = error.reason
        return refused
    except KernelError as error:
        if len(plan.hooks) == 1 or plan.type_format == "legacy":
            return dict.fromkeys(plan.hooks, refusal(str(error)))
    alone = [replace(plan, hooks=(hook,)) for hook in plan.hooks]
    return {hook: _try_hooks(one, options, kernel)[hook] for one in alone for hook in one.hooks}


# --- to ask --------------------------------------------------------------------------------------


def _ask_broker(kafka: Mapping[str, str] | None, topic: str, timeout_s: float) -> Iterator[Finding]:
    try:
        from confluent_kafka import KafkaException, libversion
        from confluent_kafka.admin import AdminClient
    except ImportError as error:
        repair = "pip install confluent-kafka"
        yield Finding("broker", "fail", f"no Kafka client can be imported: {error}", repair)
        return
    if kafka is None:
        found = f"none given: `taskstream run` would use its own (librdkafka {libversion()[0]})"
        yield Finding("broker", "ok", found)
        return
    said: list[str] = []
    settings: dict[str, Any] = {"log_level": 0, **kafka, "error_cb": lambda e: said.append(e.str())}
    try:
        client = AdminClient(settings)
    except (KafkaException, TypeError, ValueError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        repair = "correct it; librdkafka's CONFIGURATION.md lists all settings"
        yield Finding("broker", "fail", f"Kafka settings: {reason}", repair)
        return
    cluster = _list_topics(client, said, timeout_s)
    if cluster is None:
        yield judge_broker_faults(said, timeout_s)
        return
    addresses = [f"{broker.host}:{broker.port}" for broker in cluster.brokers.values()]
    told = cluster.topics.get(topic)
    partitions = len(told.partitions) if told is not None else None
    yield from judge_broker(cluster.cluster_id, addresses, topic, partitions)


def _list_topics(client: Any, said: Sequence[str], timeout_s: float) -> Any:
    """Ask for all topics, because a question for one can create it; None if nobody answers.

    A first, short try: librdkafka goes on where every broker refuses, until the time is over.
    """
    from confluent_kafka import KafkaException

    first_s = min(1.0, timeout_s)
    for wait_s in (first_s, timeout_s - first_s):
        if any("brokers are down" in text for text in said):
            break
        try:
            return client.list_topics(timeout=wait_s)
        except KafkaException:
            client.poll(0)
    return None
