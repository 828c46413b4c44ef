"""The first file system of a guest: busybox, a few modules, ``init.sh`` and what to run.

Pure, but for the two files it takes up. The format is Documentation/driver-api/early-userspace/
buffer-format.rst, "newc"; it is not compressed, since unpacking costs more than copying in
emulation.
"""

import stat
from collections.abc import Mapping
from pathlib import Path

__all__ = ["initramfs"]

_INIT = Path(__file__).with_name("init.sh")
_DIRECTORIES = ("bin", "dev", "modules", "proc", "sys")
_CONSOLE = (5, 1)


def _entry(inode: int, name: str, mode: int, data: bytes, device: tuple[int, int]) -> bytes:
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    head += b"\0" * (-len(head) % 4)
    return head + data + b"\0" * (-len(data) % 4)


def initramfs(*, busybox: bytes, modules: Mapping[str, bytes], files: Mapping[str, bytes]) -> bytes:
    """Return the archive.

    Args:
        busybox: The static program.
        modules: What ``init.sh`` loads, by name, in order.
        files: More files of its root, by name: ``settings``, ``command``, ``stdin``.
    """
    none = (0, 0)
    entries = [(name, stat.S_IFDIR | 0o755, b"", none) for name in _DIRECTORIES]
    entries.append(("dev/console", stat.S_IFCHR | 0o600, b"", _CONSOLE))
    entries.append(("init", stat.S_IFREG | 0o755, _INIT.read_bytes(), none))
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, busybox, none))
    contents = {f"modules/{name}.ko": data for name, data in modules.items()} | dict(files)
    entries += [(name, stat.S_IFREG | 0o644, data, none) for name, data in contents.items()]
    entries.append(("TRAILER!!!", 0, b"", none))
    return b"".join(_entry(inode, *entry) for inode, entry in enumerate(entries, 1))
