"""The probes compiled by BCC at the start of the agent: `ebpf type format = legacy`.

Rim: runs BCC in a child process (``bcc_compiler``), which hands over the descriptors of what it
loaded; the compiler's memory goes with the child. Without the kernel's headers it compiles in a
tree made from BTF (``kernel_tree``), which is gone when this returns.
"""

import array
import json
import os
import re
import resource as usage
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from taskstream import resource
from taskstream.errors import KernelError
from taskstream.hook import Hook
from taskstream.source import bcc_compiler, btf, kernel_tree
from taskstream.source.btf import KernelBtf
from taskstream.source.headers import headers_path

__all__ = ["LegacyObject"]

COMPILE_S = 300
"""How long the compiler may take: it has to read the kernel's headers, on a slow machine too."""

_MOST_DESCRIPTORS = 64
_INCLUDE = re.compile(r'^#include "(\w+\.h)"$', re.MULTILINE)
_KINDS = {"kprobe": "kprobe", "kretprobe": "kprobe"}


class LegacyObject:
    """Compiled and loaded from the moment it is made; closed with everything in it.

    Args:
        settings: By name, for the macros ``SETTING_NAME``.
        maps: Names of the maps to hand over.
        hooks: Of the programs to load.

    Attributes:
        compiler_rss_bytes: What the compiler took at most; it is gone.
        notes: What was not as usual, a line each.

    Raises:
        KernelError: BCC cannot compile it, or the kernel refuses it.
    """

    def __init__(
        self, settings: Mapping[str, int | str], maps: Iterable[str], hooks: Iterable[Hook]
    ) -> None:
        programs = {hook.program: _KINDS.get(hook.via, hook.via) for hook in hooks}
        wanted = {"maps": list(maps), "programs": programs}
        self.notes: list[str] = []
        self._descriptors = self._compile(settings, wanted)
        self.compiler_rss_bytes = usage.getrusage(usage.RUSAGE_CHILDREN).ru_maxrss * 1024

    def _compile(self, settings: Mapping[str, int | str], wanted: dict[str, Any]) -> dict[str, int]:
        """Compile with the kernel's headers; where that fails, in a tree made from BTF."""
        if headers_path():
            try:
                return _run_compiler(_request(settings, wanted, tree=None), dict(os.environ))
            except KernelError as error:
                if not _has_btf():
                    raise
                reason = str(error).replace("\n ", "")
                self.notes.append(f"BTF instead of the kernel's headers: {reason}")
        with tempfile.TemporaryDirectory(prefix="taskstream-") as tree:
            request = _request(settings, wanted, tree=Path(tree))
            return _run_compiler(request, {**os.environ, "BCC_KERNEL_SOURCE": tree})

    def map_descriptor(self, name: str) -> int:
        """Return the descriptor of a loaded map; the object owns it."""
        return self._descriptors[name]

    def program_descriptor(self, name: str) -> int:
        """Return the descriptor of a loaded program; the object owns it."""
        return self._descriptors[name]

    def close(self) -> None:
        """Free everything; what is attached must be detached before."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors = {}


def _has_btf() -> bool:
    return btf.PATH.exists() and btf.PATH.stat().st_size > 0


def _c_value(value: int | str) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value}ULL" if value >> 31 else str(value)


def _request(
    settings: Mapping[str, int | str], wanted: dict[str, Any], *, tree: Path | None
) -> dict[str, Any]:
    """Say what to compile; with ``tree``, fill it with what stands for the kernel's headers."""
    flags = [f"-DSETTING_{name}={_c_value(value)}" for name, value in settings.items()]
    flags.append("-w")  # of the kernel's headers there is much to say
    kernel_h = resource.bpf_source("kernel.h").read_text()
    types, guard = kernel_h, ""
    with KernelBtf() if _has_btf() else nullcontext() as layout:
        if layout:
            guard = kernel_tree.assertions(kernel_h, layout)
        if tree is None:
            flags.append("-DKERNEL_HEADERS")
        else:
            assert layout, "the caller knows that there is BTF or headers"
            types = kernel_tree.placed(kernel_h, layout)
            _write_tree(tree, settings["page_bytes"])
            if layout.offset_of("task_io_accounting", "read_bytes") is None:
                flags.append("-DWITHOUT_TASK_IO")
    return {**wanted, "text": _source("legacy.bpf.c", {"kernel.h": types}) + guard, "flags": flags}


def _source(name: str, instead: Mapping[str, str]) -> str:
    """Return a source with the files of ``bpf/`` that it includes in place of their names.

    (BCC rewrites calls of map functions in the main file only.)
    """
    seen: set[str] = set()

    def included(found: re.Match[str]) -> str:
        file = found[1]
        if file in seen:
            return ""
        seen.add(file)
        text = instead.get(file) or resource.bpf_source(file).read_text()
        return _INCLUDE.sub(included, text)

    return _INCLUDE.sub(included, resource.bpf_source(name).read_text())


def _write_tree(tree: Path, page_bytes: int | str) -> None:
    for name, text in kernel_tree.headers(os.uname().release, int(page_bytes)).items():
        path = tree / "include" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _run_compiler(request: object, environment: Mapping[str, str]) -> dict[str, int]:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-I", os.fspath(Path(bcc_compiler.__file__))]
    with ours, tempfile.TemporaryFile() as said:
        with theirs:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=theirs.fileno(), stderr=said, env=environment
            )
        try:
            child.communicate(json.dumps(request).encode() + b"\n", COMPILE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise KernelError(f"BCC has not compiled the probes within {COMPILE_S} s") from None
        names, descriptors, _, _ = socket.recv_fds(ours, 1 << 16, _MOST_DESCRIPTORS)
        if child.returncode or not names:
            for descriptor in descriptors:
                os.close(descriptor)
            said.seek(0)
            raise KernelError(_reason(said.read().decode(errors="replace")))
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return dict(zip(json.loads(names), array.array("i", descriptors), strict=True))


def _reason(said: str) -> str:
    """Turn what BCC printed into a message."""
    misplaced = re.search(r'assert(?:ion)? failed[^"]*"(the kernel has .*?)"', said)
    if misplaced:
        return (
            "the headers are not those of the running kernel, for "
            f"{misplaced[1]}; install those of {os.uname().release}"
        )
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    if errors:
        return "BCC could not compile the probes:\n  " + "\n  ".join(errors[:12])
    verdict = next((i for i, line in enumerate(lines) if line.startswith("processed ")), len(lines))
    shown = "\n  ".join(lines[max(0, verdict - 12) : verdict] or ["it said nothing"])
    return f"BCC could not load the probes:\n  {shown}"
