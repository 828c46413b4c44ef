"""Boots a kernel in QEMU and runs one command in it, as root.

The guest's root is the host's (or another directory), shared read-only by virtiofs, with a layer
of memory over it: all that is installed is there, and nothing that the guest writes comes out,
except the command's standard output, standard error and status. QEMU emulates (TCG), so this
works wherever QEMU does. A guest that dies is an error, never tried again: it may have died of us.
"""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.kernel.guest.initramfs import initramfs
from tests.kernel.guest.kernel import Kernel

__all__ = [
    "X86_64",
    "Ended",
    "GuestDiedError",
    "GuestError",
    "GuestTimeoutError",
    "Layout",
    "Machine",
    "run",
]

_VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
_MODULES = ("virtio_pci", "virtio_console", "virtiofs", "overlay")
_TALK = ("emulator", "console", "err")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MEMORY = "2G"
# One CPU at a time: with a thread per CPU, a CPU may execute what another is just patching, and
# attaching BPF programs patches the kernel's text. Guests died of it.
_EMULATION = "tcg,thread=single,tb-size=512"
_KERNEL_LINE = (
    "quiet loglevel=4 panic=-1 oops=panic audit=0 selinux=0 apparmor=0 nowatchdog "
    "cryptomgr.notests rcupdate.rcu_expedited=1 random.trust_cpu=on net.ifnames=0 "
    # What emulation makes slow and no test needs: an exec takes a third of the time without.
    "norandmaps nokaslr mitigations=off "
)


_seats = threading.BoundedSemaphore(os.cpu_count() or 1)  # a guest fills a CPU


class GuestError(Exception):
    """The command has no status: why, with the end of the guest's console.

    Attributes:
        stdout: What the command wrote until then.
    """

    def __init__(self, message: str, stdout: bytes = b"") -> None:
        super().__init__(message)
        self.stdout = stdout


class GuestDiedError(GuestError):
    """The guest ended, or never began, without the command's status."""


class GuestTimeoutError(GuestError):
    """The command did not end in time."""


@dataclass(frozen=True)
class Machine:
    """What is emulated, and the directories that it is given, read-only.

    Attributes:
        emulator: The program.
        type: Of the machine.
        cpu: Its model.
        kernel_line: What its kernel needs to be told.
        root: The directory that becomes the guest's root; it has bin/busybox, static.
        shares: More directories, found there under the same paths.
        python: The interpreter there.
        variables: Of every command's environment.
    """

    emulator: str
    type: str
    cpu: str
    kernel_line: str
    root: Path = Path("/")
    shares: tuple[Path, ...] = ()
    python: str = sys.executable
    variables: Mapping[str, str] = field(default_factory=dict)


X86_64 = Machine(
    "qemu-system-x86_64",
    "q35",
    "Nehalem",  # a newer CPU's wider registers and page tables cost a third more time
    "console=ttyS0 8250.nr_uarts=1 tsc=reliable no_timer_check i8042.noaux i8042.nokbd",
)
"""A PC that has this host's root."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a guest has.

    Attributes:
        btf: The kernel's type information, /sys/kernel/btf.
        headers: The kernel's headers, /lib/modules/RELEASE/build.
        cgroup: ``v2``: one hierarchy at /sys/fs/cgroup. ``v1``: one for each controller there.
            ``hybrid``: these, and v2 without controllers at /sys/fs/cgroup/unified.
        tracefs: Tracefs and debugfs are mounted.
    """

    btf: bool = True
    headers: bool = True
    cgroup: str = "v2"
    tracefs: bool = True


@dataclass(frozen=True)
class Ended:
    """A command that ended in a guest."""

    status: int
    stdout: bytes
    stderr: bytes
    seconds: float


def run(
    kernel: Kernel,
    command: Sequence[str],
    *,
    machine: Machine = X86_64,
    layout: Layout | None = None,
    stdin: bytes = b"",
    directory: Path | None = None,
    timeout_s: float = 300,
) -> Ended:
    """Run a command in a guest and wait for its end.

    It waits for a CPU first, where threads run as many guests as there are.

    Args:
        kernel: To boot.
        command: Program and arguments.
        machine: To emulate.
        layout: What the guest has; by default everything.
        stdin: The command's standard input.
        directory: To run it in; / by default.
        timeout_s: Limit for all of it, the boot included, but not that wait.

    Raises:
        GuestDiedError: no status came back.
        GuestTimeoutError: the limit passed.
    """
    files = {
        "settings": _settings(kernel, machine, layout or Layout()),
        "command": _script(command, directory or Path("/"), machine.variables),
        "stdin": stdin,
    }
    archive = initramfs(
        busybox=(machine.root / "bin/busybox").read_bytes(),
        modules=kernel.module_closure(_MODULES),
        files=files,
    )
    with _seats, tempfile.TemporaryDirectory(prefix="guest.") as name:
        scratch = Path(name)
        (scratch / "initramfs").write_bytes(archive)
        return _boot(machine, kernel, scratch, timeout_s)


