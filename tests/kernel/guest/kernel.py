"""A Debian kernel whose packages are unpacked in a directory: its image and its modules.

Reads files only; knows neither apt nor QEMU.
"""

import lzma
import os
import re
import struct
import subprocess
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Kernel", "KernelImageError"]

_MAGIC_AT = 0x202  # in the header of an image for x86
_UNPACKERS = {
    b"\x02\x21\x4c\x18": "lz4",  # the legacy frame: Debian's choice until 6.1
    b"\x28\xb5\x2f\xfd": "zstd",  # since 6.12
    b"\xfd7zX": "xz",
}


class KernelImageError(Exception):
    """No kernel where one should be, or one that cannot be unpacked."""


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel.

    Attributes:
        directory: Where its packages were unpacked.
        release: As ``uname -r`` says it.
        image: The compressed image.
        modules: The directory of its modules, ``.../lib/modules/RELEASE``.
    """

    directory: Path
    release: str
    image: Path
    modules: Path

    @classmethod
    def in_directory(cls, directory: Path) -> Self:
        """Find the only kernel of a directory.

        Raises:
            KernelImageError: there is none.
        """
        # Since 7.0 the image lies with the modules, and those below usr/.
        for modules in sorted(directory.glob("lib/modules/*")) + sorted(
            directory.glob("usr/lib/modules/*")
        ):
            for image in (modules / "vmlinuz", directory / f"boot/vmlinuz-{modules.name}"):
                if image.exists():
                    return cls(directory, modules.name, image, modules)
        raise KernelImageError(f"no kernel image in {directory}")

    @property
    def has_headers(self) -> bool:
        """Whether the headers that ``build`` points to are there too."""
        return any(self.directory.glob(f"usr/src/linux-headers-{self.release}"))

    def bootable(self) -> Path:
        """Return the image that QEMU boots: of a bzImage the ELF image in it, unpacked once.

        Without the kernel's own decompressor, which costs seconds in emulation.

        Raises:
            KernelImageError: it is packed in an unknown way, or the tool is not there.
        """
        packed = self.image.read_bytes()
        if packed[_MAGIC_AT : _MAGIC_AT + 4] != b"HdrS":
            return self.image
        path = self.directory / "vmlinux"
        if not path.exists():
            unpacked = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            unpacked.write_bytes(_elf_image(packed))
            unpacked.rename(path)
        return path

    def module_closure(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return modules and what they depend on, in an order in which they load.

        Names that this kernel does not have as a module are left out: they are built in, or
        whoever needs them says so.
        """
        files = {
            path.name.split(".ko")[0].replace("-", "_"): path
            for path in (self.modules / "kernel").rglob("*.ko*")
        }
        closure: dict[str, bytes] = {}

        def add(name: str) -> None:
            path = files.get(name)
            if path is None or name in closure:
                return
            data = path.read_bytes()
            if path.suffix == ".xz":
                data = lzma.decompress(data)
            needs = re.search(rb"\0depends=([^\0]*)\0", data)  # in section .modinfo
            for needed in needs[1].decode().split(",") if needs else []:
                add(needed.replace("-", "_"))
            closure[name] = data

        for name in names:
            add(name)
        return closure


def _elf_image(image: bytes) -> bytes:
    """Take the ELF image out of a bzImage (Documentation/arch/x86/boot.rst: payload_offset)."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    tool = _UNPACKERS.get(payload[:4])
    if not tool:
        raise KernelImageError(f"the kernel is packed in an unknown way: {payload[:4].hex()}")
    try:
        # The size of the unpacked image follows the packed one: that is no error here.
        elf = subprocess.run([tool, "-dcq"], input=payload, capture_output=True).stdout
    except FileNotFoundError:
        raise KernelImageError(f"no {tool} (Debian: {tool.replace('xz', 'xz-utils')})") from None
    if not elf.startswith(b"\x7fELF"):
        raise KernelImageError(f"{tool} found no ELF image in the kernel")
    return elf
