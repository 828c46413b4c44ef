"""What a task had used when it ended.

The exit probe runs a few lines after the kernel sends its own accounting (taskstats), so the
two agree to the unit, but for what a switch or a tick between them adds. wait4 sees the process
later: after the last instructions of do_exit, which use CPU time and may sleep, but which fault no
page and do no I/O of the task's own. utime_ns and stime_ns are sampled by the tick, and wait4
scales them to the exact run time: only their raw values, in taskstats, can be compared.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import Record
from tests.kernel.events import Events
from tests.kernel.host import TICK_NS
from tests.kernel.programs import Programs, Run
from tests.kernel.recorder import wait_until
from tests.kernel.taskstats import Accounting, TaskStats

CPU_MS = 60
CPU_NS = CPU_MS * 1_000_000
MEMORY_KIB = 16384
BLOCKS = 37
BLOCK_BYTES = 4096

EXACT = (
    "exit_code",
    "minor_faults",
    "major_faults",
    "read_bytes",
    "written_bytes",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of known size."""
    path = tmp_path / "file"
    path.write_bytes(bytes(BLOCKS * BLOCK_BYTES))
    return path


@pytest.fixture
def taskstats() -> Iterator[TaskStats]:
    """The kernel's own accounting, from before the workload on."""
    with TaskStats() as stats:
        yield stats


def used(programs: Programs, threads: int, file: Path) -> Run:
    """Run a child that uses known amounts."""
    return programs.run("use", threads, CPU_MS, MEMORY_KIB, file, BLOCKS)


def accounted(taskstats: TaskStats, pids: set[int]) -> dict[int, Accounting]:
    """Wait for the accounting of tasks."""
    found: dict[int, Accounting] = {}

    def complete() -> bool:
        found.update((stats.pid, stats) for stats in taskstats.read())
        return pids <= found.keys()

    wait_until(complete)
    return {pid: found[pid] for pid in pids}


def total(events: Events, column: str) -> int:
    """Return the sum of a column."""
    return sum(events[column])


@pytest.mark.parametrize("threads", [0, 3])
def test_an_exit_agrees_with_the_accounting_of_the_kernel(
    record: Record, programs: Programs, taskstats: TaskStats, file: Path, threads: int
) -> None:
    recorder = record()
    run = used(programs, threads, file)
    exits = recorder.family(run.pid).of("exit")
    assert len(exits) == threads + 2
    stats = accounted(taskstats, set(exits["pid"]))
    for event in exits:
        truth = stats[int(event["pid"])]
        assert {n: int(event[n]) for n in EXACT} == {n: getattr(truth, n) for n in EXACT}
        # The kernel may sleep for memory to send its accounting in, between the two. A tick may
        # lie between them, too: it adds to either time, and brings run time up to date.
        late_us = [
            int(event["utime_ns"]) // 1000 - truth.utime_us,
            int(event["stime_ns"]) // 1000 - truth.stime_us,
        ]
        assert sorted(late_us) in ([0, 0], [0, TICK_NS // 1000])
        assert 0 <= event["runtime_ns"] - truth.runtime_ns < TICK_NS
        assert 0 <= event["voluntary_switches"] - truth.voluntary_switches <= 1
        assert 0 <= event["involuntary_switches"] - truth.involuntary_switches <= 1


def test_an_exit_of_a_process_of_one_thread_agrees_with_wait4(
    record: Record, programs: Programs, file: Path
) -> None:
    recorder = record()
    run = used(programs, 0, file)
    (child,) = run.children
    event = recorder.family(run.pid).one("exit", pid=child.pid)
    assert event["minor_faults"] == child.minor_faults > MEMORY_KIB // 4
    assert event["major_faults"] == child.major_faults
    assert event["max_rss_bytes"] == child.max_rss_kib * 1024
    # The kernel counts pages by CPU, and adds them up in rounds.
    assert event["max_rss_bytes"] > 0.9 * MEMORY_KIB * 1024
    # The file system may read and write blocks of its own in the name of the task.
    assert event["read_bytes"] // 512 == child.blocks_in >= BLOCKS * 8
    assert event["written_bytes"] // 512 == child.blocks_out >= 2 * BLOCKS * 8
    # Ending costs at least the last switch to another task, and a few locks that may be waited for.
    assert event["voluntary_switches"] >= 23
    assert 0 <= child.voluntary_switches - event["voluntary_switches"] <= 8
    assert 0 <= child.involuntary_switches - event["involuntary_switches"] <= 8


def test_runtime_lies_between_what_the_task_and_what_its_parent_saw(
    record: Record, programs: Programs, file: Path
) -> None:
    recorder = record()
    run = used(programs, 0, file)
    (child,) = run.children
    ((pid, before_exit_ns),) = run.all("ran")
    event = recorder.family(run.pid).one("exit", pid=child.pid)
    assert pid == child.pid
    assert CPU_NS - TICK_NS < before_exit_ns <= event["runtime_ns"]
    assert event["runtime_ns"] <= (child.time_us + 2) * 1000  # two figures, each cut to a us


def test_the_exits_of_a_process_add_up_to_what_wait4_says(
    record: Record, programs: Programs, file: Path
) -> None:
    recorder = record()
    run = used(programs, 3, file)
    (child,) = run.children
    exits = recorder.family(run.pid).of("exit", tgid=child.pid)
    assert len(exits) == 4
    assert total(exits, "minor_faults") == child.minor_faults
    assert total(exits, "major_faults") == child.major_faults
    assert total(exits, "read_bytes") // 512 == child.blocks_in >= 3 * BLOCKS * 8
    assert total(exits, "written_bytes") // 512 == child.blocks_out >= 6 * BLOCKS * 8
    assert 3 * (CPU_NS - TICK_NS) < total(exits, "runtime_ns") <= (child.time_us + 2) * 1000
    assert 0 <= child.voluntary_switches - total(exits, "voluntary_switches") <= 4 * 8
    assert max(exits["max_rss_bytes"]) == child.max_rss_kib * 1024
