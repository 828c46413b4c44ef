"""Fixtures of the kernel tests: real probes, real workloads, on the kernel that runs.

Everything here needs root and a kernel with BTF. Where that is missing the tests are skipped
and say why; with TASKSTREAM_REQUIRE_KERNEL=1 they fail instead.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskstream.source.live import LiveOptions
from tests.kernel.programs import Programs
from tests.kernel.recorder import Recorder

HERE = Path(__file__).parent
GUESTS = HERE / "guest"  # kernels of their own: what this one has or hides is nothing to them
TRACEFS = Path("/sys/kernel/tracing")

Record = Callable[..., Recorder]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if GUESTS in item.path.parents:
            item.add_marker(pytest.mark.guest)
        elif HERE in item.path.parents:
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
def kernel(tracefs: None, missing: Callable[[str], None]) -> None:
    """Check what every test needs."""
    if os.geteuid() != 0:
        missing("not root")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        missing("no BTF: /sys/kernel/btf/vmlinux")
    if not (TRACEFS / "events").is_dir():
        missing("no tracefs at /sys/kernel/tracing, and it cannot be mounted")


@pytest.fixture(scope="session", autouse=True)
def watched(kernel: None, hidden: Callable[[], list[str]]) -> None:
    """Watch what this kernel hides from BPF, so that a test that met it is run again."""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The workloads, compiled once."""
    return Programs(tmp_path_factory.mktemp("workload"))


@pytest.fixture
def record(hidden: Callable[[], list[str]]) -> Iterator[Record]:
    """Start a recording with options of LiveSource; it ends with the test."""
    recorders: list[Recorder] = []

    def record(**options: object) -> Recorder:
        recorders.append(Recorder(LiveOptions(**options), hidden))  # type: ignore[arg-type]
        return recorders[-1]

    yield record
    for recorder in recorders:
        missed = recorder.source.missed()
        recorder.close()
        assert not any(missed.values()), f"the kernel skipped programs: {missed}"


@pytest.fixture
def core_pattern() -> Iterator[Path]:
    """The file that says where cores go; what it held comes back."""
    path = Path("/proc/sys/kernel/core_pattern")
    kept = path.read_text()
    yield path
    path.write_text(kept)
