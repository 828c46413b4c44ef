"""A running agent collects more when it is asked, for as long as it is asked, and no less."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.charting import (
    CHILDREN,
    CONTAINER,
    SERVICE,
    TINY,
    Agent,
    is_expected,
    is_over,
    overflow,
    wait_for,
    work,
)
from tests.command import Done, taskstream
from tests.servers import Parent

pytestmark = pytest.mark.kernel


@pytest.fixture
def control(folder: Path) -> str:
    """Return the configuration of an agent that listens in a directory of its own."""
    return f"[control]\ndirectory = {folder}/run\n"


@pytest.fixture
def ask(folder: Path):
    """Return what runs a verb with the agents' configuration."""
    return lambda *words: taskstream(*words, TASKSTREAM_CONFIG_DIR=str(folder))


def charted(agent: Agent, dimension: str) -> list[bool]:
    """Tell for each interval whether it has charts of a dimension."""
    return [dimension in interval["groups"] for interval in agent.intervals]


def test_a_collection_that_is_enabled_has_exactly_its_events_and_ends_by_itself(
    few, folder, start, control, ask
):
    agent = start("--update-every", "1", text=control)
    work(folder)  # nobody asked yet
    seen = len(agent.intervals)
    wait_for(lambda: len(agent.intervals) > seen)
    done = ask("enable", "apps", "--for", "3")
    assert (done.code, done.lines) == (0, ["apps is on for 3 s"]), done.err
    work(folder)
    wait_for(lambda: "apps: 3 s are over, collection ends" in agent.err.read_text())
    work(folder)  # nobody asks any more
    seen = len(agent.intervals)
    wait_for(lambda: len(agent.intervals) >= seen + 3)
    assert agent.stop() == 0, agent.err.read_text()
    assert is_expected(mine(agent), few)
    on = charted(agent, "app")
    assert not on[0]
    assert not on[-1]
    assert 3 <= sum(on) <= 5
    assert "".join("01"[x] for x in on).strip("0") == "1" * sum(on)


def mine(agent: Agent) -> Counter[str]:
    """Return the events of the group, in the intervals that chart any."""
    found: Counter[str] = Counter()
    for interval in agent.intervals:
        found.update(interval["groups"].get("app", {}).get("mine", {}))
    return found


def test_what_is_enabled_stays_exact_when_the_ring_overflows(
    few, folder, start, places, control, ask
):
    agent = start("--update-every", "1", text=f"{control}{TINY}")
    overflow(agent, folder, places["service"])  # as above: before anybody asks
    assert ask("enable", "cgroups", "apps").code == 0
    for place in places.values():
        overflow(agent, folder, place)
    container = CONTAINER[:12]

    def over() -> bool:
        exits = [i["groups"].get("cgroup", {}).get(container, {}) for i in agent.intervals]
        counted = sum(counts.get("exit_process", 0) for counts in exits)
        agent.give_up_if_hidden(counted)
        return counted == CHILDREN + 1

    wait_for(over, 60)
    assert agent.stop() == 3
    for dimension, group in (("service", SERVICE), ("cgroup", container)):
        found: Counter[str] = Counter()
        for interval in agent.intervals:
            found.update(interval["groups"].get(dimension, {}).get(group, {}))
        assert is_expected(found, few), dimension


def test_counters_of_a_group_go_on_when_it_is_enabled_again(few, folder, start, control, ask):
    agent = start("--apps", "--update-every", "1", text=control)
    work(folder)
    wait_for(is_over(agent, "app", "mine"))
    assert ask("disable", "apps").lines == [
        "apps is off until it is enabled, or the agent starts again"
    ]
    wait_for(lambda: not charted(agent, "app")[-1])
    work(folder)
    wait_for(lambda: agent.intervals[-1]["counts"]["exit_process"] < CHILDREN)
    assert ask("enable", "apps").lines == [
        "apps is on, as the configuration has it, and does not end"
    ]
    work(folder)
    wait_for(lambda: mine(agent)["exit_process"] >= 2 * (CHILDREN + 1))
    assert agent.stop() == 0, agent.err.read_text()
    assert mine(agent)["fork_process"] == 2 * CHILDREN


def test_the_status_says_what_the_agent_is_doing(folder, start, control, ask):
    agent = start("--cgroups", "--update-every", "1", text=control)
    wait_for(lambda: len(agent.intervals) >= 2)
    ask("enable", "apps", "--for", "100")
    (line,) = ask("status", "--json").lines
    found = json.loads(line)
    assert found["pid"] == agent.process.pid
    assert found["collections"]["cgroups"] == {"on": True, "left_s": None}
    assert 90 < found["collections"]["apps"]["left_s"] <= 100
    assert found["counted"] >= found["read"] + found["lost"] > 0
    assert {hook["kind"] for hook in found["hooks"]} >= {"fork", "exec", "exit", "free", "cgroup"}
    options = {(o["section"], o["option"]): o["value"] for o in found["options"]}
    assert options["global", "update every"] == "1"
    text = ask("status").out
    assert f"agent {agent.process.pid} on " in text
    assert "cgroups: on\n" in text
    assert "[global] update every = 1" in text


