"""What the files of tracefs say, as kernels write them."""

import pytest

from taskstream.errors import KernelError
from taskstream.source import tracefs

COMMON = """\
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;
"""

FORK_6_1 = f"""\
name: sched_process_fork
ID: 288
format:
{COMMON}
	field:char parent_comm[16];	offset:8;	size:16;	signed:1;
	field:pid_t parent_pid;	offset:24;	size:4;	signed:1;
	field:char child_comm[16];	offset:28;	size:16;	signed:1;
	field:pid_t child_pid;	offset:44;	size:4;	signed:1;

print fmt: "comm=%s pid=%d child_comm=%s child_pid=%d", REC->parent_comm, REC->parent_pid, \
REC->child_comm, REC->child_pid
"""

FORK_6_18 = f"""\
name: sched_process_fork
ID: 366
format:
{COMMON}
	field:__data_loc char[] parent_comm;	offset:8;	size:4;	signed:0;
	field:pid_t parent_pid;	offset:12;	size:4;	signed:1;
	field:__data_loc char[] child_comm;	offset:16;	size:4;	signed:0;
	field:pid_t child_pid;	offset:20;	size:4;	signed:1;

print fmt: "comm=%s pid=%d child_comm=%s child_pid=%d", __get_str(parent_comm), REC->parent_pid, \
__get_str(child_comm), REC->child_pid
"""

EXIT_6_1 = f"""\
name: sched_process_exit
ID: 291
format:
{COMMON}
	field:char comm[16];	offset:8;	size:16;	signed:1;
	field:pid_t pid;	offset:24;	size:4;	signed:1;
	field:int prio;	offset:28;	size:4;	signed:1;

print fmt: "comm=%s pid=%d prio=%d", REC->comm, REC->pid, REC->prio
"""

EXIT_6_18 = f"""\
name: sched_process_exit
ID: 369
format:
{COMMON}
	field:char comm[16];	offset:8;	size:16;	signed:0;
	field:pid_t pid;	offset:24;	size:4;	signed:1;
	field:int prio;	offset:28;	size:4;	signed:1;
	field:bool group_dead;	offset:32;	size:1;	signed:0;

print fmt: "comm=%s pid=%d prio=%d group_dead=%s", REC->comm, REC->pid, REC->prio, \
REC->group_dead ? "true" : "false"
"""

SYS_EXIT = f"""\
name: sys_exit_clone
ID: 195
format:
{COMMON}
	field:int __syscall_nr;	offset:8;	size:4;	signed:1;
	field:long ret;	offset:16;	size:8;	signed:1;

print fmt: "0x%lx", REC->ret
"""

TEXTS = {
    "fork of 6.1": FORK_6_1,
    "fork of 6.18": FORK_6_18,
    "exit of 6.1": EXIT_6_1,
    "exit of 6.18": EXIT_6_18,
    "a system call": SYS_EXIT,
}


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Two directories where tracefs may be, in the order in which they are looked at."""
    found = tmp_path / "tracing", tmp_path / "debug"
    monkeypatch.setattr(tracefs, "_PLACES", found)
    return found


def lay(place, category, name, **files):
    """Describe a tracepoint in a directory."""
    (place / "events/sched").mkdir(parents=True, exist_ok=True)
    (place / "events/sched/enable").touch()
    directory = place / "events" / category / name
    directory.mkdir(parents=True)
    for file, text in files.items():
        (directory / file).write_text(text)


@pytest.mark.parametrize(
    ("text", "field", "offset"),
    [
        ("fork of 6.1", "parent_comm", 8),
        ("fork of 6.1", "parent_pid", 24),
        ("fork of 6.1", "child_pid", 44),
        ("fork of 6.18", "parent_comm", 8),
        ("fork of 6.18", "parent_pid", 12),
        ("fork of 6.18", "child_comm", 16),
        ("fork of 6.18", "child_pid", 20),
        ("exit of 6.1", "pid", 24),
        ("exit of 6.18", "pid", 24),
        ("exit of 6.18", "group_dead", 32),
        ("exit of 6.18", "common_pid", 4),
        ("a system call", "__syscall_nr", 8),
        ("a system call", "ret", 16),
    ],
)
def test_a_field_is_where_the_format_says(places, text, field, offset):
    lay(places[0], "any", "event", format=TEXTS[text])
    assert tracefs.field_offset("any", "event", field) == offset


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("exit of 6.1", "group_dead"),
        ("fork of 6.18", "pid"),  # the end of another name, and a word of the print format
        ("fork of 6.18", "char"),
        ("a system call", "REC"),
    ],
)
def test_a_field_that_a_tracepoint_does_not_have_has_no_offset(places, text, field):
    lay(places[0], "any", "event", format=TEXTS[text])
    assert tracefs.field_offset("any", "event", field) is None


def test_a_tracepoint_that_is_not_there_has_no_offset_and_no_number(places):
    lay(places[0], "sched", "sched_process_exit", format=EXIT_6_1)
    assert tracefs.field_offset("syscalls", "sys_exit_clone", "ret") is None
    with pytest.raises(KernelError, match="no tracepoint syscalls/sys_exit_clone"):
        tracefs.tracepoint_id("syscalls", "sys_exit_clone")


def test_a_tracepoint_has_the_number_of_its_id_file(places):
    lay(places[0], "syscalls", "sys_exit_clone", id="195\n")
    assert tracefs.tracepoint_id("syscalls", "sys_exit_clone") == 195


def test_without_tracefs_there_is_no_offset_and_the_error_says_why(places):
    assert tracefs.find() is None
    assert tracefs.field_offset("sched", "sched_process_exit", "pid") is None
    with pytest.raises(KernelError, match="tracefs is not mounted"):
        tracefs.tracepoint_id("sched", "sched_process_exit")


def test_an_empty_mount_point_is_no_tracefs_and_debugfs_serves(places):
    places[0].mkdir()
    lay(places[1], "syscalls", "sys_exit_clone", id="7")
    assert tracefs.find() == places[1]
    assert tracefs.tracepoint_id("syscalls", "sys_exit_clone") == 7


def test_tracefs_itself_is_looked_at_before_debugfs(places):
    for place in places:
        lay(place, "syscalls", "sys_exit_clone")
    assert tracefs.find() == places[0]
