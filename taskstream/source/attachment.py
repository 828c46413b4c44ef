"""A program at its hook.

Rim: touches the kernel, through ``libbpf`` and ``perf_event``, the same for programs of either
type format.
"""

import os
from contextlib import suppress

from taskstream.errors import KernelError
from taskstream.hook import Hook
from taskstream.source import libbpf, tracefs
from taskstream.source.perf_event import open_kprobe, open_tracepoint, set_program

__all__ = ["Attachment"]


class Attachment:
    """Attached from the moment it is made until it is closed.

    Args:
        hook: Where.
        program: Descriptor of the loaded program.

    Raises:
        KernelError: the kernel refuses; the message is its reason alone.
    """

    def __init__(self, hook: Hook, program: int) -> None:
        self.hook = hook
        self.program = program
        self._event: int | None = None
        if hook.via in ("kprobe", "kretprobe"):
            self._event = open_kprobe(hook.target, returns=hook.via == "kretprobe")
        elif hook.via == "tracepoint":
            category, name = hook.target.split("/")
            self._event = open_tracepoint(tracefs.tracepoint_id(category, name))
        if self._event is not None:
            try:
                self.link = set_program(self._event, program)
            except KernelError:
                os.close(self._event)
                raise
        elif hook.via == "iterator":
            self.link = libbpf.open_iterator(program)
        else:
            raw = hook.via == "raw_tracepoint"
            self.link = libbpf.open_raw_tracepoint(hook.target if raw else None, program)

    def missed(self) -> int:
        """Return how often the kernel skipped the program, before it or at its first step."""
        return libbpf.info(self.program).recursion_misses + libbpf.missed_by_link(self.link)

    def close(self) -> None:
        """Detach."""
        for descriptor in {self.link, self._event} - {None}:
            with suppress(OSError):
                os.close(descriptor)  # type: ignore[arg-type]
