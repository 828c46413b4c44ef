"""The kernel's own process event connector: a witness that owes nothing to BPF.

Plain sockets. Layout: include/uapi/linux/cn_proc.h and connector.h. The kernel drops events
when the socket's buffer is full and then answers a read with ENOBUFS: that fails the test.
"""

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

__all__ = ["Exec", "Exit", "Fork", "ProcConnector"]

_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = 1
_CN_VAL_PROC = 1
_LISTEN = 1
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 64 << 20

_NLMSG = struct.Struct("=IHHII")
_CN_MSG = struct.Struct("=IIIIHH")
_EVENT = struct.Struct("=IIQ")
_AT = _NLMSG.size + _CN_MSG.size

_FORK = 0x00000001
_EXEC = 0x00000002
_EXIT = 0x80000000


@dataclass(frozen=True)
class Fork:
    """A task was created; the parent is the real parent."""

    monotonic_ns: int
    parent_pid: int
    parent_tgid: int
    pid: int
    tgid: int


@dataclass(frozen=True)
class Exec:
    """A task replaced its program."""

    monotonic_ns: int
    pid: int
    tgid: int


@dataclass(frozen=True)
class Exit:
    """A task ended."""

    monotonic_ns: int
    pid: int
    tgid: int
    exit_code: int
    exit_signal: int


_SHAPES: dict[int, tuple[struct.Struct, type[Fork] | type[Exec] | type[Exit]]] = {
    _FORK: (struct.Struct("=IIII"), Fork),
    _EXEC: (struct.Struct("=II"), Exec),
    _EXIT: (struct.Struct("=IIII"), Exit),
}


class ProcConnector:
    """Listens from the moment it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
            self._socket.bind((0, _CN_IDX_PROC))
            self._socket.setblocking(False)
            self._listen()
        except OSError:
            self._socket.close()
            raise

    def _listen(self) -> None:
        operation = struct.pack("=I", _LISTEN)
        size = _AT + len(operation)
        head = _NLMSG.pack(size, 3, 0, 0, os.getpid())
        connector = _CN_MSG.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, len(operation), 0)
        self._socket.send(head + connector + operation)

    def read(self) -> Iterator[Fork | Exec | Exit]:
        """Take the events that are there, in the order of their happening on each CPU."""
        while True:
            try:
                message = self._socket.recv(4096)
            except BlockingIOError:
                return
            what, _cpu, monotonic_ns = _EVENT.unpack_from(message, _AT)
            if what in _SHAPES:
                shape, event = _SHAPES[what]
                yield event(monotonic_ns, *shape.unpack_from(message, _AT + _EVENT.size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
