"""How the probes of this host are loaded: the choices of the command line, carried inward.

A value: it touches nothing.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["LiveOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """How to load the probes.

    Attributes:
        type_format: ``auto``, ``co-re`` or ``legacy``.
        tracing: ``trampoline``, ``probe`` or ``tracepoint``: the first to try.
        load_mode: ``entry``, or ``return`` for failed calls too.
        buffer: ``auto``, ``ring`` or ``perf``.
        without: Capabilities and functions that the kernel is taken to lack.
        window_ns: Length of a counting window.
        ring_bytes: Size of the event ring, a power of two and a multiple of the page; of all
            perf buffers together.
        args_ring_bytes: Size of the ring for filename and argv.
        args_max: Bytes of argv to keep per exec.
        charge_losses: Count lost events by process.
        pid_table_size: For how many processes at once.
        maps_per_core: Keep them per CPU.
        cgroup_names: Tell the names of cgroups as they appear.
        last_thread_by_map: Settle group_dead as on kernels before 6.16.
        snapshot_from_proc: Read the running tasks from /proc, as on kernels before 5.8.
        object_path: The compiled object, if not the package's own.
    """

    type_format: str = "auto"
    tracing: str = "trampoline"
    load_mode: str = "entry"
    buffer: str = "auto"
    without: tuple[str, ...] = ()
    window_ns: int = 5_000_000_000
    ring_bytes: int = 8 << 20
    args_ring_bytes: int = 2 << 20
    args_max: int = 4096
    charge_losses: bool = False
    pid_table_size: int = 32768
    maps_per_core: bool = True
    cgroup_names: bool = False
    last_thread_by_map: bool = False
    snapshot_from_proc: bool = False
    object_path: Path | None = None
