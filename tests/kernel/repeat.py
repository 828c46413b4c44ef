"""Tests of the real kernel are run again where it hid an event from BPF; a plugin of pytest.

What is hidden, and why, says ``tests.kernel.guarded``. A test takes part by its marker
``kernel`` and by fixture `hidden`.
"""

from collections.abc import Callable, Iterator

import pytest
from _pytest.runner import runtestprotocol

from tests.kernel.guarded import Witness, guarded_tasks

ATTEMPTS = 4

witness_key = pytest.StashKey[Witness]()
repeated_key = pytest.StashKey[list[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test; run it again if it failed while the kernel hid an event from BPF."""
    if item.get_closest_marker("guest") or not item.get_closest_marker("kernel"):
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
def hidden(tracefs: None, request: pytest.FixtureRequest) -> Iterator[Callable[[], list[str]]]:
    """Watch what this kernel hides from BPF, if it does; tell what it was in this test."""
    tasks = guarded_tasks()
    if not tasks:
        yield list
        return
    witness = Witness(tasks)
    request.config.stash[witness_key] = witness
    yield witness.seen
    witness.close()
