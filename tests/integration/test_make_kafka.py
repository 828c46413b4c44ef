"""`make kafka`, as a developer or a new user has it: an address, until Ctrl-C, and nothing left."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.command import ROOT
from tests.kafka.cluster import missing
from tests.needs import go_without

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def started() -> Iterator[subprocess.Popen[str]]:
    """Start what `make kafka` starts."""
    if reason := missing():
        go_without(reason)
    command = [sys.executable, "-m", "tests.kafka"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as process:
        yield process
        process.kill()  # and its broker with it


def brokers_of(pid: int) -> dict[int, Path]:
    """Return the java processes that a process started, and the folder of each."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        assert words[0] == b"java"
        found[int(child)] = Path(os.fsdecode(words[-2])).parent  # the last is empty
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_make_kafka_prints_the_address_of_a_broker_and_leaves_nothing(started, number):
    assert started.stdout is not None
    address = started.stdout.readline().strip()
    assert address, started.communicate()
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    assert len(admin.list_topics(timeout=10).brokers) == 1
    brokers = brokers_of(started.pid)
    assert len(brokers) == 1
    assert all(folder.is_dir() for folder in brokers.values())
    started.send_signal(number)
    out, err = started.communicate(timeout=30)
    assert (started.returncode, out) == (0, "")
    assert f"try it: taskstream run --bootstrap {address}; Ctrl-C" in err
    for pid, folder in brokers.items():
        assert not Path(f"/proc/{pid}").exists()
        assert not folder.exists()
