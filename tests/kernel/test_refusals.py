"""What stands in the way of the probes is said in words; nothing is left behind."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskstream.errors import KernelError, RecordError
from taskstream.record import VERSION
from tests.kernel.recorder import wait_until
from tests.needs import go_without

ROOT = Path(__file__).parents[2]
ATTACHER = [sys.executable, "-m", "tests.kernel.attacher"]
NOBODY = 65534


@contextmanager
def attacher(*arguments: object, within: str = "") -> Iterator[tuple[subprocess.Popen, dict]]:
    """Run the attacher until it has reported.

    Args:
        arguments: Its options.
        within: Shell commands to run first, in a mount namespace of their own.
    """
    command = [*ATTACHER, *map(str, arguments)]
    if within:
        command = ["unshare", "--mount", "sh", "-ec", f'{within}\nexec "$@"', "sh", *command]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as process:
        line = process.stdout.readline()
        assert line, f"no report from {command}"
        yield process, json.loads(line)
        process.stdin.close()
        assert process.wait(timeout=30) in (0, -9)


def refusal(*arguments: object, within: str = "") -> dict[str, Any]:
    """Return the report of an attacher that must fail and hold nothing."""
    with attacher(*arguments, within=within) as (_, report):
        assert report["error"], "the probes were attached"
        assert (report["prog_id"], report["link_id"]) == ([], [])
    return report


@pytest.fixture
def alive() -> Callable[[str, int], bool]:
    """Tell whether the kernel still has a BPF program or link, by its id."""
    bpftool = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin")
    if not bpftool:
        go_without("no bpftool (Debian: bpftool)")

    def alive(kind: str, number: int) -> bool:
        command = [bpftool, kind, "show", "id", str(number)]
        return subprocess.run(command, capture_output=True).returncode == 0

    return alive


def gone(alive: Callable[[str, int], bool], report: dict[str, list[int]]) -> None:
    """Wait until nothing of what was reported is left in the kernel."""
    held = [("prog", n) for n in report["prog_id"]] + [("link", n) for n in report["link_id"]]
    wait_until(lambda: not any(alive(kind, n) for kind, n in held), lambda: held)


@pytest.mark.parametrize("load_mode", ["entry", "return"])
def test_a_killed_agent_leaves_nothing_in_the_kernel(
    alive: Callable[[str, int], bool], load_mode: str
) -> None:
    with attacher("--load-mode", load_mode) as (process, report):
        assert report["error"] is None
        programs, links = report["prog_id"], report["link_id"]
        assert len(programs) >= 4
        assert len(links) >= 4
        assert all(alive("prog", number) for number in programs)
        assert all(alive("link", number) for number in links)
        process.kill()
    gone(alive, report)


def test_a_closed_source_leaves_nothing_in_the_kernel(alive: Callable[[str, int], bool]) -> None:
    with attacher() as (_, report):
        assert report["error"] is None
    gone(alive, report)


def test_a_kernel_without_btf_is_refused_with_the_option_that_it_lacks() -> None:
    report = refusal(within="mount -t tmpfs none /sys/kernel/btf")
    assert report["error"] == KernelError.__name__
    assert "the kernel has no BTF" in report["message"]
    assert "CONFIG_DEBUG_INFO_BTF" in report["message"]


def test_an_unreadable_btf_is_refused_in_the_same_words() -> None:
    report = refusal(within="mount --bind /dev/null /sys/kernel/btf/vmlinux")
    assert report["error"] == KernelError.__name__
    assert "the kernel has no BTF" in report["message"]
    assert "CONFIG_DEBUG_INFO_BTF" in report["message"]


@pytest.mark.parametrize("load_mode", ["entry", "return"])
def test_who_is_not_root_is_told_which_rights_to_get(load_mode: str) -> None:
    report = refusal("--uid", NOBODY, "--load-mode", load_mode)
    assert report["error"] == KernelError.__name__
    assert "run as root, or grant CAP_" in report["message"]
    assert "\n" not in report["message"]


def test_root_without_the_rights_is_told_which_to_get() -> None:
    command = "exec setpriv --bounding-set -bpf,-perfmon,-sys_admin --inh-caps -all "
    report = refusal(within=f'{command} "$@"')
    assert report["error"] == KernelError.__name__
    assert "CAP_BPF" in report["message"]
    assert "\n" not in report["message"]


def test_tracefs_is_mounted_where_load_mode_return_needs_it() -> None:
    with attacher("--load-mode", "return", within="umount /sys/kernel/tracing") as (_, report):
        assert report["error"] is None
        assert any("tracefs was not mounted: it is now" in note for note in report["notes"])
        assert len(report["link_id"]) > 4


def test_failed_calls_that_cannot_be_seen_are_named_with_the_mount_to_make() -> None:
    within = 'umount /sys/kernel/tracing; exec setpriv --bounding-set -sys_admin "$@"'
    with attacher("--load-mode", "return", "--tracing", "tracepoint", within=within) as (_, report):
        assert report["error"] is None
        for calls in ("fork, vfork, clone and clone3", "execve", "execveat"):
            notes = [n for n in report["notes"] if n.startswith(f"failed {calls} calls are not")]
            assert "mount -t tracefs none /sys/kernel/tracing" in notes[0]


def test_without_tracefs_load_mode_entry_works() -> None:
    with attacher(within="umount /sys/kernel/tracing") as (_, report):
        assert report["error"] is None
        assert len(report["link_id"]) == 4


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str, str], Path]:
    """Compile the probes after replacing a text of the generated header."""

    def build(old: str, new: str) -> Path:
        shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
        header = tmp_path / "bpf" / "task_event.h"
        text = header.read_text()
        assert old in text
        header.write_text(text.replace(old, new))
        machine = subprocess.check_output(["clang", "-print-multiarch"], text=True).strip()
        command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-I/usr/include/{machine}"]
        source, path = tmp_path / "bpf" / "taskstream.bpf.c", tmp_path / "probes.o"
        subprocess.run([*command, "-c", source, "-o", path], check=True)
        return path

    return build


def test_an_object_of_another_schema_version_is_refused_with_both_versions(
    build: Callable[[str, str], Path],
) -> None:
    other = build(f"TASK_EVENT_VERSION {VERSION}", "TASK_EVENT_VERSION 99")
    report = refusal("--object", other)
    assert report["error"] == RecordError.__name__
    assert f"schema version 99, this program of {VERSION}" in report["message"]
    assert "make bpf" in report["message"]


def test_a_file_that_is_no_object_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.o").write_text("not ELF")
    report = refusal("--object", tmp_path / "text.o")
    assert report["error"] == KernelError.__name__
    assert "is no BPF object" in report["message"]
