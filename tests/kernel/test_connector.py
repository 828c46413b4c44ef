"""Event by event against the kernel's proc connector, which owes nothing to BPF."""

import pytest

from tests.kernel.conftest import Record
from tests.kernel.events import Events
from tests.kernel.proc_connector import Exec, Exit, Fork, ProcConnector
from tests.kernel.programs import Programs
from tests.needs import go_without

WORKLOADS = [
    ("create", ["fork", 211], 0),
    ("create", ["vfork", 53], 0),
    ("create", ["clone_parent", 23], 0),
    ("create", ["thread", 101], 0),
    ("end", ["together", 11, 47], 0),
    ("end", ["statuses", 256], 0),
    ("end", ["leader_first", 7, 9], 0),
    ("end", ["exit_group", 37], 0),
    ("end", ["signal", 9, 0], 0),
    ("exec", ["twice"], 0),
    ("exec", ["from_a_thread"], 5),
]


@pytest.fixture
def connector() -> ProcConnector:
    """A listener from before the workload on."""
    try:
        listener = ProcConnector()
    except OSError as error:
        go_without(f"no proc connector (CONFIG_PROC_EVENTS, CAP_NET_ADMIN): {error}")
    with listener:
        yield listener


def rows(events: Events, *columns: str) -> list[tuple[int, ...]]:
    """Return chosen columns, sorted."""
    return sorted(zip(*(events[column] for column in columns), strict=True))


@pytest.mark.parametrize(("name", "arguments", "status"), WORKLOADS)
def test_forks_execs_and_exits_are_those_of_the_proc_connector(
    record: Record,
    programs: Programs,
    connector: ProcConnector,
    name: str,
    arguments: list[object],
    status: int,
) -> None:
    recorder = record()
    run = programs.run(name, *arguments, status=status)
    family = recorder.family(run.pid)
    pids, tgids = set(family["pid"]), set(family["tgid"])
    told = [e for e in connector.read() if e.pid in pids and e.tgid in tgids]

    assert rows(family.of("fork"), "pid", "tgid", "ppid") == sorted(
        (e.pid, e.tgid, e.parent_tgid) for e in told if isinstance(e, Fork)
    )
    assert rows(family.of("exec"), "pid", "tgid") == sorted(
        (e.pid, e.tgid) for e in told if isinstance(e, Exec)
    )
    assert rows(family.of("exit"), "pid", "tgid", "exit_code") == sorted(
        (e.pid, e.tgid, e.exit_code) for e in told if isinstance(e, Exit)
    )


def test_the_order_in_one_task_is_that_of_the_proc_connector(
    record: Record, programs: Programs, connector: ProcConnector
) -> None:
    recorder = record()
    run = programs.run("create", "fork", 101)
    family = recorder.family(run.pid)
    told = sorted(connector.read(), key=lambda event: event.monotonic_ns)
    for child in run.children:
        kinds = [type(event).__name__.lower() for event in told if event.pid == child.pid]
        ours = family.records[family.records["pid"] == child.pid]
        assert kinds == ["fork", "exec", "exit"]
        assert ours["kind"].tolist() == [1, 2, 3, 4]
