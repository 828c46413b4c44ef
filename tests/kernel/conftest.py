"""Fixtures of the kernel tests: real probes, real workloads, on the kernel that runs.

Everything here needs root and a kernel with BTF. Where that is missing the tests are skipped
and say why; with TASKSTREAM_REQUIRE_KERNEL=1 they fail instead.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from taskstream.source.live import LiveOptions
from tests.kernel.guarded import Witness, guarded_tasks
from tests.kernel.programs import Programs
from tests.kernel.recorder import Recorder

HERE = Path(__file__).parent
GUESTS = HERE / "guest"  # kernels of their own: what this one has or hides is nothing to them
TRACEFS = Path("/sys/kernel/tracing")

ATTEMPTS = 4

Record = Callable[..., Recorder]
witness_key = pytest.StashKey[Witness]()
repeated_key = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if GUESTS in item.path.parents:
            item.add_marker(pytest.mark.guest)
        elif HERE in item.path.parents:
            item.add_marker(pytest.mark.kernel)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test; run it again if it failed while the kernel hid an event from BPF."""
    if item.get_closest_marker("guest"):
        return None
    hook, witness = item.ihook, item.config.stash.get(witness_key, None)
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, ATTEMPTS + 1):
        if witness:
            witness.forget()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        witness = item.config.stash.get(witness_key, None)
        hidden = witness.seen() if witness else []
        if not hidden or not any(report.failed for report in reports) or attempt == ATTEMPTS:
            break
        item.config.stash.setdefault(repeated_key, []).append(item.nodeid)
        item._initrequest()  # type: ignore[attr-defined]
    for report in reports:
        if hidden and report.failed:
            report.sections.append(("hidden from BPF by this kernel", "\n".join(hidden[:20])))
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for nodeid in config.stash.get(repeated_key, []):
        terminalreporter.write_line(f"run again, this kernel hid events from BPF: {nodeid}")


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
def hidden(kernel: None, request: pytest.FixtureRequest) -> Iterator[Callable[[], list[str]]]:
    """Watch what this kernel hides from BPF, if it does; tell what it was in this test."""
    tasks = guarded_tasks()
    if not tasks:
        yield list
        return
    witness = Witness(tasks)
    request.config.stash[witness_key] = witness
    yield witness.seen
    witness.close()


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
