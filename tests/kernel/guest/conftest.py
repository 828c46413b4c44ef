"""Fixtures of the tests that boot other kernels.

They need root, QEMU and a Debian mirror, and nothing of the kernel that runs here: the fixtures
``kernel`` and ``hidden`` of the directory above are replaced.
"""

import os
import shutil
from collections.abc import Callable

import pytest

from tests.kernel.guest.fetch import FetchError, obtain
from tests.kernel.guest.kernel import Kernel
from tests.kernel.guest.machine import X86_64


@pytest.fixture(scope="session", autouse=True)
def kernel(missing: Callable[[str], None]) -> None:
    """Check what every guest needs."""
    if os.geteuid() != 0:
        missing("not root")
    for program, package in ((X86_64.emulator, "qemu-system-x86"), ("busybox", "busybox-static")):
        if not shutil.which(program):
            missing(f"no {program} (Debian: {package})")


@pytest.fixture(scope="session")
def hidden() -> Callable[[], list[str]]:
    """A guest hides nothing."""
    return list


@pytest.fixture(scope="session")
def any_kernel(kernel: None, missing: Callable[[str], None]) -> Kernel:
    """A kernel to boot, where it does not matter which."""
    try:
        return obtain("6.12")
    except FetchError as error:
        missing(str(error))
        raise