def test_who_says_nothing_does_not_hold_the_agent_up(folder, start, control, ask):
    agent = start("--update-every", "1", text=control)
    holding = (
        "import socket, sys\n"
        "s = [socket.socket(socket.AF_UNIX) for _ in range(5)]\n"
        "[x.connect(sys.argv[1]) for x in s]\n"
        "print('connected', flush=True)\n"
        "sys.stdin.read()\n"
    )
    path = folder / "run" / f"{agent.process.pid}.sock"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", holding, path], stdin=pipe, stdout=pipe) as silent:
        assert silent.stdout is not None
        silent.stdout.readline()
        seen = len(agent.intervals)
        assert ask("status").code == 0
        wait_for(lambda: len(agent.intervals) >= seen + 2, 4)
        silent.communicate()
    assert agent.stop() == 0, agent.err.read_text()


def test_of_two_agents_one_must_be_named_and_a_killed_one_is_none(folder, start, control, ask):
    first = start("--update-every", "1", text=control)
    second = start("--update-every", "1", text=control)
    done = ask("enable", "apps")
    assert done.code == 1
    assert "2 agents run" in done.err
    assert "--agent" in done.err
    assert ask("enable", "apps", "--agent", str(second.process.pid)).code == 0
    assert len(ask("status", "--json").lines) == 2
    assert ask("enable", "apps", "--agent", "1").err.startswith(
        "taskstream enable: no agent 1 runs"
    )
    first.process.kill()
    first.process.wait()
    assert ask("disable", "apps").lines == ["apps is off"]
    assert (folder / "run" / f"{first.process.pid}.sock").exists()
    third = start("--update-every", "1", text=control)
    expected = {str(agent.process.pid) for agent in (second, third)}
    wait_for(lambda: {path.stem for path in (folder / "run").iterdir()} == expected)


def as_nobody(folder: Path, *words: str) -> Done:
    """Run a verb as a user who is not root."""
    done = subprocess.run(
        [sys.executable, "-m", "taskstream", *words],
        env={**os.environ, "TASKSTREAM_CONFIG_DIR": str(folder)},
        user="nobody",
        group="nogroup",
        extra_groups=[],
        capture_output=True,
        text=True,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_who_is_not_root_is_refused(folder, start, control, ask):
    for directory in (folder, *folder.parents[:2]):  # those of the test are root's alone
        directory.chmod(0o755)
    agent = start("--update-every", "1", text=control)
    done = as_nobody(folder, "enable", "apps")
    assert done.code == 1
    assert f"no permission to look for agents in {folder}/run: run this as root" in done.err
    (folder / "run").chmod(0o755)
    done = as_nobody(folder, "enable", "apps")
    assert done.code == 1
    assert f"no permission to ask agent {agent.process.pid}: run this as root" in done.err
    assert json.loads(ask("status", "--json").out)["collections"]["apps"]["on"] is False


def test_netdata_switches_a_collection_on_for_a_time_by_calling_a_function(
    folder, netdata, control
):
    with Parent() as parent:
        (folder / "etc").mkdir()
        (folder / "etc/stream.conf").write_text(parent.configuration)
        server = netdata(1, f"{control}[global]\n")
        parent.accept()
        wait_for(lambda: "system.process_thread" in server.charts(), 60)
        assert "app.mine_task_exit" not in server.charts()
        status, table = parent.call("taskstream enable:apps:4")
        assert (status, table["data"][0][:2]) == (200, ["apps", "on"])
        work(folder)
        wait_for(lambda: "app.mine_task_exit" in server.charts())
        wait_for(lambda: server.events("app.mine_task_exit", "call") == CHILDREN + 1)
        assert server.events("app.mine_process_create", "calls") == CHILDREN
        wait_for(lambda: parent.call("taskstream")[1]["data"][0][1] == "off")
        assert parent.call("taskstream")[1]["data"][1] == ["cgroups", "off", None]
        assert parent.call("taskstream enable:apps")[0] == 200
        work(folder)
        wait_for(lambda: server.events("app.mine_task_exit", "call") == 2 * (CHILDREN + 1))
        status, table = parent.call("taskstream disable:apps")
        assert (status, table["data"][0]) == (200, ["apps", "off", None])
        assert parent.call("taskstream enable:users")[0] == 400


def test_without_an_agent_the_error_says_what_to_do(folder, control, ask):
    (folder / "process.conf").write_text(control)
    for verb in (("enable", "apps"), ("disable", "cgroups"), ("status",)):
        done = ask(*verb)
        assert done.code == 1
        assert done.err == (
            f"taskstream {verb[0]}: no agent listens in {folder}/run: start one, with "
            "`taskstream run`, or name the file of its configuration with --config\n"
        )


def test_an_agent_without_a_socket_says_so_and_runs(folder, start, ask):
    (folder / "taken").write_text("")
    agent = start("--update-every", "1", text=f"[control]\ndirectory = {folder}/taken\n")
    assert f"no control socket in {folder}/taken" in agent.err.read_text()
    wait_for(lambda: len(agent.intervals) >= 1)
    assert agent.stop() == 0
    agent = start("--update-every", "1", text="[control]\ndirectory = off\n")
    assert "control" not in agent.err.read_text()
    assert "[control] directory = off" in ask("status").err
