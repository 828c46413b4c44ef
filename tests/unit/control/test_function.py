"""A call of Netdata's has one result, in its protocol, whatever was called."""

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any

import pytest

from taskstream.control.function import NetdataFunction

STATE = {"apps": {"on": True, "left_s": 7.5}, "cgroups": {"on": False, "left_s": None}}


class Calls:
    """A function with its pipe.

    Attributes:
        requests: What was asked of the agent.
    """

    def __init__(self) -> None:
        self.requests: list[Mapping[str, Any]] = []
        reading, self.writing = os.pipe()
        self.out = StringIO()
        self.reading = reading
        self.function = NetdataFunction(
            self.answer, calls=reading, out=self.out, wall_s=lambda: 1_000.5
        )

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["do"] == "status":
            return {"collections": STATE}
        self.requests.append(request)
        return {"error": "will not"} if request["what"] == "users" else {"said": "done"}

    def say(self, text: bytes) -> None:
        os.write(self.writing, text)
        self.function.turn()

    def results(self) -> list[tuple[list[str], dict[str, Any]]]:
        """Return the words of each result's first line, and what it says."""
        found = []
        lines = self.out.getvalue().splitlines()
        for number, line in enumerate(lines):
            if line.startswith("FUNCTION_RESULT_BEGIN"):
                assert lines[number + 2] == "FUNCTION_RESULT_END"
                found.append((shlex.split(line)[1:], json.loads(lines[number + 1])))
        return found


@pytest.fixture
def calls() -> Iterator[Calls]:
    calls = Calls()
    yield calls
    os.close(calls.reading)
    os.close(calls.writing)


def test_the_function_is_registered_at_once(calls):
    words = shlex.split(calls.out.getvalue())
    assert words[:4] == ["FUNCTION", "GLOBAL", "taskstream", "10"]
    assert len(words) == 5


def test_a_call_without_arguments_has_what_is_on_as_a_table(calls):
    calls.say(b'FUNCTION 0a1b 10 "taskstream"\n')
    ((head, table),) = calls.results()
    assert head == ["0a1b", "200", "application/json", "1000"]
    assert (table["status"], table["type"]) == (200, "table")
    assert table["data"] == [["apps", "on", 7.5], ["cgroups", "off", None]]
    assert [c["index"] for c in table["columns"].values()] == [0, 1, 2]
    assert calls.requests == []


def test_arguments_switch(calls):
    calls.say(b'FUNCTION 1 10 "taskstream enable:apps:60 disable:cgroups enable:cgroups"\n')
    assert calls.requests == [
        {"do": "enable", "what": "apps", "seconds": "60"},
        {"do": "disable", "what": "cgroups"},
        {"do": "enable", "what": "cgroups"},
    ]
    assert [head[1] for head, _ in calls.results()] == ["200"]


def test_what_cannot_be_done_is_told(calls):
    calls.say(b'FUNCTION 1 10 "taskstream enable:users"\n')
    ((head, failure),) = calls.results()
    assert head[1] == "400"
    assert failure["error_message"] == "will not"


def test_another_function_is_not_found(calls):
    calls.say(b'FUNCTION 1 10 "processes"\n')
    ((head, _),) = calls.results()
    assert head[:2] == ["1", "404"]


def test_calls_may_come_in_pieces_and_many_at_once(calls):
    calls.say(b'FUNCTION 1 10 "task')
    assert calls.results() == []
    calls.say(b'stream"\nFUNCTION 2 10 taskstream\nFUNCTION 3')
    assert [head[0] for head, _ in calls.results()] == ["1", "2"]


@pytest.mark.parametrize(
    "line", [b"\n", b"QUIT\n", b"FUNCTION\n", b"FUNCTION_CANCEL 1\n", b'FUNCTION 1 "\n', b"\xff\n"]
)
def test_what_is_no_call_is_passed_over(calls, line):
    calls.say(line)
    assert calls.results() == []


def test_when_netdata_hangs_up_there_are_no_calls_any_more():
    calls = Calls()
    os.close(calls.writing)
    calls.function.turn()
    os.close(calls.reading)
    calls.function.turn()
