"""Tasks that the kernel makes, tasks of the agent, tasks in cgroups: marked, never dropped."""

import errno
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskstream.record import FLAGS
from tests.kernel.conftest import Record
from tests.kernel.control_groups import default_hierarchy, new_group
from tests.kernel.events import Events
from tests.kernel.host import at_rest, forks_since_boot
from tests.kernel.programs import Programs
from tests.needs import go_without


def test_an_io_uring_thread_is_an_io_worker_and_counted_like_any_other(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    stat_before, ours_before = at_rest(forks_since_boot, recorder.forks_counted)
    run = programs.run("ring")
    stat_after, ours_after = at_rest(forks_since_boot, recorder.forks_counted)
    if run.all("refused"):
        go_without(f"io_uring refused: {errno.errorcode[run.one('refused')]}")
    family = recorder.family(run.pid)
    workers = family.with_flag("io_worker")
    assert len(workers) > 0
    assert set(workers["pid"]) == {tid for (tid,) in run.all("worker")}
    assert workers.count() == {kind: len(run.all("worker")) for kind in ("fork", "exit", "free")}
    assert set(workers["tgid"]) == {run.pid}
    assert len(workers.with_flag("thread")) == len(workers)
    assert not len(workers.with_flag("kernel_thread"))
    assert ours_after - ours_before == stat_after - stat_before >= 2


@pytest.fixture
def file_system(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """A function that mounts a file system with a journal, for which the kernel starts a thread."""
    image, at = tmp_path / "image", tmp_path / "mounted"
    at.mkdir()
    image.write_bytes(bytes(16 << 20))
    tool = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not tool:
        go_without("no mkfs.ext4 (Debian: e2fsprogs)")
    subprocess.run([tool, "-q", "-O", "has_journal", image], check=True)

    def mount() -> None:
        done = subprocess.run(["mount", "-o", "loop", image, at], capture_output=True, text=True)
        if done.returncode:
            go_without(f"no loop mount: {done.stderr.strip()}")

    yield mount
    subprocess.run(["umount", at], check=False, capture_output=True)


def journal_threads() -> set[int]:
    """Return the pids of the threads that write journals of file systems."""
    found = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_bytes().startswith(b"jbd2/"):
                found.add(int(comm.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_a_kernel_thread_is_marked_and_is_no_thread_of_a_process(
    record: Record, file_system: Callable[[], None]
) -> None:
    recorder = record()
    before = journal_threads()
    file_system()
    (pid,) = journal_threads() - before
    fork = recorder.until(lambda events: len(events.of("fork", pid=pid)) == 1).one("fork", pid=pid)
    assert fork["flags"] & FLAGS["kernel_thread"].mask
    assert not fork["flags"] & (FLAGS["thread"].mask | FLAGS["io_worker"].mask)
    assert (fork["tgid"], fork["ppid"], fork["uid"]) == (pid, 2, 0)


def test_a_helper_that_the_kernel_starts_is_a_process_like_any_other(
    record: Record, programs: Programs, core_pattern: Path
) -> None:
    recorder = record()
    helper = os.fsencode(programs.path("cmdline"))
    core_pattern.write_bytes(b"|" + helper + b" %P")
    (child,) = programs.run("end", "signal", int(signal.SIGSEGV), 1 << 30).children

    def helpers(events: Events) -> list[int]:
        texts = {place for place, (filename, _) in events.texts.items() if filename == helper}
        return [int(e["pid"]) for e in events.of("exec") if (e["cpu"], e["seq"]) in texts]

    def released(events: Events) -> bool:
        return all(len(events.of("free", pid=pid)) for pid in helpers(events) or [0])

    events = recorder.until(released)
    (pid,) = helpers(events)
    assert events.text(events.one("exec", pid=pid))[1].split(b"\0")[1] == b"%d" % child.pid
    fork = events.one("fork", pid=pid)
    marks = sum(FLAGS[name].mask for name in ("thread", "io_worker", "agent", "kernel_thread"))
    assert not fork["flags"] & marks
    assert fork["tgid"] == pid
    assert events.one("exit", pid=pid)["flags"] & FLAGS["group_dead"].mask


def test_tasks_of_user_programs_are_not_marked_as_the_kernels(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("create", "thread", 11)
    family = recorder.family(run.pid)
    assert not len(family.with_flag("kernel_thread"))
    assert not len(family.with_flag("io_worker"))


def test_the_agents_own_threads_and_children_are_marked_and_counted(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    stat_before, ours_before = at_rest(forks_since_boot, recorder.forks_counted)
    threads = [threading.Thread(target=str) for _ in range(7)]
    tids = []
    for thread in threads:
        thread.start()
        tids.append(thread.native_id)
    for thread in threads:
        thread.join()
    run = programs.run("create", "fork", 11)
    stat_after, ours_after = at_rest(forks_since_boot, recorder.forks_counted)
    family = recorder.family(run.pid)

    def of_threads(kind: str, events: Events) -> list[int]:
        # Libraries that other tests loaded into this process may start threads of their own.
        pids = events.of(kind, tgid=os.getpid()).with_flag("agent")["pid"]
        return [pid for pid in pids if pid in tids]

    own = recorder.until(lambda events: len(of_threads("free", events)) >= 7)
    assert of_threads("fork", own) == tids
    assert sorted(of_threads("exit", own)) == sorted(tids)
    assert own.of("exec", pid=run.pid)["ppid"] == [os.getpid()]
    assert family.with_flag("agent").count() == {"fork": 1, "exec": 1, "exit": 1, "free": 1}
    assert ours_after - ours_before == stat_after - stat_before >= 7 + 12
    assert recorder.source.totals()["lost"].sum() == 0


@pytest.fixture
def group() -> Iterator[Path]:
    """A cgroup of the v2 hierarchy."""
    parent = default_hierarchy()
    if parent is None:
        go_without("no cgroup v2 hierarchy is mounted")
    with new_group(parent) as group:
        yield group


def test_a_child_cloned_into_a_cgroup_has_that_cgroup_from_its_birth(
    record: Record, programs: Programs, group: Path
) -> None:
    recorder = record()
    descriptor = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    run = programs.run("create", "into_cgroup", 13, descriptor, pass_fds=[descriptor])
    os.close(descriptor)
    family = recorder.family(run.pid)
    children = family.without_task(run.pid)
    assert children.count() == {"fork": 13, "exec": 13, "exit": 13, "free": 13}
    assert set(children["cgroup_id"]) == {group.stat().st_ino}
    assert set(family.of("exec", pid=run.pid)["cgroup_id"]) != {group.stat().st_ino}


def test_a_task_that_was_moved_has_its_new_cgroup_and_so_have_its_children(
    record: Record, programs: Programs, group: Path
) -> None:
    recorder = record()
    with programs.start("end", "zombie", 0) as running:
        _, (zombie,) = running.fact()
        (group / "cgroup.procs").write_text(str(running.pid))
        running.go_on()
        running.end()
    family = recorder.family(running.pid)
    inode = group.stat().st_ino
    assert family.one("fork", pid=running.pid)["cgroup_id"] != inode
    assert family.one("exit", pid=running.pid)["cgroup_id"] == inode
    assert family.one("free", pid=running.pid)["cgroup_id"] == inode
    assert family.one("exit", pid=zombie)["cgroup_id"] != inode
