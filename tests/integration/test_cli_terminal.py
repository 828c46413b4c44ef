"""What tasks, hosts and files are called cannot command the terminal that shows it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from taskstream.batch import Origin
from taskstream.broker import EmbeddedBroker
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from tests.capturing import a_capture, capture_sink, report
from tests.command import ROOT, taskstream
from tests.synthetic import ORIGIN, batch, event

EVIL = "\x1b]0;mine\x07\x9b2J\u202e\n"
HOST = Origin(f"web\x1b[2J{EVIL}", ORIGIN.boot_id, ORIGIN.run_ns)


def an_evil_batch(origin: Origin = ORIGIN):
    comm = EVIL.encode()[:16]
    return batch(
        event("exec", comm=comm, filename=EVIL.encode(), argv=f"a{EVIL}\0\t-x\0".encode(), cpu=1),
        event("exit", comm=comm, cpu=1, boot_ns=ORIGIN.run_ns + 5),
        origin=origin,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.tsc"
    sink = capture_sink(path, origin=HOST)
    sink.write(an_evil_batch(HOST))
    sink.report(report(0, final=True, origin=HOST))
    sink.close()
    return path


def is_plain(text: str) -> bool:
    """Tell whether nothing in a text but its line ends is for a terminal."""
    return all(line.isprintable() for line in text.split("\n"))


def on_a_terminal(*arguments: str | Path) -> str:
    """Return what ``taskstream`` shows on a terminal."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "taskstream", *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdin=its, stdout=its, stderr=its):
        os.close(its)
        shown = b""
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:  # its end was closed
            os.close(ours)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "{path}"],
        ["inspect", "{path}", "--events"],
        ["rates", "{path}", "--by", "comm", "--by", "app"],
        ["replay", "{path}", "--to", "charts"],
        ["replay", "{path}", "--to", "json"],
        ["replay", "{path}", "--to", "netdata"],
        ["inspect", "/\x1b[2J\n.tsc"],
        ["replay", "/\x1b[2J.tsc", "--to", "json"],
        ["\x1b[2J"],
        ["run", "--\x1b[2J"],
    ],
    ids=" ".join,
)
def test_nothing_that_a_task_or_a_file_is_called_reaches_a_terminal_as_it_is(path, arguments):
    shown = on_a_terminal(*(word.format(path=path) for word in arguments))
    assert shown
    assert is_plain(shown)


def test_an_event_is_one_line_whatever_its_arguments_are(path):
    first, second = taskstream("inspect", path, "--events").lines
    assert "a\\x1b]0;mine\\x07\\x9b2J\\u202e\\x0a \\x09-x" in first
    assert "exit" in second


def test_events_of_a_topic_are_told_to_people_without_what_commands_a_terminal():
    with EmbeddedBroker() as broker:
        sink = KafkaSink(KafkaOptions(bootstrap=broker.address, topic="t"))
        sink.write(an_evil_batch(HOST))
        sink.drain(10)
        reading = ["consume", "--bootstrap", broker.address, "--topic", "t", "-e"]
        done = taskstream(*reading)
        as_json = taskstream(*reading, "--json")
    assert len(done.lines) == 2
    assert is_plain(done.out + done.err)
    event = json.loads(as_json.lines[0])
    assert event["host"] == HOST.host
    assert event["argv"] == [f"a{EVIL}", "\t-x"]
    assert is_plain(as_json.out)


@pytest.mark.parametrize("verb", [["export", "--to", "csv"], ["replay", "--to", "prometheus"]])
def test_data_for_machines_is_escaped_where_a_terminal_shows_it_and_only_there(path, verb):
    assert is_plain(on_a_terminal(*verb, path))
    assert "\x1b[2J" in taskstream(*verb, path).out


def test_what_standard_output_cannot_encode_is_escaped(tmp_path):
    path = a_capture(tmp_path / "a.tsc", [batch(event("exit", comm="日本".encode()))])
    done = taskstream("inspect", path, "--events", PYTHONIOENCODING="latin-1:strict")
    assert done.code == 0
    assert "\\u65e5\\u672c" in done.out


def test_a_replay_shows_on_a_terminal_how_far_it_is(path, tmp_path):
    shown = on_a_terminal("replay", path, "--to", "capture", "--output", tmp_path / "b.tsc")
    bar, closing = shown.rstrip().split("\n")
    assert "100%" in bar
    assert closing.endswith("= written 2")
    assert "%" not in on_a_terminal("replay", path, "--to", "charts")  # there are rows instead


def test_an_export_shows_on_a_terminal_how_far_it_is(path, tmp_path):
    bar, closing = (
        on_a_terminal("export", path, "--to", "csv", "--output", tmp_path / "b.csv")
        .rstrip()
        .split("\n")
    )
    assert "100%" in bar
    assert "exported 2" in closing


def test_what_a_replay_passes_over_counts_as_done(tmp_path):
    rows = [batch(event("fork", boot_ns=ORIGIN.run_ns + n * 10**9)) for n in range(20)]
    path = a_capture(tmp_path / "a.tsc", rows)
    new = tmp_path / "b.tsc"
    shown = on_a_terminal("replay", path, "--from", "+15", "--to", "capture", "--output", new)
    assert "100%" in shown.split("\n")[0]
