"""Charts of a run of the real probes, of the replay of its capture and of its topic: one thing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.charting import TINY, Agent, is_over, overflow, wait_for, work
from tests.command import taskstream

pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.kafka]

CHARTS = "[charts]\ncommands = yes\nusers = yes\n"
GROUPS = ("--apps", "--cgroups")


@pytest.mark.parametrize("message", ["event", "batch"])
@pytest.mark.parametrize("ring", ["whole", "overflowing"])
def test_charts_are_the_same_bytes_live_from_the_capture_and_from_the_topic(
    folder: Path,
    places: dict[str, Path],
    start: Callable[..., Agent],
    either: str,
    topic: str,
    message: str,
    ring: str,
) -> None:
    path = folder / "live.tsc"
    source = ("--bootstrap", either, "--topic", topic)
    small = TINY if ring == "overflowing" else ""
    options = (*source, "--message", message, "--capture", str(path), "--update-every", "1")
    agent = start(*GROUPS, *options, text=small + CHARTS)
    for place in places.values():
        if small:
            overflow(agent, folder, place)
        else:
            work(folder, place)
    wait_for(is_over(agent, "app", "mine", 2), 60)
    agent.stop()
    live = agent.out.read_text()
    config = ("--config", folder / "process.conf", *GROUPS, "--json")
    replayed = taskstream("replay", path, "--to", "charts", *config)
    consumed = taskstream("consume", *source, "--exit-at-end", "--charts", *config)
    lost = sum(json.loads(line)["lost"] for line in live.splitlines())
    assert (lost > 20) == (ring == "overflowing"), agent.err.read_text()
    assert len(live.splitlines()) > 2
    assert replayed.out == live
    assert consumed.out == live
