"""A machine of another architecture: an emulated 64-bit ARM, with a root made of Debian packages.

The packages are unpacked, not installed: what runs there is Python with numpy and libbpf, a few
tools, and the clone. Nothing of it needs to run here.
"""

import shutil
from pathlib import Path

from tests.kernel.guest.apt import Apt, FetchError
from tests.kernel.guest.fetch import DIRECTORY, unpacked
from tests.kernel.guest.machine import Machine
from tests.kernel.programs import Programs

__all__ = ["machine", "programs"]

_CLONE = Path(__file__).parents[3]
_EMULATOR = "qemu-system-aarch64"
_LIBRARIES = "/usr/lib/aarch64-linux-gnu"
_PACKAGES = (
    "busybox-static",
    "coreutils",
    "dash",
    "libbpf1",
    "python3-click",
    "python3-minimal",
    "python3-msgpack",
    "python3-numpy",
    "util-linux",
    # to compile the workloads for it
    "libc6-dev",
    "libgcc-12-dev",
)


def machine() -> Machine:
    """Return the machine; its root is fetched if it is not there.

    Raises:
        FetchError: the packages cannot be had, or programs for it are not installed here.
    """
    for program, package in ((_EMULATOR, "qemu-system-arm"), ("ld.lld", "lld")):
        if not shutil.which(program):
            raise FetchError(f"no {program} (Debian: {package})")
    return Machine(
        _EMULATOR,
        "virt,gic-version=3",
        "cortex-a57",
        "console=ttyAMA0",
        root=_root(),
        shares=(_CLONE,),
        python="/usr/bin/python3",
        # Installing them would make links to these.
        variables={"LD_LIBRARY_PATH": f"{_LIBRARIES}/blas:{_LIBRARIES}/lapack"},
    )


def programs(directory: Path) -> Programs:
    """Return the workloads for it; clang and lld compile them here."""
    flags = ["--target=aarch64-linux-gnu", f"--sysroot={_root()}", "-fuse-ld=lld"]
    return Programs(directory, flags)


def _root() -> Path:
    directory = DIRECTORY / "arm64-root"
    if directory.is_dir():
        return directory
    suites = [("debian", "bookworm"), ("debian-security", "bookworm-security")]
    apt = Apt(DIRECTORY / "apt/bookworm-arm64", suites, "arm64")
    return unpacked(directory.name, apt.closure(_PACKAGES), apt)
