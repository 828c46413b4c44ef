"""What all tests share."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.kafka.cluster import KafkaCluster

# No deadline: a machine that is shared may take its time.
settings.register_profile("taskstream", deadline=None, max_examples=100)
settings.register_profile("thorough", deadline=None, max_examples=3000)
settings.load_profile("taskstream")  # --hypothesis-profile=thorough goes before

# Whoever starts the suite in the background may have it ignore Ctrl-C; what it starts may not.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.kernel.repeat", "tests.property.inputs"]

TRACEFS = Path("/sys/kernel/tracing")


@pytest.fixture(scope="session", autouse=True)
def tracefs() -> Iterator[None]:
    """Mount tracefs for as long as the tests run, where root may and nobody did.

    Load mode `return` needs it. Tests that do say so where it could not be mounted. A second suite
    on the same machine keeps the first from taking it away.
    """
    mount = ["mount", "-t", "tracefs", "none", TRACEFS]
    ours = (
        os.geteuid() == 0
        and not (TRACEFS / "events").is_dir()
        and not subprocess.run(mount, capture_output=True).returncode
    )
    try:
        held = os.open(TRACEFS / "events", os.O_RDONLY)
    except OSError:
        yield
        return
    yield
    os.close(held)
    if ours:
        subprocess.run(["umount", TRACEFS], capture_output=True)  # busy while another holds it


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaCluster]:
    """Start the real Kafka, one broker, once for all tests that only use it."""
    with KafkaCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[KafkaCluster]:
    """Start three brokers, for tests that take one away and give it back."""
    with KafkaCluster(brokers=3) as cluster:
        yield cluster
