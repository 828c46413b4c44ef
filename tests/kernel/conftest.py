"""Fixtures of the kernel tests: real probes, real workloads, on the kernel that runs.

Everything here needs root and a kernel with BTF; without, the tests fail and say so.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskstream.source.live import LiveOptions
from tests.kernel.programs import Programs
from tests.kernel.recorder import Recorder
from tests.needs import go_without, need_root

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


@pytest.fixture(scope="session", autouse=True)
def kernel(tracefs: None) -> None:
    """Check what every test needs."""
    need_root("probes are loaded")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        go_without("no BTF: /sys/kernel/btf/vmlinux")
    if not (TRACEFS / "events").is_dir():
        go_without("no tracefs at /sys/kernel/tracing, and it cannot be mounted")


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
