"""What an exec event tells: who, which program, with which arguments."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from taskstream.record import FLAGS
from tests.kernel.conftest import Record
from tests.kernel.events import Events
from tests.kernel.programs import Programs

TEXT_FLAGS = ("args_truncated", "args_lost", "filename_truncated")

Execute = Callable[[str | Path, list[bytes]], tuple[int, bytes]]


@pytest.fixture
def execute() -> Execute:
    """Run a program with raw bytes as arguments; return its pid and what it writes."""

    def execute(path: str | Path, argv: list[bytes]) -> tuple[int, bytes]:
        reader, writer = os.pipe()
        with open(reader, "rb") as output:
            pid = os.posix_spawn(path, argv, {}, file_actions=[(os.POSIX_SPAWN_DUP2, writer, 1)])
            os.close(writer)
            said = output.read()
        assert os.waitpid(pid, 0) == (pid, 0)
        return pid, said

    return execute


def the_exec(events: Events, pid: int) -> np.void:
    """Return the exec of a child of the test."""
    return events.one("exec", pid=pid, ppid=os.getpid())


def text_flags(event: np.void) -> set[str]:
    """Return the flags that say that a text is not whole."""
    return {name for name in TEXT_FLAGS if event["flags"] & FLAGS[name].mask}


ARGUMENTS = {
    "one": [b"x"],
    "empty ones": [b"x", b"", b"", b"y", b""],
    "spaces and newlines": [b"x", b"a b", b" ", b"\n\t", b'"quoted" \\ back'],
    "UTF-8": [b"x", "grüße".encode(), "タスク".encode(), "🧵".encode()],
    "not UTF-8": [b"x", b"\xff\xfe", b"caf\xe9", bytes(range(1, 256))],
    "many": [b"x", *(str(i).encode() for i in range(700))],
    "as long as is kept": [b"x", b"a" * 4093],
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_argv_is_what_proc_cmdline_says(
    record: Record, programs: Programs, execute: Execute, name: str
) -> None:
    recorder = record()
    argv = ARGUMENTS[name]
    pid, cmdline = execute(programs.path("cmdline"), argv)
    family = recorder.family(pid)
    event = the_exec(family, pid)
    filename, text = family.text(event)
    assert text == cmdline == b"".join(argument + b"\0" for argument in argv)
    assert filename == os.fsencode(programs.path("cmdline"))
    assert (event["argc"], event["args_bytes"]) == (len(argv), len(cmdline))
    assert text_flags(event) == set()


@pytest.mark.parametrize(
    ("args_max", "kept"), [(4096, 4096), (64, 64), (16384, 16384), (100_000, 16384)]
)
def test_a_long_argv_is_cut_and_says_so_and_keeps_its_true_length(
    record: Record, programs: Programs, execute: Execute, args_max: int, kept: int
) -> None:
    recorder = record(args_max=args_max)
    argv = [b"x", *(b"%06d" % i for i in range(5000))]
    pid, cmdline = execute(programs.path("cmdline"), argv)
    family = recorder.family(pid)
    event = the_exec(family, pid)
    _, text = family.text(event)
    assert text == cmdline[:kept]
    assert (event["argc"], event["args_bytes"]) == (len(argv), len(cmdline)) == (5001, 35002)
    assert text_flags(event) == {"args_truncated"}


@pytest.mark.parametrize("names", [[], [""]])
def test_an_exec_without_a_name_has_the_empty_one_that_the_kernel_gives(
    record: Record, programs: Programs, names: list[str]
) -> None:
    recorder = record()
    run = programs.run("exec", "named", programs.path("cmdline"), *names)
    family = recorder.family(run.pid)
    event = family.of("exec").records[-1]
    assert family.text(event) == (os.fsencode(programs.path("cmdline")), run.output)
    assert run.output == b"\0"
    assert (event["argc"], event["args_bytes"]) == (1, 1)


def test_a_script_has_its_own_filename_and_the_arguments_of_its_interpreter(
    record: Record, programs: Programs, execute: Execute, tmp_path: Path
) -> None:
    recorder = record()
    program = programs.path("cmdline")
    script = tmp_path / "script"
    script.write_text(f"#!{program} --option\n")
    script.chmod(0o755)
    pid, cmdline = execute(script, [b"called so", b"argument"])
    family = recorder.family(pid)
    event = the_exec(family, pid)
    expected = [os.fsencode(program), b"--option", os.fsencode(script), b"argument"]
    assert family.text(event) == (os.fsencode(script), b"".join(a + b"\0" for a in expected))
    assert family.text(event)[1] == cmdline
    assert (event["argc"], event["args_bytes"]) == (4, len(cmdline))


def test_an_exec_by_descriptor_has_the_name_of_the_descriptor(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("exec", "by_descriptor", programs.path("cmdline"), "a")
    line, _, cmdline = run.output.partition(b"\n")
    descriptor = line.split()[1]
    family = recorder.family(run.pid)
    event = family.of("exec").records[-1]
    assert family.text(event) == (b"/dev/fd/" + descriptor, cmdline)
    assert cmdline == os.fsencode(programs.path("cmdline")) + b"\0a\0"


@pytest.mark.parametrize("length", [256, 4094, 4095])
def test_a_filename_of_any_length_that_a_path_may_have_is_whole(
    record: Record, programs: Programs, execute: Execute, tmp_path: Path, length: int
) -> None:
    recorder = record()
    shutil.copy(programs.path("cmdline"), tmp_path / "p")
    directory, name = os.fsencode(tmp_path), b"/p"
    filling = length - len(directory) - len(name)
    path = directory + b"/." * (filling // 2) + b"/" * (filling % 2) + name
    assert len(path) == length
    pid, _ = execute(os.fsdecode(path), [b"x"])
    family = recorder.family(pid)
    event = the_exec(family, pid)
    assert family.text(event)[0] == path
    assert text_flags(event) == set()


def test_a_filename_longer_than_a_path_may_be_is_whole_too(
    record: Record, programs: Programs, tmp_path: Path
) -> None:
    recorder = record()
    shutil.copy(programs.path("cmdline"), tmp_path / "p")
    path = "./" * 2046 + "p"
    run = programs.run("exec", "below_descriptor", tmp_path, path)
    descriptor = run.output.partition(b"\n")[0].split()[1]
    family = recorder.family(run.pid)
    event = family.of("exec").records[-1]
    assert family.text(event)[0] == b"/dev/fd/" + descriptor + b"/" + os.fsencode(path)
    assert text_flags(event) == set()


def test_two_execs_without_a_fork_are_two_events_of_one_identity(
    record: Record, programs: Programs
) -> None:
    recorder = record()
    run = programs.run("exec", "twice")
    family = recorder.family(run.pid)
    assert family.count() == {"fork": 1, "exec": 3, "exit": 1, "free": 1}
    execs = family.of("exec")
    assert set(execs.processes()) == set(family.of("fork").processes())
    assert len(set(zip(execs["cpu"], execs["seq"], strict=True))) == 3
    assert len(set(execs["boot_ns"])) == 3
    arguments = [family.text(event)[1].split(b"\0")[1:-1] for event in execs]
    assert arguments == [[b"twice"], [b"again"], [b"exit", b"0"]]


def test_an_exec_carries_the_name_that_the_task_has_after_it(
    record: Record, programs: Programs, tmp_path: Path
) -> None:
    recorder = record()
    program = tmp_path / "a name of more than fifteen bytes"
    shutil.copy(programs.path("create"), program)
    run = programs.run("create", "exit", 0, executable=program)
    family = recorder.family(run.pid)
    assert family.one("exec")["comm"] == family.one("exit")["comm"] == b"a name of more "


def test_an_exec_carries_the_owner_of_the_task(record: Record, programs: Programs) -> None:
    recorder = record()
    run = programs.run("exec", "as", 48611, 48613)
    family = recorder.family(run.pid)
    owners = list(zip(family.of("exec")["uid"], family.of("exec")["gid"], strict=True))
    assert owners == [(os.getuid(), os.getgid()), (48611, 48613)]
    assert (family.one("exit")["uid"], family.one("exit")["gid"]) == (48611, 48613)


def test_an_exec_by_a_thread_takes_the_pid_of_its_process(
    record: Record, programs: Programs
) -> None:
    """The dance of de_thread(): the caller gets the leader's pid and start, and the leader,
    already dead, is released under the caller's old pid. The old pid has no exit."""
    recorder = record()
    run = programs.run("exec", "from_a_thread", status=5)
    leader, caller = run.pid, run.one("caller")
    others = {tid for (tid,) in run.all("other")}
    family = recorder.family(leader)
    event = family.of("exec").records[-1]
    assert (event["old_pid"], event["pid"], event["tgid"]) == (caller, leader, leader)
    assert event["start_ns"] == family.one("fork", pid=leader)["start_ns"]
    assert not event["flags"] & FLAGS["thread"].mask

    exits, frees = family.of("exit"), family.of("free")
    assert sorted(exits["pid"]) == sorted([leader, leader, *others])
    assert sorted(frees["pid"]) == sorted([leader, caller, *others])
    assert family.count() == {"fork": 4, "exec": 2, "exit": 4, "free": 4}
    last = exits.with_flag("group_dead")
    assert (last["pid"], last["exit_code"]) == ([leader], [5 << 8])
    assert frees.one("free", pid=caller)["start_ns"] == event["start_ns"]
    before = exits.records["boot_ns"] < event["boot_ns"]
    assert before.tolist() == [True, True, True, False]


def test_an_exec_by_the_leader_keeps_its_pid(record: Record, programs: Programs) -> None:
    recorder = record()
    run = programs.run("create", "fork", 3)
    execs = recorder.family(run.pid).of("exec")
    assert execs["old_pid"] == execs["pid"] == execs["tgid"]
