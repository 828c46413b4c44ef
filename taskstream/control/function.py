"""Calls of a function by Netdata, on standard input: what the control socket does, too.

Rim: reads the pipe from Netdata, writes to the one to it. A call is a line
``FUNCTION TRANSACTION TIMEOUT "NAME ARGUMENTS"``; the result stands between
``FUNCTION_RESULT_BEGIN`` and ``FUNCTION_RESULT_END``. The protocol: Netdata's documentation of
plugins.d. The arguments are those of the functions of Netdata's own ``ebpf.plugin``.
"""

import json
import os
import select
import shlex
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from taskstream.control import Answer

__all__ = ["NAME", "NetdataFunction"]

NAME = "taskstream"
TIMEOUT_S = 10
HELP = (
    "What taskstream collects. `enable:apps:SECONDS` or `enable:cgroups:SECONDS` switches it on "
    "for a time (by default that of option `lifetime`), `disable:apps` or `disable:cgroups` off."
)

_COLUMNS = {"Collection": "string", "State": "string", "Ends in": "duration"}


class NetdataFunction:
    """Registers the function, and answers its calls.

    Args:
        answer: Does what a request says.
        calls: Descriptor of the pipe from Netdata.
        out: Where to.
        wall_s: CLOCK_REALTIME in seconds.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        calls: int = 0,
        out: TextIO = sys.stdout,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._answer = answer
        self._calls = calls
        self._out = out
        self._wall_s = wall_s
        self._heard = b""
        self._poll = select.poll()
        self._poll.register(calls, select.POLLIN)
        self._open = True
        self._write(f'FUNCTION GLOBAL "{NAME}" {TIMEOUT_S} "{HELP}"')

    def turn(self) -> None:
        """Answer the calls that have come; never wait."""
        while self._open and self._poll.poll(0):
            heard = os.read(self._calls, 1 << 16)
            self._open = bool(heard)
            *lines, self._heard = (self._heard + heard).split(b"\n")
            for line in lines:
                self._take(line.decode(errors="replace"))

    def close(self) -> None:
        """Answer no more calls."""
        self._open = False

    def _take(self, line: str) -> None:
        """Answer one line; what is no call is for somebody else."""
        try:
            words = shlex.split(line)
        except ValueError:
            return
        if len(words) < 4 or words[0] != "FUNCTION":
            return
        name, *arguments = words[3].split()
        code, reply = self._reply(arguments) if name == NAME else (404, _failure(404, name))
        self._write(
            f'FUNCTION_RESULT_BEGIN "{words[1]}" {code} "application/json" {int(self._wall_s())}\n'
            f"{json.dumps(reply)}\nFUNCTION_RESULT_END"
        )

    def _reply(self, arguments: list[str]) -> tuple[int, dict[str, Any]]:
        for argument in arguments:
            do, _, rest = argument.partition(":")
            what, _, seconds = rest.partition(":")
            if do == "info":
                continue
            request = {"do": do, "what": what}
            if seconds:
                request["seconds"] = seconds
            said = self._answer(request)
            if "error" in said:
                return 400, _failure(400, said["error"])
        return 200, self._table(self._answer({"do": "status"})["collections"])

    def _table(self, collections: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return what is on as a table, as Netdata shows it."""
        rows = [
            [name, "on" if state["on"] else "off", state["left_s"]]
            for name, state in collections.items()
        ]
        columns = {
            name: {
                "index": index,
                "unique_key": index == 0,
                "name": name,
                "visible": True,
                "type": kind,
                "visualization": "value",
                "value_options": {"transform": "none"},
                "sort": "ascending",
                "sortable": True,
                "filter": "none",
            }
            for index, (name, kind) in enumerate(_COLUMNS.items())
        }
        return {
            "status": 200,
            "type": "table",
            "update_every": 1,
            "help": HELP,
            "expires": int(self._wall_s()),
            "columns": columns,
            "data": rows,
        }

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()


def _failure(code: int, text: str) -> dict[str, Any]:
    text = f"there is no function {text}" if code == 404 else text
    return {"status": code, "error_message": text, "errorMessage": text}
