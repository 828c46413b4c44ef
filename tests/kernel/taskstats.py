"""Per-task accounting from the kernel's taskstats interface, sent at the exit of every task.

Plain sockets. The kernel fills it a few lines before the exit tracepoint (do_exit), so the
numbers must agree to the unit. Layout: include/uapi/linux/taskstats.h and genetlink.h.
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

__all__ = ["Accounting", "TaskStats"]

_NETLINK_GENERIC = 16
_CTRL_ID = 16
_CTRL_GET_FAMILY = 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_TASKSTATS_GET = 1
_REGISTER_CPUMASK = 3
_TYPE_STATS = 3
_AGGREGATE_PID = 4
_SO_RCVBUFFORCE = 33
_NLMSG = struct.Struct("=IHHII")
_GENL_BYTES = 4
_ATTRIBUTE = struct.Struct("=HH")

# offset in struct taskstats, format
_LAYOUT = {
    "exit_code": (4, "I"),
    "runtime_ns": (72, "Q"),
    "pid": (128, "I"),
    "utime_us": (152, "Q"),
    "stime_us": (160, "Q"),
    "minor_faults": (168, "Q"),
    "major_faults": (176, "Q"),
    "read_bytes": (248, "Q"),
    "written_bytes": (256, "Q"),
    "voluntary_switches": (272, "Q"),
    "involuntary_switches": (280, "Q"),
}


@dataclass(frozen=True)
class Accounting:
    """What one task had used when it ended."""

    exit_code: int
    runtime_ns: int
    pid: int
    utime_us: int
    stime_us: int
    minor_faults: int
    major_faults: int
    read_bytes: int
    written_bytes: int
    voluntary_switches: int
    involuntary_switches: int


class TaskStats:
    """Listens to the exits on all CPUs from the moment it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
            self._socket.bind((0, 0))
            self._register()
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def _ask(self, kind: int, command: int, attribute: int, value: bytes) -> bytes:
        value += b"\0"
        size = _ATTRIBUTE.size + len(value)
        body = struct.pack("=BBH", command, 1, 0) + _ATTRIBUTE.pack(size, attribute) + value
        body += bytes(-len(body) % 4)
        head = _NLMSG.pack(_NLMSG.size + len(body), kind, 5, 1, 0)  # a request, acknowledged
        self._socket.send(head + body)
        answer = self._socket.recv(65536)
        if _NLMSG.unpack_from(answer)[1] == 2:
            (code,) = struct.unpack_from("=i", answer, _NLMSG.size)
            if code:
                raise OSError(-code, os.strerror(-code))
        return answer

    def _register(self) -> None:
        answer = self._ask(_CTRL_ID, _CTRL_GET_FAMILY, _FAMILY_NAME, b"TASKSTATS")
        self._socket.recv(65536)  # the acknowledgement after the answer
        family = dict(_attributes(answer[_NLMSG.size + _GENL_BYTES :]))[_FAMILY_ID]
        cpus = f"0-{os.cpu_count() - 1}".encode()
        self._ask(int.from_bytes(family[:2], "little"), _TASKSTATS_GET, _REGISTER_CPUMASK, cpus)

    def read(self) -> Iterator[Accounting]:
        """Take what is there, a task each."""
        while True:
            try:
                message = self._socket.recv(65536)
            except BlockingIOError:
                return
            for name, value in _attributes(message[_NLMSG.size + _GENL_BYTES :]):
                if name == _AGGREGATE_PID:
                    stats = dict(_attributes(value))[_TYPE_STATS]
                    yield Accounting(
                        **{
                            field: struct.unpack_from("=" + form, stats, offset)[0]
                            for field, (offset, form) in _LAYOUT.items()
                        }
                    )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        size, name = _ATTRIBUTE.unpack_from(data)
        if size < _ATTRIBUTE.size:
            return
        yield name & 0x3FFF, data[_ATTRIBUTE.size : size]
        data = data[size + 3 & ~3 :]
