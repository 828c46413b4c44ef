"""What the source does when the kernel refuses a part of it: the rest goes on, and a note says so.

Real probes; only the refusal is made up.
"""

import errno
import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from taskstream.errors import KernelError
from taskstream.hook import HookRefusedError
from taskstream.source import live, ring
from taskstream.source.live import LiveOptions, LiveSource
from taskstream.source.probes import SNAPSHOT, Probes
from tests.kernel.host import descriptors

RETURN = LiveOptions(type_format="co-re", tracing="tracepoint", load_mode="return")


def test_a_program_that_does_not_load_is_left_out_with_its_consequence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load = live.load

    def picky(plan: Any, *rest: Any, **more: Any) -> Probes:
        if any(hook.program == "on_execve_return" for hook in plan.hooks):
            raise KernelError("the kernel refused the BPF object: Invalid argument\n  a log")
        return load(plan, *rest, **more)

    monkeypatch.setattr(live, "load", picky)
    before = sorted(descriptors().values())
    with LiveSource(RETURN, host="h") as source:
        seen = {hook.program for hook in source.plan.hooks}
        notes = [note for note in source.notes if note.startswith("failed ")]
    assert "on_execve_return" not in seen
    assert {"on_execveat_return", "on_clone_return", "on_fork"} <= seen
    (note,) = notes
    assert note.startswith("failed execve calls are not seen: ")
    assert note.endswith("the kernel refused the BPF object: Invalid argument")
    assert sorted(descriptors().values()) == before


def test_a_kernel_that_loads_nothing_is_an_error_with_its_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(plan: Any, *_rest: Any, **_more: Any) -> Probes:
        raise KernelError("the kernel refused the BPF object: Invalid argument")

    monkeypatch.setattr(live, "load", refuse)
    with pytest.raises(KernelError, match="refused the BPF object: Invalid argument"):
        LiveSource(RETURN, host="h")


def test_a_tracepoint_that_is_refused_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attach = Probes.attach

    def picky(self: Probes, hook: Any) -> Any:
        if hook.program == "on_vfork_return":
            raise HookRefusedError(hook, "Operation not permitted")
        return attach(self, hook)

    monkeypatch.setattr(Probes, "attach", picky)
    with LiveSource(RETURN, host="h") as source:
        seen = {hook.program for hook in source.plan.hooks}
        assert "failed vfork calls are not seen: Operation not permitted" in source.notes
    assert "on_vfork_return" not in seen
    assert {"on_fork_return", "on_clone_return", "on_clone3_return"} <= seen


def test_without_the_iterator_the_running_tasks_come_from_proc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attach = Probes.attach

    def picky(self: Probes, hook: Any) -> Any:
        if hook == SNAPSHOT:
            raise HookRefusedError(hook, "Operation not permitted")
        return attach(self, hook)

    monkeypatch.setattr(Probes, "attach", picky)
    with LiveSource(LiveOptions(type_format="co-re"), host="h") as source:
        assert any(note.startswith("no task iterator: ") for note in source.notes)
        assert os.getpid() in source.snapshot().records["pid"]


def test_buffers_that_cannot_be_mapped_are_an_error_that_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mmap:
        def __getattr__(self, name: str) -> Any:
            return getattr(mmap, name)

        def mmap(self, *_arguments: Any, **_more: Any) -> Any:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(ring, "mmap", Mmap())
    before = sorted(descriptors().values())
    with pytest.raises(
        KernelError, match=r"cannot be mapped: Operation not permitted; run as root"
    ):
        LiveSource(LiveOptions(type_format="co-re"), host="h")
    assert sorted(descriptors().values()) == before


@pytest.mark.parametrize("buffer", ["ring", "perf"])
def test_a_source_may_be_closed_twice(buffer: str) -> None:
    source = LiveSource(LiveOptions(buffer=buffer), host="h")
    source.close()
    left = sorted(descriptors().values())
    source.close()
    assert sorted(descriptors().values()) == left


def test_a_ring_takes_its_size_of_resident_memory_once() -> None:
    before = mapped_bytes()
    with LiveSource(LiveOptions(type_format="co-re", buffer="ring"), host="h") as source:
        rings = source.options.ring_bytes + source.options.args_ring_bytes
        assert mapped_bytes() - before <= rings + 8 * mmap.PAGESIZE


def mapped_bytes() -> int:
    """Return the bytes of BPF maps that this process has mapped."""
    spans = [
        line.split()[0].split("-")
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith("bpf-map")
    ]
    return sum(int(end, 16) - int(begin, 16) for begin, end in spans)
