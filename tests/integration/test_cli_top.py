"""``taskstream top`` as users call it: on a real terminal, in a script, and where it cannot be."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from confluent_kafka import Producer

from taskstream.board.reading import VIEWS
from taskstream.broker import EmbeddedBroker
from taskstream.chart.chart import DOCUMENTED
from taskstream.interval import COLUMNS, Agent, Interval, Series
from taskstream.message.columns import pack
from taskstream.record import COUNTS
from taskstream.sink.rates import messages
from tests.command import ROOT, start, taskstream
from tests.readings import SECOND
from tests.synthetic import ORIGIN
from tests.unpacked import program

NAME = "tsq_top"
HOSTS = ("web-3", "db-1")


# --- where it cannot be --------------------------------------------------------------------------


def test_without_a_terminal_it_refuses_and_says_what_to_do_instead():
    done = taskstream("top")
    assert done.code == 1
    assert "no terminal: `taskstream top --json` prints" in done.err
    assert "`taskstream run --json`" in done.err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--host", "web-3"), "--host needs --bootstrap"),
        (("--kafka", "a=b"), "--kafka needs --bootstrap"),
        (("--bootstrap", "x:1", "capture.tsc"), "--bootstrap and FILE exclude each other"),
        (("capture.tsc", "--load-mode", "return"), "FILE and --load-mode exclude each other"),
        (("--speed", "2"), "--speed is for FILE"),
        (("--bootstrap", "x:1", "--apps"), "--bootstrap and --apps exclude each other"),
        (("--bootstrap", "x:1", "--update-every", "5"), "--bootstrap and --update-every exclude"),
    ],
)
def test_options_of_two_kinds_of_source_are_named_together(options, text):
    done = taskstream("top", *options)
    assert done.code == 2
    assert text in done.err


def test_other_verbs_do_not_pay_for_the_terminal_library():
    code = "import sys, taskstream.cli.run, taskstream.cli.top; print('textual' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# --- on a terminal -------------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool], what: Callable[[], str], seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true in time:\n{what()}"
        time.sleep(0.1)


class Terminal:
    """A terminal of tmux, with a server of its own."""

    def __init__(self, folder: Path) -> None:
        self._tmux = [str(program("tmux")), "-S", str(folder / "tmux"), "-f", os.devnull]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([*self._tmux, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def open(self, *options: str) -> None:
        """Run ``taskstream top`` in it; behind it its exit code stays on the screen."""
        command = " ".join([sys.executable, "-m", "taskstream", "top", *options])
        shell = f"cd {ROOT} && {command}; echo left with $?; exec sleep 600"
        self._run(
            "new-session",
            "-d",
            "-x",
            "140",
            "-y",
            "40",
            f"env -u COLUMNS -u LINES LC_ALL=C.UTF-8 sh -c '{shell}'",
        )

    @property
    def text(self) -> str:
        return self._run("capture-pane", "-p")

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def row(self, name: str) -> list[str]:
        """Return the words of the row that begins with a name; none if there is no such row."""
        rows = [line.split() for line in self.text.splitlines()]
        return next((words for words in rows if words[:1] == [name]), [])

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


@pytest.fixture
def load(tmp_path: Path) -> Iterator[None]:
    """Run a program of a known name again and again."""
    shutil.copy(shutil.which("true") or "", tmp_path / NAME)
    script = f"while :; do {tmp_path / NAME}; sleep 0.02; done"
    with subprocess.Popen(["sh", "-c", script]) as process:
        yield
        process.kill()


@pytest.mark.kernel
@pytest.mark.slow
def test_on_a_terminal_a_known_command_is_on_the_screen_with_its_rate(terminal, load):
    terminal.open()
    wait_for(lambda: "up to" in terminal.text, lambda: terminal.text)
    terminal.press("/", NAME, "Enter")
    wait_for(lambda: len(terminal.row(NAME)) > 4, lambda: terminal.text)
    _, processes, _, exits, *_ = terminal.row(NAME)
    assert processes == "0"  # it starts nothing
    assert float(exits) > 0
    assert "lost in the ring 0" in terminal.text
    terminal.press("q")
    wait_for(lambda: "left with" in terminal.text, lambda: terminal.text)
    assert "counted" in terminal.text
    assert "left with 0" in terminal.text


@pytest.mark.kernel
@pytest.mark.slow
def test_a_script_gets_one_whole_interval_of_everything(load):
    done = taskstream("top", "--once")
    (line,) = done.lines
    found = json.loads(line)
    assert set(found["rates"]) == set(VIEWS)
    assert found["rates"]["command"][NAME]["exits"] > 0
    assert found["seconds"] == pytest.approx(1, abs=0.05)
    assert {"ring", "skipped", "dropped", "cpu", "resident"} <= set(found["states"])
    assert "counted" in done.err


# --- of other hosts ------------------------------------------------------------------------------


def interval(wall_ns: int) -> Interval:
    series = Series((12,) * len(COLUMNS), (12,) * len(COLUMNS))
    return Interval(
        start_ns=wall_ns - SECOND,
        end_ns=wall_ns,
        wall_ns=wall_ns,
        counts=(12,) * len(COUNTS),
        received=(12,) * len(COUNTS),
        groups={"command": {"sshd": series}},
        agent=Agent(cpu_ns=0, resident_bytes=64 << 20, queued=0, dropped=0, forgotten=0),
    )


@pytest.fixture
def published() -> Iterator[str]:
    """Publish rates of two hosts again and again; return the broker's address."""
    stop = Event()
    with EmbeddedBroker() as broker:
        producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 0})

        def publish() -> None:
            end_s = int(time.time())
            while not stop.wait(0.2):
                end_s += 1
                for host in HOSTS:
                    origin = replace(ORIGIN, host=host)
                    for message in messages(interval(end_s * SECOND), origin, DOCUMENTED):
                        producer.produce("taskstream.rates", pack(message), host)
                producer.flush(10)

        producer.produce("taskstream.rates", b"", "first")
        producer.flush(10)
        thread = Thread(target=publish)
        thread.start()
        yield broker.address
        stop.set()
        thread.join()


