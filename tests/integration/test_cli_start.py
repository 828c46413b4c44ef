"""What a run imports: all of it is time before the first event, and memory until the last."""

import os
import re
import subprocess
import sys

import pytest

from tests.command import ROOT

pytestmark = pytest.mark.kernel

LIBRARIES = {
    "bcc",
    "email",
    "http",
    "importlib.metadata",
    "multiprocessing",
    "prometheus_client",
    "pyarrow",
    "rich",
    "tempfile",
    "textual",
    "zstandard",
}
OTHER_VERBS = {
    "taskstream.arrow",
    "taskstream.board",
    "taskstream.capture",
    "taskstream.cli.topics",
    "taskstream.consumer",
    "taskstream.doctor",
    "taskstream.feed",
    "taskstream.fleet",
    "taskstream.message.decode",
    "taskstream.message.json",
    "taskstream.replay",
    "taskstream.schema",
    "taskstream.sink.capture",
    "taskstream.sink.netdata",
    "taskstream.sink.prometheus",
    "taskstream.sink.spooling",
    "taskstream.sink.top",
    "taskstream.source.legacy",
    "taskstream.spool",
    "taskstream.vocabulary",
}


def test_a_plain_run_imports_no_heavy_library_and_nothing_of_other_verbs():
    command = [sys.executable, "-X", "importtime", "-m", "taskstream", "run", "--duration", "0.2"]
    done = subprocess.run(
        [*command, "--config", os.devnull], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    imported = set(re.findall(r"^import time: .*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "taskstream.pipeline" in imported
    assert not imported & (LIBRARIES | OTHER_VERBS)
