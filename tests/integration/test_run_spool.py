"""The agent with a spool, as a user runs it: killed, ended without a broker, started again."""

import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.command import start, taskstream, until
from tests.mock_cluster import API_PRODUCE, MockCluster
from tests.plain import events_of
from tests.topic import fetch, wait_until

pytestmark = [pytest.mark.kernel, pytest.mark.kafka, pytest.mark.slow]

TOPIC = "taskstream.events"
NOT_ENOUGH_REPLICAS = 19
PER_RUN = 29


def configuration(folder: Path, cluster: MockCluster, mode: str) -> Path:
    path = folder / "agent.conf"
    path.write_text(
        f"[spool]\ndirectory = {folder / 'spool'}\nmode = {mode}\n"
        f"[kafka]\nbootstrap.servers = {cluster.bootstrap}\nretry.backoff.max.ms = 100\n"
    )
    return path


def refuse(cluster: MockCluster) -> None:
    """Let the broker take no message, and tell the client to try again."""
    cluster.push_request_errors(API_PRODUCE, *[NOT_ENOUGH_REPLICAS] * 100_000)


def execs(mark: str) -> None:
    script = f"i=0; while [ $i -lt {PER_RUN} ]; do /bin/true {mark} $i; i=$((i + 1)); done"
    subprocess.run(["sh", "-c", script], check=True)


def marks(cluster: MockCluster) -> tuple[Counter[str], Counter[str]]:
    """Return how many execs of each mark are in the topic, each once, and the most of one.

    Every copy is asserted to say what its original says.
    """
    events: dict[tuple[Any, ...], dict[str, Any]] = {}
    times: Counter[tuple[Any, ...]] = Counter()
    for message in fetch(cluster.bootstrap, TOPIC):
        for told in events_of(message.value):
            if told["kind"] == "exec":
                key = tuple(told[name] for name in ("host", "boot_id", "run_ns", "cpu", "seq"))
                assert events.setdefault(key, told) == told
                times[key] += 1
    found: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for key, told in events.items():
        argv = told.get("argv") or []
        if len(argv) == 3 and argv[1][:4] == "run-":
            found[argv[1]] += 1
            most[argv[1]] = max(most[argv[1]], times[key])
    return found, most


def spooled_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "spool").glob("*.tsc"))


@pytest.mark.parametrize("times", [4, pytest.param(10, marks=pytest.mark.long)])
def test_an_agent_killed_again_and_again_loses_nothing_that_it_had_read(cluster, tmp_path, times):
    config = configuration(tmp_path, cluster, "always")
    for number in range(times):
        if number % 2:  # nothing is acknowledged
            refuse(cluster)
        with start("run", "--config", config, "--json", "--update-every", "60") as agent:
            until(agent, "look at it")
            before = spooled_bytes(tmp_path)
            execs(f"run-{number}")
            if number % 2:
                wait_until(lambda size=before: spooled_bytes(tmp_path) > size)
            subprocess.run(["sleep", "0.4"], check=True)  # more than one look at the ring
            agent.kill()
            agent.communicate(timeout=30)
        cluster.clear_request_errors(API_PRODUCE)
    done = taskstream("run", "--config", config, "--json", "--duration", "3")
    assert done.code == 0, done.err
    assert re.search(r"earlier runs left [\d,]+ = delivered ", done.err)
    found, most = marks(cluster)
    assert found == {f"run-{number}": PER_RUN for number in range(times)}
    for number in range(times):  # every later run may have published it that was not refused
        later = [one for one in range(number, times + 1) if one == times or one % 2 == 0]
        assert most[f"run-{number}"] <= len(later)
    assert not list((tmp_path / "spool").glob("*.tsc"))


@pytest.mark.parametrize("mode", ["overflow", "always"])
def test_an_agent_that_ends_without_a_broker_says_what_it_spooled(cluster, tmp_path, mode):
    config = configuration(tmp_path, cluster, mode)
    refuse(cluster)
    with start(
        "run", "--config", config, "--json", "--update-every", "60", "--drain-timeout", "1"
    ) as agent:
        until(agent, "look at it")
        execs("run-0")
        agent.send_signal(signal.SIGTERM)
        _, err = agent.communicate(timeout=30)
    assert agent.returncode == 0, err
    numbers = re.search(r"= received ([\d,]+) = delivered 0 \+ dropped 0 \+ spooled ([\d,]+)", err)
    assert numbers, err
    assert numbers[1] == numbers[2]
    cluster.clear_request_errors(API_PRODUCE)
    again = taskstream("run", "--config", config, "--json", "--duration", "2")
    assert f"{numbers[1]} events of earlier runs are in the spool" in again.err
    assert f"earlier runs left {numbers[1]} = delivered {numbers[1]} + rejected 0" in again.err
    found, most = marks(cluster)
    assert (found, most) == ({"run-0": PER_RUN}, {"run-0": 1})


def test_a_second_agent_with_the_same_spool_is_refused(cluster, tmp_path):
    config = configuration(tmp_path, cluster, "always")
    with start("run", "--config", config, "--json") as agent:
        until(agent, "look at it")
        second = taskstream("run", "--config", config, "--json", "--duration", "1")
        agent.send_signal(signal.SIGTERM)
        agent.communicate(timeout=30)
    assert second.code == 1
    assert "is in use by another agent" in second.err


def test_a_mode_without_a_directory_is_told(tmp_path, cluster):
    path = tmp_path / "c.conf"
    path.write_text(f"[spool]\nmode = always\n[kafka]\nbootstrap.servers = {cluster.bootstrap}\n")
    done = taskstream("run", "--config", path)
    assert done.code == 1
    assert "[spool] mode = always needs a directory" in done.err