@pytest.mark.kafka
@pytest.mark.slow
def test_hosts_of_the_topic_stand_side_by_side_on_a_terminal(terminal, published):
    terminal.open("--bootstrap", published)
    wait_for(lambda: terminal.text.count("sshd ") == 2, lambda: terminal.text)
    for host in HOSTS:
        assert f"{host} " in terminal.text
    assert "agents: CPU" in terminal.text
    terminal.press("h")
    wait_for(lambda: terminal.text.count("sshd ") == 1, lambda: terminal.text)
    assert "host db-1" in terminal.text
    terminal.press("q")
    wait_for(lambda: "left with 0" in terminal.text, lambda: terminal.text)


@pytest.mark.kafka
def test_a_script_gets_an_interval_of_each_host_of_the_topic(published):
    done = taskstream("top", "--bootstrap", published, "--once")
    found = {reading["host"]: reading for reading in map(json.loads, done.lines)}
    assert set(found) == set(HOSTS)
    for reading in found.values():
        assert reading["rates"]["command"]["sshd"]["processes"] == 12


@pytest.mark.kafka
def test_json_goes_on_until_it_is_told_to_stop(published):
    with start("top", "--bootstrap", published, "--json", "--host", "db-1") as process:
        assert process.stdout is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.terminate()
        assert process.wait(20) == 0
    assert {line["host"] for line in lines} == {"db-1"}
    assert len({line["time"] for line in lines}) == 3


# --- of a capture --------------------------------------------------------------------------------

CAPTURES = ROOT / "tests/golden/capture-v1"


def test_a_capture_is_shown_without_any_right_and_by_all_groups():
    done = taskstream("top", CAPTURES / "whole.tsc", "--speed", "max", "--json")
    assert done.code == 0
    replayed = taskstream("replay", CAPTURES / "whole.tsc", "--to", "charts", "--json")
    found = [json.loads(line) for line in done.lines]
    expected = [json.loads(line)["charts"] for line in replayed.lines]
    assert len(found) == len(expected) > 1
    for reading, charts in zip(found, expected, strict=True):
        system = reading["rates"]["system"]["build-7"]
        assert system["processes"] == charts["system.process_thread"]["process"]
        assert system["releases"] == charts["system.exit"]["task"]
        assert set(reading["rates"]) == set(VIEWS)
    assert sum(r["rates"]["command"]["task-1003"]["exits"] for r in found) == 1


def test_a_capture_that_ends_early_is_shown_so_far_and_told_by_the_exit_code():
    done = taskstream("top", CAPTURES / "cut.tsc", "--speed", "max", "--json")
    assert done.code == 3
    assert done.lines
    assert "damaged, cut or missing" in done.err


@pytest.mark.slow
def test_at_the_end_of_a_capture_the_screen_stays(terminal):
    terminal.open(str(CAPTURES / "whole.tsc"), "--speed", "max")
    wait_for(lambda: "(ended)" in terminal.text, lambda: terminal.text)
    wait_for(lambda: bool(terminal.row("task-1003")), lambda: terminal.text)
    assert "nothing for" not in terminal.text
    terminal.press("q")
    wait_for(lambda: "left with 0" in terminal.text, lambda: terminal.text)
