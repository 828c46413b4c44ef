"""Full speed: the default rings, read every 20 ms as the agent does, lose nothing."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.conftest import Record
from tests.kernel.host import at_rest, forks_since_boot
from tests.kernel.recorder import wait_until
from tests.needs import go_without

SECONDS = 2


@pytest.fixture
def stress(tmp_path: Path) -> Callable[[str], subprocess.Popen]:
    """Start a stressor of stress-ng."""
    program = shutil.which("stress-ng")
    if not program:
        go_without("no stress-ng (Debian: stress-ng)")

    def start(stressor: str) -> subprocess.Popen[bytes]:
        options = ["--quiet", "--timeout", str(SECONDS), "--temp-path", tmp_path]
        return subprocess.Popen([program, f"--{stressor}", "2", *options])

    return start


@pytest.mark.parametrize("stressor", ["fork", "vfork", "clone", "pthread", "zombie"])
def test_nothing_is_lost_at_full_speed(
    record: Record, stress: Callable[[str], subprocess.Popen[bytes]], stressor: str
) -> None:
    recorder = record()
    stat_before, ours_before = at_rest(forks_since_boot, recorder.forks_counted)
    with stress(stressor) as process:

        def ended() -> bool:
            recorder.read()
            return process.poll() is not None

        wait_until(ended, every_s=0.02)
        assert process.returncode == 0
    stat_after, ours_after = at_rest(forks_since_boot, recorder.forks_counted)
    assert ours_after - ours_before == stat_after - stat_before >= 400
    events = recorder.stop()
    totals = recorder.source.totals()
    assert totals["lost"].sum() == totals["args_lost"].sum() == 0
    assert not any(recorder.source.missed().values())
    assert len(events) == totals["count"].sum()
    for cpu, total in enumerate(totals):
        numbers = sorted(events.records["seq"][events.records["cpu"] == cpu].tolist())
        assert numbers == list(range(recorder.source.origin.run_ns, int(total["seq"])))
    assert len(set(events.of("fork").tasks())) == len(events.of("fork"))
    dead = events.of("exit").with_flag("group_dead").processes()
    assert len(set(dead)) == len(dead)
    assert {(e["cpu"], e["seq"]) for e in events.of("exec")} == events.texts.keys()
