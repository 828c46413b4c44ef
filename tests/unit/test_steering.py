"""What is asked of a running agent is done between two looks, and undone when its time is over."""

from pathlib import Path
from typing import Any

import pytest

from taskstream.config.config import Config
from taskstream.groups import Groups
from taskstream.steering import Steering
from tests.synthetic import batch

SECOND = 10**9


class Agent:
    """An agent without a kernel.

    Attributes:
        said: Its lines.
        settled: What the groups counted whenever losses were settled.
        now_ns: Its clock.
    """

    def __init__(self, **options: Any) -> None:
        self.now_ns = 0
        self.said: list[str] = []
        self.settled: list[tuple[bool, bool]] = []
        config = Config(update_every_s=1, **options)
        self.groups = Groups(config, running=lambda: batch().records)
        self.steering = Steering(
            config,
            self.groups,
            lambda: self.settled.append(self.on),
            lambda: {"pid": 7},
            say=self.said.append,
            now_ns=lambda: self.now_ns,
        )

    @property
    def on(self) -> tuple[bool, bool]:
        return self.groups.choice.apps, self.groups.choice.cgroups

    def ask(self, do: str, what: str = "", seconds: Any = None) -> dict[str, Any]:
        return self.steering.answer({"do": do, "what": what, "seconds": seconds})


@pytest.fixture(autouse=True)
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASKSTREAM_CONFIG_DIR", str(tmp_path))
    (tmp_path / "apps_groups.conf").write_text("web: nginx\n")
    return tmp_path / "apps_groups.conf"


def test_what_is_enabled_is_counted_at_once_and_told():
    agent = Agent()
    assert agent.ask("enable", "apps", 3) == {"said": "apps is on for 3 s"}
    assert agent.on == (True, False)
    assert agent.said == ["apps is on for 3 s"]


def test_it_ends_by_itself_and_says_so():
    agent = Agent()
    agent.ask("enable", "cgroups", 3)
    agent.now_ns = 3 * SECOND - 1
    agent.steering.turn()
    assert agent.on == (False, True)
    agent.now_ns += 1
    agent.steering.turn()
    assert agent.on == (False, False)
    assert agent.said[-1] == "cgroups: 3 s are over, collection ends"


def test_without_a_time_the_lifetime_of_the_configuration_holds():
    agent = Agent(lifetime_s=60)
    agent.ask("enable", "apps")
    agent.now_ns = 60 * SECOND
    agent.steering.turn()
    assert agent.on == (False, False)


def test_what_the_configuration_has_on_does_not_end():
    agent = Agent(apps=True, lifetime_s=1)
    assert "does not end" in agent.ask("enable", "apps")["said"]
    agent.now_ns = 10**6 * SECOND
    agent.steering.turn()
    assert agent.on == (True, False)


def test_what_was_lost_before_is_settled_before_anything_changes():
    agent = Agent()
    agent.ask("enable", "apps", 1)
    agent.ask("enable", "cgroups", 5)
    agent.now_ns = SECOND
    agent.steering.turn()
    agent.ask("disable", "cgroups")
    assert agent.settled == [(False, False), (True, False), (True, True), (False, True)]


def test_asking_again_changes_the_time_alone():
    agent = Agent()
    agent.ask("enable", "apps", 5)
    agent.ask("enable", "apps", 9)
    assert agent.settled == [(False, False)]
    assert agent.ask("status")["collections"]["apps"] == {"on": True, "left_s": 9}


def test_wrong_rules_are_an_error_and_nothing_is_on(rules):
    rules.write_text("web: 'nginx\n")
    agent = Agent()
    assert "line 1" in agent.ask("enable", "apps")["error"]
    assert agent.on == (False, False)
    assert agent.ask("status")["collections"]["apps"] == {"on": False, "left_s": None}


@pytest.mark.parametrize("seconds", [0, -1, "x", "nan", 10**9, [], True and "inf"])
def test_a_time_that_cannot_be_is_an_error(seconds):
    agent = Agent()
    assert "expected more than 0" in agent.ask("enable", "apps", seconds)["error"]
    assert agent.on == (False, False)


@pytest.mark.parametrize("request_", [{}, {"do": 7}, {"do": "stop"}, {"do": ["enable"]}])
def test_what_cannot_be_asked_is_an_error(request_):
    reply = Agent().steering.answer(request_)
    assert "expected enable, disable or status" in reply["error"]


@pytest.mark.parametrize("what", [None, 7, "users", ["apps"]])
def test_what_cannot_be_switched_is_an_error(what):
    reply = Agent().steering.answer({"do": "enable", "what": what})
    assert "there are apps, cgroups" in reply["error"]


def test_the_status_has_what_is_on_and_what_the_run_tells():
    agent = Agent(cgroups=True)
    assert agent.ask("status") == {
        "pid": 7,
        "collections": {
            "apps": {"on": False, "left_s": None},
            "cgroups": {"on": True, "left_s": None},
        },
    }
