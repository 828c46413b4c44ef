"""The examination: reads /proc and /sys, tries every probe, asks a broker.

Rim: touches the kernel, and a broker if there is one to ask. What it loads and attaches is
gone when it returns. What the answers mean: ``judgement``.
"""

import gzip
import importlib
import mmap
import os
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from taskstream import resource
from taskstream.doctor import judgement
from taskstream.doctor.judgement import Finding
from taskstream.errors import KernelError
from taskstream.record import RECORD, SETTINGS, VERSION
from taskstream.source import libbpf
from taskstream.source.live import HOOKS

__all__ = ["examine", "read_config"]

_CONFIG_FILES = ("proc/config.gz", "boot/config-{0}", "lib/modules/{0}/config")
_RINGS = ("events", "args")
_REBUILD = "build it again with `make bpf`, or install the wheel again"


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
    findings += _try(object_path or resource.bpf_object(), {f.check: f for f in findings})
    findings.append(_find_bcc())
    findings += _ask_broker(kafka, topic, timeout_s)
    findings.append(judgement.judge_all(findings))
    return findings


# --- to look -------------------------------------------------------------------------------------


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def read_config(root: Path, release: str) -> tuple[str | None, str]:
    """Return the kernel's configuration and the file that it is from.

    Returns:
        The text, or None with all the places where no file can be read.
    """
    places = [place.format(release) for place in _CONFIG_FILES]
    for place in places:
        try:
            raw = (root / place).read_bytes()
            text = gzip.decompress(raw) if place.endswith(".gz") else raw
        except (OSError, EOFError, zlib.error):  # the last two: damaged
            continue
        return text.decode(errors="replace"), f"/{place}"
    return None, " ".join(f"/{place}" for place in places)


def _look(root: Path) -> Iterator[Finding]:
    kernel = os.uname()
    yield judgement.judge_kernel(kernel.sysname, kernel.release, kernel.machine)
    yield from judgement.judge_config(*read_config(root, kernel.release))
    mounted = judgement.visible_mounts(_read(root / "proc/self/mounts") or "")
    yield judgement.judge_lockdown(_read(root / "sys/kernel/security/lockdown"), mounted)
    yield judgement.judge_tracing(mounted, [p for p in judgement.TRACING if _shows_events(root, p)])
    btf = root / "sys/kernel/btf/vmlinux"
    yield judgement.judge_btf(btf.stat().st_size if btf.exists() else None)
    status = _read(root / "proc/self/status") or ""
    yield judgement.judge_capabilities(status, _read(root / "proc/self/uid_map") or "")
    yield judgement.judge_cgroups(mounted)
    cpus = root / "sys/devices/system/cpu"
    yield judgement.judge_cpus(_read(cpus / "possible"), _read(cpus / "online"))


def _shows_events(root: Path, point: str) -> bool:
    """Tell whether this process can read tracepoints below a mount point."""
    events = "events" if judgement.TRACING[point] == "tracefs" else "tracing/events"
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


def _try(path: Path, so_far: Mapping[str, Finding]) -> Iterator[Finding]:
    try:
        yield Finding("libbpf", "ok", libbpf.version())
    except KernelError as error:
        repair = "install libbpf 1.0 or newer (Debian: apt-get install libbpf1)"
        yield Finding("libbpf", "fail", str(error).split(" (")[0], repair)
        return
    compiled = _open_object(path)
    yield compiled
    yield _try_ring_buffer(so_far)
    if compiled.state != "ok":
        for check in ("iterator", *(f"hook {kind}" for kind in HOOKS)):
            yield Finding(check, "unknown", "not tried without the BPF object", compiled.repair)
        return
    yield _try_iterator(path, so_far)
    programs = [program for kind in HOOKS for program in HOOKS[kind]]
    sections, refused = _sections(path), _try_programs(path, programs)
    for kind, own in HOOKS.items():
        yield judgement.judge_hook(kind, {sections[p]: refused[p] for p in own}, so_far)


def _open_object(path: Path) -> Finding:
    check = "BPF object"
    if not path.exists():
        repair = "build it with `make bpf`, or install a wheel"
        return Finding(check, "fail", f"{path} is missing", repair)
    try:
        with libbpf.BpfObject(path) as opened:
            data = opened.data(".rodata")
            ours = len(data) == SETTINGS.itemsize
            found = int(np.frombuffer(data, SETTINGS, 1)["schema_version"][0]) if ours else None
    except KernelError as error:
        return Finding(check, "fail", str(error).splitlines()[0], _REBUILD)
    if found != VERSION:
        version = f"schema version {found or 'unknown'}, this program is of {VERSION}"
        return Finding(check, "fail", f"{path} is of {version}", _REBUILD)
    return Finding(check, "ok", f"{path}, schema version {found}")


def _sections(path: Path) -> dict[str, str]:
    with libbpf.BpfObject(path) as opened:
        return opened.programs


def _try_ring_buffer(so_far: Mapping[str, Finding]) -> Finding:
    try:
        libbpf.try_ring_buffer(mmap.PAGESIZE)
    except KernelError as error:
        reason = str(error)
        if "Invalid argument" in reason:
            return Finding("ring buffer", "fail", "this kernel has none", "run Linux 5.8 or newer")
        repair = judgement.hook_repair("", reason, so_far)
        return Finding("ring buffer", "fail", f"cannot be created: {reason}", repair)
    return Finding("ring buffer", "ok", "can be created")


@contextmanager
def _loaded(path: Path, programs: Sequence[str]) -> Iterator[libbpf.BpfObject]:
    """Load some programs of the object, with the smallest rings; all is gone at the end."""
    with libbpf.BpfObject(path) as opened:
        for ring in _RINGS:
            opened.set_max_entries(ring, mmap.PAGESIZE)
        for program in opened.programs:
            if program not in programs:
                opened.leave_out(program)
        opened.load()
        yield opened


def _try_iterator(path: Path, so_far: Mapping[str, Finding]) -> Finding:
    iterators = [program for program, at in _sections(path).items() if at == "iter/task"]
    try:
        with _loaded(path, iterators) as opened:
            opened.attach(iterators[0])
            tasks = len(opened.read_iterator(iterators[0])) // RECORD.itemsize
    except KernelError as error:
        reason = judgement.refusal(str(error))
        repair = judgement.hook_repair("iter/task", reason, so_far)
        return Finding("iterator", "fail", f"the running tasks cannot be read: {reason}", repair)
    return Finding("iterator", "ok", f"reads {tasks} tasks")


def _try_programs(path: Path, programs: Sequence[str]) -> dict[str, str | None]:
    """Load programs together and attach them one by one.

    One program can keep all from loading; then each is tried alone.

    Returns:
        By program: the kernel's reason for refusing it, None if it was attached.
    """
    refused: dict[str, str | None] = dict.fromkeys(programs)
    try:
        with _loaded(path, programs) as opened:
            for program in programs:
                try:
                    opened.attach(program)
                except KernelError as error:
                    refused[program] = judgement.refusal(str(error))
        return refused
    except KernelError as error:
        if len(programs) == 1:
            return {programs[0]: judgement.refusal(str(error))}
    return {program: _try_programs(path, [program])[program] for program in programs}


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
        yield judgement.judge_broker_faults(said, timeout_s)
        return
    addresses = [f"{broker.host}:{broker.port}" for broker in cluster.brokers.values()]
    told = cluster.topics.get(topic)
    partitions = len(told.partitions) if told is not None else None
    yield from judgement.judge_broker(cluster.cluster_id, addresses, topic, partitions)


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
