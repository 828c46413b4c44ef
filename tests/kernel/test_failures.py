"""Calls that fail to create a task or to run a program: counted with the call and its errno."""

import errno
from collections import Counter
from pathlib import Path

import pytest

from tests.kernel.conftest import Record
from tests.kernel.control_groups import new_group, pids_hierarchy
from tests.kernel.events import Events, call_name
from tests.kernel.programs import Programs, Run
from tests.kernel.recorder import Recorder
from tests.needs import go_without

CREATE = ["fork", "vfork", "clone", "clone3"]
COUNT = 31


def failures(events: Events) -> Counter[tuple[str, int]]:
    """Count fail events by call and errno."""
    fails = events.of("fail")
    return Counter(zip(map(call_name, fails["call"]), fails["errno"], strict=True))


def told(run: Run) -> Counter[tuple[str, int]]:
    """Count what the workload got by call and errno."""
    lines = [line.split() for line in run.output.decode().splitlines()]
    return Counter((call, int(code)) for word, call, code in lines if word == "call")


def check(recorder: Recorder, run: Run) -> Counter[tuple[str, int]]:
    """Compare the events with what the workload got; return how many of each."""
    family = recorder.family(run.pid)
    found = failures(family)
    assert found == told(run)
    assert set(family.of("fail")["pid"]) == {run.pid}
    return found


def test_a_process_over_its_limit_fails_to_create_with_eagain(
    record: Record, programs: Programs
) -> None:
    recorder = record(load_mode="return")
    run = programs.run("fail", "nproc", COUNT)
    assert check(recorder, run) == dict.fromkeys(((call, errno.EAGAIN) for call in CREATE), COUNT)
    fails = recorder.family(run.pid).of("fail")
    assert set(fails["uid"]) == set(fails["gid"]) == {48611}


def test_a_full_pids_cgroup_fails_each_create_that_it_counts(
    record: Record, programs: Programs
) -> None:
    parent = pids_hierarchy()
    if parent is None:
        go_without("no cgroup hierarchy with the pids controller")
    recorder = record(load_mode="return")
    with new_group(parent) as group, programs.start("fail", "here", COUNT) as running:
        (group / "pids.max").write_text("1")
        (group / "cgroup.procs").write_text(str(running.pid))
        running.go_on()
        run = running.end()
        refused = int((group / "pids.events").read_text().split()[1])
    found = check(recorder, run)
    assert found == dict.fromkeys(((call, errno.EAGAIN) for call in CREATE), COUNT)
    assert refused == found.total()


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EXDEV])
def test_a_seccomp_filter_fails_a_create_with_the_errno_that_it_chose(
    record: Record, programs: Programs, code: int
) -> None:
    recorder = record(load_mode="return")
    run = programs.run("fail", "seccomp", COUNT, code)
    assert check(recorder, run) == dict.fromkeys(((call, code) for call in CREATE), COUNT)


def test_an_exec_that_fails_has_the_errno_that_its_caller_got(
    record: Record, programs: Programs, tmp_path: Path
) -> None:
    (tmp_path / "unreadable").write_text("no execute permission")
    (tmp_path / "unreadable").chmod(0o644)
    (tmp_path / "directory").mkdir()
    (tmp_path / "no_format").write_bytes(b"\0" * 64)
    (tmp_path / "busy").write_bytes(b"\x7fELF")
    (tmp_path / "wrong_interpreter").write_text("#!/nowhere/to/be/found\n")
    for name in ("no_format", "busy", "wrong_interpreter"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(programs.path("fail"))
    recorder = record(load_mode="return")
    run = programs.run("fail", "exec", cwd=tmp_path)
    found = check(recorder, run)
    both = Counter(
        {
            errno.ENOENT: 2,  # nothing there; no interpreter there
            errno.EACCES: 2,  # no permission; a directory
            errno.ENOEXEC: 1,
            errno.ELOOP: 1,
            errno.ENOTDIR: 1,
            errno.ETXTBSY: 1,
            errno.E2BIG: 1,
            errno.ENAMETOOLONG: 1,
            errno.EFAULT: 1,
        }
    )
    only_at = Counter({errno.EBADF: 1, errno.EINVAL: 1, errno.ELOOP: 1})
    assert {code: n for (call, code), n in found.items() if call == "execve"} == both
    assert {code: n for (call, code), n in found.items() if call == "execveat"} == both + only_at


def test_a_failed_exec_is_no_exec_and_a_failed_create_no_fork(
    record: Record, programs: Programs, tmp_path: Path
) -> None:
    recorder = record(load_mode="return")
    for arguments in (["seccomp", 3, errno.EPERM], ["exec"]):
        run = programs.run("fail", *arguments, cwd=tmp_path)
        counted = recorder.family(run.pid).count()
        assert counted.pop("fail") > 0
        assert counted == {"fork": 1, "exec": 1, "exit": 1, "free": 1}


def test_the_kernel_counts_failures_apart(record: Record, programs: Programs) -> None:
    recorder = record(load_mode="return")
    programs.run("fail", "seccomp", COUNT, errno.EPERM)
    programs.run("fail", "exec")
    fails = recorder.stop().of("fail")
    calls = Counter(map(call_name, fails["call"]))
    counted = recorder.counted()
    assert counted["fail_create"] == sum(calls[call] for call in CREATE) >= 4 * COUNT
    assert counted["fail_exec"] == calls["execve"] + calls["execveat"] >= 20


def test_a_fork_that_a_signal_makes_the_kernel_repeat_is_no_failure(
    record: Record, programs: Programs
) -> None:
    recorder = record(load_mode="return")
    run = programs.run("fail", "interrupted", 997)
    assert run.one("failed") == 0
    family = recorder.family(run.pid)
    assert failures(family) == {}
    assert len(family.of("fork").without_flag("thread")) == run.one("made") + 1


def test_load_mode_entry_sees_no_failure(record: Record, programs: Programs) -> None:
    recorder = record(load_mode="entry")
    run = programs.run("fail", "seccomp", COUNT, errno.EPERM)
    assert told(run).total() == 4 * COUNT
    recorder.family(run.pid)
    assert not len(recorder.stop().of("fail"))
    assert recorder.counted()["fail_create"] == recorder.counted()["fail_exec"] == 0
