"""The agent's end of the control socket.

Rim: touches a directory and a socket in it. A request is a line of JSON, the reply another; then
the connection is closed. The directory has mode 0700, the socket 0600: the kernel lets in its
owner and root alone. Each agent has a socket of its own, so several can run on a host.
"""

import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from taskstream.control import Answer
from taskstream.control.client import SUFFIX, is_alive
from taskstream.errors import ControlError

__all__ = ["ControlSocket"]

MOST_CLIENTS = 8
"""How many are listened to at a time; the others wait at the door."""

PATIENCE_S = 5.0
"""After how much silence a client is sent away."""

REQUEST_BYTES = 4096


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    until_s: float
    heard: bytes = b""


class ControlSocket:
    """A socket that a single-threaded loop serves between other things.

    Args:
        directory: Made if it is not there. What dead agents left in it is removed.
        answer: Does what a request says.
        now_s: A clock that never goes back.

    Attributes:
        path: The socket, named for the process.

    Raises:
        ControlError: there can be no socket there.
    """

    def __init__(
        self, directory: Path, answer: Answer, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._answer = answer
        self._now_s = now_s
        self._clients: dict[int, _Client] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_dead(directory)
            self.path = _listen(self._listener, directory)
        except OSError as error:
            self._listener.close()
            raise ControlError(
                f"no control socket in {directory}: {error.strerror or error}; name another "
                "directory in [control] of the configuration, or off"
            ) from None
        self._selector = selectors.EpollSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def turn(self) -> None:
        """Answer what has come; never wait."""
        for key, _events in self._selector.select(0):
            if key.fd in self._clients:
                self._hear(self._clients[key.fd])
            else:
                self._let_in()
        if self._clients:
            now_s = self._now_s()
            for client in [c for c in self._clients.values() if c.until_s < now_s]:
                self._send_away(client)

    def _let_in(self) -> None:
        with suppress(OSError):  # gone again
            accepted, _address = self._listener.accept()
            accepted.setblocking(False)
            client = _Client(accepted, self._now_s() + PATIENCE_S)
            self._clients[accepted.fileno()] = client
            self._selector.register(accepted, selectors.EVENT_READ)
        if len(self._clients) == MOST_CLIENTS:
            self._selector.unregister(self._listener)

    def _hear(self, client: _Client) -> None:
        try:
            heard = client.socket.recv(REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            heard = b""
        client.heard += heard
        if b"\n" in client.heard:
            reply = json.dumps(self._reply(client.heard)).encode() + b"\n"
            with suppress(OSError):  # gone, or so long that the socket does not take it
                client.socket.sendall(reply)
        elif heard and len(client.heard) < REQUEST_BYTES:
            return
        self._send_away(client)

    def _reply(self, heard: bytes) -> dict[str, object]:
        try:
            request = json.loads(heard)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            return {"error": "a request is a line with a JSON object"}
        return self._answer(request)

    def _send_away(self, client: _Client) -> None:
        if len(self._clients) == MOST_CLIENTS:
            self._selector.register(self._listener, selectors.EVENT_READ)
        del self._clients[client.socket.fileno()]
        self._selector.unregister(client.socket)
        client.socket.close()

    def close(self) -> None:
        """Send everybody away, and remove the socket."""
        for client in list(self._clients.values()):
            self._send_away(client)
        self.path.unlink(missing_ok=True)
        self._selector.close()
        self._listener.close()


def _remove_dead(directory: Path) -> None:
    for path in directory.glob(f"*{SUFFIX}"):
        if not is_alive(path):
            path.unlink(missing_ok=True)


def _listen(listener: socket.socket, directory: Path) -> Path:
    """Listen at a name that nobody has; it appears when it can be connected to."""
    new = directory / f".{os.getpid()}"
    new.unlink(missing_ok=True)
    os.fchmod(listener.fileno(), 0o600)  # Linux makes the file with the mode of the socket
    listener.bind(str(new))
    try:
        listener.listen(MOST_CLIENTS)
        names = (f"{os.getpid()}{more}" for more in ("", *(f"-{n}" for n in range(2, 100))))
        for path in (directory / f"{name}{SUFFIX}" for name in names):
            with suppress(FileExistsError):  # an agent of another pid namespace, or of this process
                os.link(new, path)
                return path
    finally:
        new.unlink()
    raise OSError(f"a hundred agents have pid {os.getpid()} here")
