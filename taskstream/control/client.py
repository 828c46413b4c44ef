"""The other end of the control socket: finds the agents of this host, and asks one.

Rim: touches a directory and the sockets in it.
"""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from taskstream.errors import ControlError

__all__ = ["SUFFIX", "ask", "find", "is_alive"]

SUFFIX = ".sock"
TIMEOUT_S = 10.0


def is_alive(path: Path) -> bool:
    """Tell whether anybody listens at a socket; one that may not be asked counts as alive."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # so many are asking that it cannot take another
            return True
    return True


def find(directory: Path) -> list[Path]:
    """Return the sockets of the agents that run.

    Raises:
        ControlError: none does, or nobody may know.
    """
    try:
        alive = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
        alive = [path for path in alive if is_alive(path)]
    except PermissionError:
        raise ControlError(
            f"no permission to look for agents in {directory}: run this as root, or as the "
            "agent's own user"
        ) from None
    except OSError:
        alive = []
    if not alive:
        raise ControlError(
            f"no agent listens in {directory}: start one, with `taskstream run`, or name the file "
            "of its configuration with --config"
        )
    return alive


def ask(path: Path, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask an agent; return its reply.

    Raises:
        ControlError: it does not answer, or will not do it.
    """
    heard = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(TIMEOUT_S)
        try:
            asking.connect(str(path))
            asking.sendall(json.dumps(request).encode() + b"\n")
            while not heard.endswith(b"\n") and (more := asking.recv(1 << 16)):
                heard += more
        except PermissionError:
            raise ControlError(
                f"no permission to ask agent {path.stem}: run this as root, or as its own user"
            ) from None
        except BlockingIOError:
            raise ControlError(
                f"agent {path.stem} has more clients than it hears at a time: ask again"
            ) from None
        except TimeoutError:
            raise ControlError(
                f"agent {path.stem} does not answer within {TIMEOUT_S:g} s: it is stopped, or "
                "very busy"
            ) from None
        except OSError as error:
            raise ControlError(f"agent {path.stem} went away: {error.strerror}") from None
    reply = None
    with suppress(ValueError):
        reply = json.loads(heard)
    if not isinstance(reply, dict):
        raise ControlError(f"agent {path.stem} went away, or is no agent: it said {heard[:80]!r}")
    if "error" in reply:
        raise ControlError(str(reply["error"]))
    return reply
