"""The doors of a running agent: a socket for root, and calls of a function by Netdata.

Rim. Requests and replies are maps. A request says what to do: ``{"do": "enable", "what": "apps",
"seconds": 60}``, ``{"do": "disable", "what": "cgroups"}``, ``{"do": "status"}``. A reply has
``said``, a line for people, or ``error``, or what was asked for. Whoever answers never waits for
who asks.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["Answer", "Door"]

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Does what a request says, and returns the reply; it raises nothing that a request can cause."""


class Door(Protocol):
    """Where requests come in."""

    def turn(self) -> None:
        """Answer what has come; never wait."""

    def close(self) -> None:
        """Let nobody in any more."""
