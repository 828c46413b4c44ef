"""`taskstream run` as a user starts it: real probes, signals, the topic, the last line."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskstream.broker import EmbeddedBroker
from taskstream.spool.spool import Spool, SpoolBounds
from tests.capturing import ABOUT, Ticks
from tests.command import taskstream, until
from tests.plain import events_of
from tests.synthetic import ORIGIN, lives
from tests.topic import fetch

pytestmark = pytest.mark.kernel

RUN = [sys.executable, "-m", "taskstream", "run"]
LINE = re.compile(
    r"counted ([\d,]+) = read ([\d,]+) \+ lost ([\d,]+); "
    r"read ([\d,]+) \+ running tasks ([\d,]+) = received ([\d,]+) = delivered ([\d,]+)(.*)"
)


@dataclass
class Agent:
    """A running agent: its process, its broker's address, the command that it suggests."""

    process: subprocess.Popen[str]
    address: str
    suggested: str

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


def start(*options: str) -> Agent:
    """Start an agent and wait until it says where it publishes."""
    process = subprocess.Popen(
        [*RUN, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    said = until(process, "look at it")
    address = re.search(r"publishing to (\S+),", said)
    suggested = re.search(r"look at it: (.*)", said)
    assert address, said
    assert suggested, said
    return Agent(process, address[1], suggested[1])


def numbers(err: str) -> tuple[list[int], list[int]]:
    """Return the numbers of the closing line: the first seven, and the rest of its sum."""
    found = LINE.search(err)
    assert found, err
    first = [int(text.replace(",", "")) for text in found.groups()[:7]]
    rest = [int(text.replace(",", "")) for text in re.findall(r"[a-z] ([\d,]+)", found[8])]
    return first, rest


def assert_adds_up(err: str) -> list[int]:
    (counted, read, lost, again, running, received, delivered), rest = numbers(err)
    assert counted == read + lost
    assert again == read
    assert read + running == received == delivered + sum(rest)
    return [counted, lost, delivered]


def workload(count: int) -> int:
    """Fork, exec and reap ``count`` children of a shell; return the shell's pid."""
    script = f"i=0; while [ $i -lt {count} ]; do /bin/true $i; i=$((i + 1)); done; echo $$"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return int(done.stdout)


def wait_for(condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@pytest.fixture
def agent() -> Iterator[Agent]:
    agent = start("--update-every", "1", "--json", "--load-mode", "return")
    yield agent
    if agent.process.poll() is None:
        agent.process.kill()
        agent.process.communicate()


@pytest.mark.parametrize("shape", ["event", "batch", "json"])
def test_every_event_of_a_workload_is_in_the_topic(shape: str) -> None:
    agent = start("--message", shape)
    shell = workload(97)

    def children(kind: str) -> int:
        messages = fetch(agent.address, "taskstream.events")
        events = [e for m in messages for e in events_of(m.value)]  # and reports, which are none
        return sum(e["kind"] == kind and e.get("ppid") == shell for e in events)

    wait_for(lambda: children("exit") >= 97)
    assert (children("fork"), children("exec"), children("exit")) == (97, 97, 97)
    code, _, err = agent.stop()
    assert code == 0, err
    assert_adds_up(err)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_in_good_order_with_a_line_that_adds_up(number: int) -> None:
    agent = start()
    workload(41)
    code, _, err = agent.stop(number)
    assert code == 0, err
    counted, lost, delivered = assert_adds_up(err)
    assert counted >= 41 * 3  # the releases come a grace period later
    assert lost == 0
    assert delivered >= counted


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_sigterm_at_any_moment_of_the_start_leaves_no_traceback(delay_s: float) -> None:
    process = subprocess.Popen(
        [*RUN, "--drain-timeout", "5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(delay_s or 0.01)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode in (0, -signal.SIGTERM), err
    assert "Traceback" not in err
    if process.returncode == 0:
        assert_adds_up(err)


def test_a_duration_ends_the_run_by_itself() -> None:
    done = subprocess.run(
        [*RUN, "--duration", "0.5"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert_adds_up(done.stderr)


def test_json_lines_say_what_happened_to_the_last_unit(agent: Agent) -> None:
    before = created_tasks()
    workload(53)
    code, out, err = agent.stop()
    after = created_tasks()
    assert code == 0, err
    intervals = [json.loads(line) for line in out.splitlines()]
    counts = {name: sum(i["counts"][name] for i in intervals) for name in intervals[0]["counts"]}
    counted, _, _ = assert_adds_up(err)
    assert sum(counts.values()) == counted
    assert 53 <= counts["fork_process"] + counts["fork_thread"] <= after - before + 100
    assert counts["exec"] >= 54
    for interval in intervals:
        chart = interval["charts"]["system.process_thread"]
        seconds = (interval["end_ns"] - interval["start_ns"]) / 1e9
        if seconds:
            assert chart["process"] == pytest.approx(interval["counts"]["fork_process"] / seconds)


def created_tasks() -> int:
    lines = Path("/proc/stat").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("processes")).split()[1])


def test_failed_calls_are_drawn_in_load_mode_return(agent: Agent) -> None:
    for _ in range(11):
        with pytest.raises(FileNotFoundError):
            os.execv("/does/not/exist", ["x"])
    code, out, err = agent.stop()
    assert code == 0, err
    intervals = [json.loads(line) for line in out.splitlines()]
    assert sum(i["counts"]["fail_exec"] for i in intervals) >= 11
    assert all("system.task_error" in i["charts"] for i in intervals)


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


def test_a_tiny_ring_loses_events_and_consume_finds_the_same_number(
    tmp_path: Path, broker: EmbeddedBroker
) -> None:
    config = tmp_path / "process.conf"
    config.write_text("[ring]\nsize = 4096\n[stream]\nflush ms = 200\n")
    agent = start("--config", str(config), "--json", "--bootstrap", broker.address)
    agent.process.send_signal(signal.SIGSTOP)  # on an idle machine it would keep up
    workload(199)
    agent.process.send_signal(signal.SIGCONT)
    code, out, err = agent.stop()
    _, lost, _ = assert_adds_up(err)
    assert lost > 0
    assert code == 3, err
    intervals = [json.loads(line) for line in out.splitlines()]
    created = [i["counts"]["fork_process"] + i["counts"]["fork_thread"] for i in intervals]
    assert sum(created) >= 199
    assert sum(i["lost"] for i in intervals) == lost

    consume = [sys.executable, "-m", "taskstream", "consume", "--bootstrap", broker.address]
    done = subprocess.run(
        [*consume, "--json", "--quiet", "--exit-at-end"],
        capture_output=True,
        text=True,
        check=False,
    )
    summary = json.loads(done.stdout)
    assert done.returncode == 3
    assert summary["missing"] == lost
    for cpu in summary["cpus"]:
        assert cpu["missing"] == sum(cpu["lost"].values())
        assert cpu["unexplained"] == 0


def test_a_broker_that_goes_away_delays_the_end_no_longer_than_the_drain_timeout() -> None:
    with EmbeddedBroker() as broker:
        agent = start("--bootstrap", broker.address, "--drain-timeout", "2")
        workload(7)
    workload(23)
    before = time.monotonic()
    code, _, err = agent.stop()
    assert time.monotonic() - before < 2 + 3
    assert code == 3, err
    assert_adds_up(err)
    assert "unacknowledged" in LINE.search(err)[8]  # type: ignore[index]


def test_the_command_that_an_agent_suggests_shows_its_events(agent: Agent) -> None:
    workload(3)
    words = shlex.split(agent.suggested)
    assert words[0] == "taskstream"
    found = taskstream(*words[1:], "--exit-at-end")
    assert found.code == 0, found.err
    assert " exec " in found.out
    agent.stop()


def test_kcat_reads_the_topic(agent: Agent) -> None:
    workload(3)
    command = ["kcat", "-b", agent.address, "-C", "-t", "taskstream.events", "-e", "-q"]
    wait_for(lambda: b"\xa4exec" in subprocess.run(command, capture_output=True, check=True).stdout)
    code, _, err = agent.stop()
    assert code == 0, err


def test_the_readmes_consumer_reads_the_topic(agent: Agent) -> None:
    readme = Path(__file__).parents[2] / "README.md"
    found = re.search(r"```python\n(from confluent_kafka.*?)```", readme.read_text(), re.DOTALL)
    assert found
    program = found[1].replace("127.0.0.1:9092", agent.address)
    assert program.count("\n") <= 11
    process = subprocess.Popen([sys.executable, "-uc", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    workload(5)
    seen = ""
    while not seen.startswith("fork"):
        seen = process.stdout.readline()
        assert seen, "it ended, or was ended, before it printed a fork"
    watchdog.cancel()
    process.kill()
    process.communicate()


# --- what goes wrong -----------------------------------------------------------------------------


def refused(*options: str, code: int = 1) -> str:
    done = subprocess.run([*RUN, *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_a_broker_that_does_not_answer_is_said_before_anything_is_attached() -> None:
    said = refused("--bootstrap", "127.0.0.1:1")
    assert said.startswith("taskstream run: broker 127.0.0.1:1 does not answer")
    assert said.count("\n") == 1


def test_the_broker_may_be_named_as_a_librdkafka_setting_but_not_twice() -> None:
    one = ["--kafka", "bootstrap.servers=127.0.0.1:1"]
    assert "broker 127.0.0.1:1 does not answer" in refused(*one)
    assert "exclude each other" in refused(*one, "--bootstrap", "127.0.0.1:2", code=2)


@pytest.mark.parametrize(
    ("bootstrap", "why"),
    [("embedded", "the embedded broker keeps nothing"), ("off", "there is no topic")],
)
def test_a_spool_that_is_not_used_is_told_with_the_events_that_wait_in_it(
    tmp_path: Path, bootstrap: str, why: str
) -> None:
    folder, config = tmp_path / "spool", tmp_path / "c.conf"
    config.write_text(f"[spool]\ndirectory = {folder}\n")
    run = ("run", "--config", config, "--bootstrap", bootstrap, "--duration", "0.1")
    name = "name a broker with --bootstrap or in [kafka] of the configuration"
    told = f"taskstream run: spool {folder} is not used: {why}; {name}\n"
    assert told in taskstream(*run).err
    assert not folder.exists()
    spool = Spool(
        folder,
        ORIGIN,
        ABOUT,
        SpoolBounds(),
        clocks=Ticks().pair,
        on_drop=lambda *_: None,
        on_damage=lambda *_: None,
    )
    spool.append(lives(300))
    spool.close()
    done = taskstream(*run)
    waiting = "is not used, and 1,200 events of earlier runs wait in it"
    assert told.replace("is not used", waiting) in done.err
    assert done.code == 0
    config.write_text(f"[spool]\ndirectory = {folder}\nmode = off\n")
    assert "spool" not in taskstream(*run).err


def test_an_unreadable_configuration_is_named() -> None:
    said = refused("--config", "/does/not/exist.conf")
    assert "configuration /does/not/exist.conf cannot be read: No such file" in said


def test_a_wrong_value_is_named_with_file_line_and_what_is_allowed(tmp_path: Path) -> None:
    config = tmp_path / "process.conf"
    config.write_text("# mine\n[global]\nupdate every = never\n")
    said = refused("--config", str(config))
    assert f"{config}, line 3: `update every = never` cannot be: allowed is 1 to 3600" in said


def test_an_unknown_librdkafka_setting_is_named_and_no_password_is_shown() -> None:
    said = refused("--kafka", "no.such.thing=1", "--kafka", "sasl.password=hunter2")
    assert "no.such.thing" in said
    assert "hunter2" not in said


def test_a_wrong_option_is_wrong_usage() -> None:
    assert "Invalid value for '--message'" in refused("--message", "carrier-pigeon", code=2)
