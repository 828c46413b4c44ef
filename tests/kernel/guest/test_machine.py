"""A guest gives back what its command did; one that dies or hangs is an error of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.guest.kernel import Kernel
from tests.kernel.guest.machine import GuestDiedError, GuestTimeoutError, Layout, run
from tests.kernel.recorder import wait_until

ROOT = Path(__file__).parents[3]
EVERY_BYTE = bytes(range(256))


def test_status_and_both_outputs_of_a_command_come_back_byte_by_byte(any_kernel: Kernel) -> None:
    ended = run(any_kernel, ["sh", "-c", "cat; uname -r >&2; exit 77"], stdin=EVERY_BYTE * 1009)
    assert ended.status == 77
    assert ended.stdout == EVERY_BYTE * 1009
    assert ended.stderr.decode() == f"{any_kernel.release}\n"


def test_a_guest_lacks_what_its_layout_leaves_out_and_writes_nothing_here(
    any_kernel: Kernel, tmp_path: Path
) -> None:
    layout = Layout(btf=False, headers=False, cgroup="hybrid", tracefs=False)
    script = (
        f"touch {tmp_path}/written; ls {tmp_path}; ls /sys/kernel/btf /sys/kernel/tracing "
        "/lib/modules/*/build /sys/fs/cgroup/unified/cgroup.procs /sys/fs/cgroup/pids/pids.max"
    )
    ended = run(any_kernel, ["sh", "-c", script], layout=layout)
    assert ended.stdout.decode().split() == [
        "written",
        "/sys/fs/cgroup/unified/cgroup.procs",
        "/sys/kernel/btf:",
        "/sys/kernel/tracing:",
    ]
    assert not list(tmp_path.iterdir())


def test_a_command_that_does_not_end_in_time_is_an_error(any_kernel: Kernel) -> None:
    with pytest.raises(GuestTimeoutError, match="no end after 6 s") as raised:
        run(any_kernel, ["sh", "-c", "echo begun; sleep 600"], timeout_s=6)
    assert raised.value.stdout == b"begun\n"


def test_a_panic_is_told_as_the_death_of_the_guest_with_its_last_words(any_kernel: Kernel) -> None:
    with pytest.raises(GuestDiedError, match=r"the guest died(.|\n)*sysrq triggered crash"):
        run(any_kernel, ["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 600"], timeout_s=60)


def test_a_killed_runner_leaves_no_guest_behind(any_kernel: Kernel, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.kernel.guest.kernel import Kernel; "
        "from tests.kernel.guest.machine import run; "
        "run(Kernel.in_directory(Path(sys.argv[1])), ['sleep', '600'])"
    )
    command = [sys.executable, "-c", script, os.fspath(any_kernel.directory)]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {"TMPDIR": f"{tmp_path}"}) as runner:
        wait_until(lambda: len(children(runner.pid)) == 2)
        emulator_and_daemon = children(runner.pid)
        runner.kill()
    wait_until(lambda: not any(map(is_running, emulator_and_daemon)), lambda: emulator_and_daemon)


def children(pid: int) -> set[int]:
    """Return the children of a process that have become QEMU or virtiofsd."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = {int(p): Path(f"/proc/{p}/comm").read_text() for p in pids}
    return {p for p, name in names.items() if name.startswith(("qemu", "virtiofsd"))}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
