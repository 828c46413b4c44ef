"""Fixtures of the tests that boot other kernels.

They need root, QEMU and a Debian mirror, and nothing of the kernel that runs here: the fixtures
``kernel`` and ``hidden`` of the directory above are replaced.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.kernel.guest.fetch import FetchError, obtain
from tests.kernel.guest.kernel import Kernel
from tests.kernel.guest.machine import X86_64
from tests.kernel.guest.matrix import Case, run_cases
from tests.kernel.guest.table import Result
from tests.needs import go_without, need_root


@pytest.fixture(scope="session", autouse=True)
def kernel() -> None:
    """Check what every guest needs."""
    need_root("guests are packed")
    for program, package in ((X86_64.emulator, "qemu-system-x86"), ("busybox", "busybox-static")):
        if not shutil.which(program):
            go_without(f"no {program} (Debian: {package})")


@pytest.fixture(scope="session")
def hidden() -> Callable[[], list[str]]:
    """A guest hides nothing."""
    return list


@pytest.fixture(scope="session")
def any_kernel(kernel: None) -> Kernel:
    """A kernel to boot, where it does not matter which."""
    try:
        return obtain("6.12")
    except FetchError as error:
        go_without(str(error))
        raise


@pytest.fixture(scope="session", autouse=True)
def underway(kernel: None, request: pytest.FixtureRequest) -> Iterator[Future[dict[Case, Result]]]:
    """Run the cases that the chosen tests ask for, each guest booted once, beside other tests."""
    parameters = [getattr(item, "callspec", None) for item in request.session.items]
    chosen = [p.params["case"] for p in parameters if p and "case" in p.params]
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run_cases, [case for case in chosen if isinstance(case, Case)])
