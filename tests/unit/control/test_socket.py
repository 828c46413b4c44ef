"""The control socket answers who asks, waits for nobody, and is for its owner alone."""

import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from taskstream.control.client import ask, find, is_alive
from taskstream.control.server import MOST_CLIENTS, PATIENCE_S, REQUEST_BYTES, ControlSocket
from taskstream.errors import ControlError


class Clock:
    """A clock that goes as it is told."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def echo(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"error": "no"} if request.get("do") == "fail" else {"said": request}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def server(folder: Path, clock: Clock) -> Iterator[ControlSocket]:
    server = ControlSocket(folder, echo, now_s=clock)
    yield server
    server.close()


@pytest.fixture
def connect(server: ControlSocket) -> Iterator[Callable[[], socket.socket]]:
    """Return what makes a client of the server."""
    clients = []

    def connecting() -> socket.socket:
        clients.append(socket.socket(socket.AF_UNIX))
        clients[-1].settimeout(5)
        clients[-1].connect(str(server.path))
        return clients[-1]

    yield connecting
    for client in clients:
        client.close()


def asked(server: ControlSocket, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask as a process of its own would, while the server takes its turns."""
    replies: list[Any] = []

    def client() -> None:
        try:
            replies.append(ask(server.path, request))
        except ControlError as error:
            replies.append(error)

    thread = Thread(target=client)
    thread.start()
    while thread.is_alive():
        server.turn()
    if isinstance(replies[0], ControlError):
        raise replies[0]
    found: dict[str, Any] = replies[0]
    return found


def test_a_request_has_its_reply(server):
    assert asked(server, {"do": "it"}) == {"said": {"do": "it"}}


def test_an_error_is_raised_where_it_was_asked(server):
    with pytest.raises(ControlError, match="no"):
        asked(server, {"do": "fail"})


@pytest.mark.parametrize("line", [b"\n", b"[1]\n", b"enable apps\n", b"\xff\n", b'"x"\n{}\n'])
def test_what_is_no_request_is_told_so(server, connect, line):
    client = connect()
    client.sendall(line)
    server.turn()
    server.turn()
    assert b"a request is a line with a JSON object" in client.recv(1000)


def test_a_request_may_come_in_pieces(server, connect):
    client = connect()
    for piece in (b'{"do"', b": 1", b"}\n"):
        client.sendall(piece)
        server.turn()
        server.turn()
    assert client.recv(1000) == b'{"said": {"do": 1}}\n'


def test_who_says_nothing_holds_nobody_up_and_is_sent_away(server, connect, clock):
    silent = [connect() for _ in range(3)]
    server.turn()
    assert asked(server, {"do": "it"}) == {"said": {"do": "it"}}
    clock.now_s = PATIENCE_S + 1
    server.turn()
    for client in silent:
        assert client.recv(10) == b""


def test_more_clients_than_there_is_room_for_wait_until_others_leave(server, connect, clock):
    for _ in range(MOST_CLIENTS + 3):
        late = connect()
        server.turn()
    late.sendall(b"{}\n")
    server.turn()
    late.setblocking(False)
    with pytest.raises(BlockingIOError):
        late.recv(10)
    late.settimeout(5)
    clock.now_s = PATIENCE_S + 1
    for _ in range(20):
        server.turn()
    assert late.recv(100) == b'{"said": {}}\n'


def test_who_leaves_or_talks_without_end_is_let_go(server, connect):
    connect().close()
    endless = connect()
    server.turn()
    endless.sendall(b"x" * (REQUEST_BYTES + 1))
    for _ in range(5):
        server.turn()
    with pytest.raises(ConnectionResetError):  # it was not heard to its end
        endless.recv(10)
    assert asked(server, {"do": "it"}) == {"said": {"do": "it"}}


def test_the_socket_and_its_directory_are_for_the_owner_alone(folder, server):
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_socket_goes_with_its_agent(folder, server):
    assert [path.name for path in folder.iterdir()] == [f"{os.getpid()}.sock"]
    server.close()
    assert list(folder.iterdir()) == []


def test_what_a_dead_agent_left_is_removed_by_the_next_and_found_by_nobody(folder):
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "12.sock"))
    with pytest.raises(ControlError, match="no agent listens"):
        find(folder)
    server = ControlSocket(folder, echo)
    assert find(folder) == [server.path]
    assert not (folder / "12.sock").exists()
    server.close()


def test_two_agents_have_a_socket_each(folder, server):
    other = ControlSocket(folder, echo)
    assert find(folder) == sorted([server.path, other.path])
    other.close()
    assert find(folder) == [server.path]


def test_an_agent_that_cannot_take_more_clients_is_no_dead_one(server, connect):
    for _ in range(MOST_CLIENTS + 1):  # as many as can wait at the door
        connect()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as another:
        with pytest.raises(BlockingIOError):
            another.connect(str(server.path))
        assert is_alive(server.path)


@pytest.mark.parametrize("name", ["a-file", "x" * 120])
def test_where_no_socket_can_be_the_error_says_what_to_do(tmp_path, name):
    (tmp_path / "a-file").write_text("")
    with pytest.raises(ControlError, match="another directory in \\[control\\]"):
        ControlSocket(tmp_path / name, echo)


def test_an_agent_with_too_many_clients_is_told(server, connect):
    for _ in range(MOST_CLIENTS + 1):
        connect()
    with pytest.raises(ControlError, match="ask again"):
        ask(server.path, {})


def test_without_an_agent_the_error_says_how_to_start_one(tmp_path):
    with pytest.raises(ControlError, match="taskstream run"):
        find(tmp_path / "none")


def test_an_agent_that_dies_while_it_is_asked_is_told(folder):
    server = ControlSocket(folder, echo)
    server.close()
    with pytest.raises(ControlError, match="went away"):
        ask(server.path, {})


@pytest.fixture
def silent(folder: Path) -> Iterator[Callable[[bytes], Path]]:
    """Return what makes a socket that says something and hangs up."""
    folder.mkdir()
    listener = socket.socket(socket.AF_UNIX)
    threads = []

    def making(reply: bytes) -> Path:
        listener.bind(str(folder / "1.sock"))
        listener.listen()

        def speak() -> None:
            client, _ = listener.accept()
            client.recv(1000)
            client.sendall(reply)
            client.close()

        threads.append(Thread(target=speak))
        threads[0].start()
        return folder / "1.sock"

    yield making
    threads[0].join()
    listener.close()


@pytest.mark.parametrize("reply", [b"", b"[]\n", b"hello\n"])
def test_what_is_no_reply_is_told(silent, reply):
    with pytest.raises(ControlError, match="is no agent"):
        ask(silent(reply), {})