def _settings(kernel: Kernel, machine: Machine, layout: Layout) -> bytes:
    values = {
        "MODULES": " ".join(kernel.module_closure(_MODULES)),
        "SHARES": " ".join(f"share{i}:{path}" for i, path in enumerate(machine.shares)),
        "KERNEL": kernel.directory.resolve(),
        "MODULES_DIRECTORY": kernel.modules.parent.relative_to(kernel.directory),
        "BTF": "yes" if layout.btf else "",
        "HEADERS": "yes" if layout.headers else "",
        "CGROUP": layout.cgroup,
        "TRACEFS": "yes" if layout.tracefs else "",
    }
    lines = [f"{name}={shlex.quote(str(value))}\n" for name, value in values.items()]
    return "".join(lines).encode()


def _script(command: Sequence[str], directory: Path, variables: Mapping[str, str]) -> bytes:
    environment = {
        "PATH": _PATH,
        "HOME": "/root",
        "LANG": "C.UTF-8",
    } | dict(variables)
    assignments = [f"{name}={value}" for name, value in environment.items()]
    words = ["exec", "setsid", "-w", "env", "-i", *assignments, *command]
    where = shlex.quote(os.fspath(directory))
    return f"export PATH={_PATH}\ncd {where} && {shlex.join(words)}\n".encode()


def _boot(machine: Machine, kernel: Kernel, scratch: Path, timeout_s: float) -> Ended:
    shares = {"root": machine.root} | {f"share{i}": p for i, p in enumerate(machine.shares)}
    with ExitStack() as stack:
        command = _emulator(machine, kernel.bootable(), scratch)
        for tag, path in shares.items():
            command += stack.enter_context(_shared(path, tag, scratch))
        began = time.monotonic()
        emulator = stack.enter_context(_child(command, scratch / "emulator"))
        with suppress(subprocess.TimeoutExpired):
            emulator.wait(timeout_s)
    seconds = time.monotonic() - began
    status, stdout, stderr = (_content(scratch / port) for port in ("status", "out", "err"))
    if emulator.returncode == -signal.SIGKILL and seconds >= timeout_s:
        message = f"{kernel.release}: no end after {timeout_s:g} s\n{_told(scratch)}"
        raise GuestTimeoutError(message, stdout)
    if not status.strip().isdigit():
        message = f"{kernel.release}: the guest died\n{_told(scratch)}"
        raise GuestDiedError(message, stdout)
    return Ended(int(status), stdout, stderr, seconds)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _told(scratch: Path) -> str:
    """Return the end of what the emulator, the guest's console and the command said."""
    texts = [_content(scratch / name).decode(errors="replace") for name in _TALK]
    return "\n".join("".join(texts).splitlines()[-60:])


def _emulator(machine: Machine, image: Path, scratch: Path) -> list[str]:
    words = [machine.emulator, "-nodefaults", "-no-user-config", "-no-reboot"]
    words += ["-display", "none", "-accel", _EMULATION, "-cpu", machine.cpu, "-smp", "2"]
    words += ["-machine", f"{machine.type},memory-backend=memory", "-m", _MEMORY]
    words += ["-object", f"memory-backend-memfd,id=memory,size={_MEMORY},share=on"]
    words += ["-kernel", f"{image}", "-initrd", f"{scratch / 'initramfs'}"]
    words += ["-append", f"{_KERNEL_LINE} {machine.kernel_line}"]
    words += ["-chardev", f"file,id=console,path={scratch / 'console'}"]
    words += ["-serial", "chardev:console", "-device", "virtio-rng-pci"]
    words += ["-device", "virtio-serial-pci"]
    for number, port in enumerate(("out", "err", "status"), 1):
        words += ["-chardev", f"file,id={port},path={scratch / port}"]
        words += ["-device", f"virtserialport,chardev={port},name={port},nr={number}"]
    return words


@contextmanager
def _shared(directory: Path, tag: str, scratch: Path) -> Iterator[list[str]]:
    """Share a directory read-only for as long as the context lasts; yield QEMU's arguments."""
    socket = scratch / f"{tag}.socket"
    command = [_VIRTIOFSD, f"--socket-path={socket}", "--thread-pool-size=0"]
    for option in (f"source={directory}", "cache=always", "sandbox=chroot", "log_level=err"):
        command += ["-o", option]
    log = scratch / f"{tag}.log"
    with _child(command, log) as daemon:
        while not socket.exists():
            if daemon.poll() is not None:
                raise GuestDiedError(f"virtiofsd ended: {log.read_text()}")
            time.sleep(0.01)
        yield [
            "-chardev",
            f"socket,id={tag},path={socket}",
            "-device",
            f"vhost-user-fs-pci,queue-size=1024,chardev={tag},tag={tag}",
        ]


@contextmanager
def _child(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that does not outlive the context, nor this thread."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
