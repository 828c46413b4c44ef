"""``taskstream rates`` says what a real agent said of itself, from its raw events."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskstream.broker import EmbeddedBroker
from taskstream.chart.table import CHARTS
from tests.capturing import a_capture, sample
from tests.command import start, taskstream

pytestmark = pytest.mark.kernel

CONTEXTS = {chart.context for chart in CHARTS}
GROUPS = ("app", "cgroup", "service", "command", "user", "errno", "status", "signal", "lifetime")
BY = [word for by in ("app", "cgroup", "service", "comm", "user") for word in ("--by", by)]
RULES = "shells: sh dash\ntrue: true\n"


class Agent:
    """A run of a real agent under a workload: its own lines, its topic, its capture."""

    def __init__(self, folder: Path, bootstrap: str, shape: str) -> None:
        self.topic, self.capture = f"rates.{shape}", folder / f"{shape}.tsc"
        (folder / "apps_groups.conf").write_text(RULES)
        (folder / "process.conf").write_text("[charts]\ncommands = yes\nusers = yes\n")
        command = [sys.executable, "-m", "taskstream", "run", "--json", "--bootstrap", bootstrap,
                   "--topic", self.topic, "--message", shape, "--apps", "--cgroups",
                   "--update-every", "1", "--capture", str(self.capture)]  # fmt: skip
        environment = {**os.environ, "TASKSTREAM_CONFIG_DIR": str(folder)}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            end = time.monotonic() + 3
            while time.monotonic() < end:
                subprocess.run(["sh", "-c", "for i in 1 2 3 4 5; do /bin/true & done; wait"])
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 0, err
        self.lines = [json.loads(line) for line in (first + out).splitlines()]


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="module", params=["event", "batch"])
def agent(
    request: pytest.FixtureRequest, broker: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> Agent:
    return Agent(tmp_path_factory.mktemp("agent"), broker.address, request.param)


def told(line: dict[str, Any]) -> dict[str, Any]:
    """Return what must be equal: all but what the agent alone can know, its cost and /proc."""
    same = ("time", "start_ns", "end_ns", "seconds", "counts", "lost", "missed", "exact")
    groups = {dimension: line["groups"][dimension] for dimension in GROUPS}
    charts = {context: drawn for context, drawn in line["charts"].items() if context in CONTEXTS}
    return {name: line[name] for name in same} | {"groups": groups, "charts": charts}


def test_rates_of_the_topic_are_the_agents_own_to_the_last_unit(broker, agent):
    done = taskstream(
        "rates", "--bootstrap", broker.address, "--topic", agent.topic, "-e", "--json", *BY
    )
    assert done.code == 0, done.err
    found = [json.loads(line) for line in done.lines]
    assert [told(line) for line in found] == [told(line) for line in agent.lines]
    assert sum(line["counts"]["fork_process"] for line in found) > 100
    assert any(line["charts"].get("app.process_create") for line in found)
    assert "0 copies left out" in done.err


def test_rates_of_the_capture_are_the_same(agent):
    done = taskstream("rates", agent.capture, "--json", *BY)
    assert done.code == 0, done.err
    found = [json.loads(line) for line in done.lines]
    assert [told(line) for line in found] == [told(line) for line in agent.lines]


def test_history_is_recounted_under_other_rules(agent, tmp_path):
    rules = tmp_path / "new.conf"
    rules.write_text("everything: true sh\n")
    done = taskstream("rates", agent.capture, "--json", "--apps-groups", rules)
    found = [json.loads(line) for line in done.lines]
    groups = {group for line in found for group in line["groups"]["app"]}
    assert "everything" in groups
    assert "shells" not in groups
    for line, own in zip(found, agent.lines, strict=True):
        for name, count in own["counts"].items():
            assert sum(g.get(name, 0) for g in line["groups"]["app"].values()) == count


def test_metrics_of_every_host_are_served(broker, agent):
    words = ["rates", "--bootstrap", broker.address, "--topic", agent.topic,
             "--to", "prometheus", "--listen", "0"]  # fmt: skip
    with start(*words) as process:
        try:
            assert process.stderr is not None
            address = re.search(r"http://\S+", process.stderr.readline())
            assert address is not None
            total = sum(line["counts"]["exec"] for line in agent.lines)
            wanted = rf'taskstream_events_total\{{event="exec",host="[^"]+"\}} {total}\.0'
            deadline = time.monotonic() + 20
            while True:
                text = urllib.request.urlopen(address[0], timeout=5).read().decode()
                if re.search(wanted, text):
                    break
                assert time.monotonic() < deadline, text
                time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=10)


def test_lines_for_people_name_host_chart_and_group(agent):
    done = taskstream("rates", agent.capture, "--by", "app")
    assert re.search(r"^\d\d:\d\d:\d\d  \S+  system.process_thread  process=", done.out, re.M)
    assert "  app.task_exit true  call=" in done.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give either FILE or --bootstrap"),
        (["FILE", "--bootstrap", "x:1"], "give either FILE or --bootstrap"),
        (["FILE", "--to", "prometheus", "--json"], "--to prometheus and --json exclude"),
        (
            ["FILE", "--to", "prometheus", "--listen", "x"],
            "'x' cannot be: allowed is HOST:PORT, or PORT",
        ),
    ],
)
def test_wrong_usage_is_told(tmp_path, words, said):
    path = a_capture(tmp_path / "a.tsc", sample())
    done = taskstream("rates", *[path if word == "FILE" else word for word in words])
    assert done.code == 2
    assert said in done.err


def test_rates_of_a_cut_file_say_so_and_end_with_3(tmp_path):
    path = a_capture(tmp_path / "a.tsc", sample())
    path.write_bytes(path.read_bytes()[:-1300])
    done = taskstream("rates", path)
    assert done.code == 3
    assert "1 damaged, cut or missing in captures" in done.err


def test_books_that_were_not_begun_are_not_closed(tmp_path):
    done = taskstream("rates", tmp_path / "none.tsc")
    assert done.code == 1
    assert "cannot be read" in done.err
    assert "intervals of" not in done.err
