"""What all tests share."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# No deadline: a machine that is shared may take its time.
settings.register_profile("taskstream", deadline=None, max_examples=100)
settings.register_profile("thorough", deadline=None, max_examples=3000)
settings.load_profile("taskstream")  # --hypothesis-profile=thorough goes before

TRACEFS = Path("/sys/kernel/tracing")


@pytest.fixture(scope="session", autouse=True)
def tracefs() -> Iterator[None]:
    """Mount tracefs for as long as the tests run, where root may and nobody did.

    Load mode `return` needs it. Tests that do say so where it could not be mounted.
    """
    mount = ["mount", "-t", "tracefs", "none", TRACEFS]
    ours = (
        os.geteuid() == 0
        and not (TRACEFS / "events").is_dir()
        and not subprocess.run(mount, capture_output=True).returncode
    )
    yield
    if ours:
        subprocess.run(["umount", TRACEFS], check=True)
