"""Fixtures of the kernel tests: real probes, real workloads, on the kernel that runs.

Everything here needs root and a kernel with BTF. Where that is missing the tests are skipped
and say why; with TASKSTREAM_REQUIRE_KERNEL=1 they fail instead.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskstream.source.live import LiveOptions
from tests.kernel.programs import Programs
from tests.kernel.recorder import Recorder

HERE = Path(__file__).parent
TRACEFS = Path("/sys/kernel/tracing")

Record = Callable[..., Recorder]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """Skip because of what is missing, or fail where a whole kernel was promised."""

    def missing(what: str) -> None:
        if os.environ.get("TASKSTREAM_REQUIRE_KERNEL") == "1":
            pytest.fail(f"{what}, and TASKSTREAM_REQUIRE_KERNEL=1 promises it")
        pytest.skip(f"{what} (TASKSTREAM_REQUIRE_KERNEL=1 makes this a failure)")

    return missing


@pytest.fixture(scope="session", autouse=True)
def kernel(missing: Callable[[str], None]) -> Iterator[None]:
    """Check what every test needs; mount tracefs for as long as the tests run."""
    if os.geteuid() != 0:
        missing("not root")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        missing("no BTF: /sys/kernel/btf/vmlinux")
    if (TRACEFS / "events").is_dir():
        yield
        return
    done = subprocess.run(["mount", "-t", "tracefs", "none", TRACEFS], capture_output=True)
    if done.returncode:
        missing(f"no tracefs: {done.stderr.decode().strip()}")
    yield
    subprocess.run(["umount", TRACEFS], check=True)


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The workloads, compiled once."""
    return Programs(tmp_path_factory.mktemp("workload"))


@pytest.fixture
def record() -> Iterator[Record]:
    """Start a recording with options of LiveSource; it ends with the test."""
    recorders: list[Recorder] = []

    def record(**options: object) -> Recorder:
        recorders.append(Recorder(LiveOptions(**options)))  # type: ignore[arg-type]
        return recorders[-1]

    yield record
    for recorder in recorders:
        missed = recorder.source.missed()
        recorder.close()
        assert not any(missed.values()), f"the kernel skipped programs: {missed}"
