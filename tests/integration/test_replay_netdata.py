"""A capture that is replayed into Debian's Netdata has every interval there, at any speed."""

import shlex
import sys
from dataclasses import replace

import pytest

from taskstream.interval import Interval
from taskstream.record import COUNTS
from taskstream.report import Report
from tests.capturing import a_capture, report
from tests.charting import wait_for
from tests.synthetic import WALL_OFFSET_NS

SECOND = 10**9
INTERVALS = 7


def a_report(number: int) -> Report:
    """Make the report of the ``number``-th second; counts rise from one to the next."""
    start_ns = (3000 + number) * SECOND
    counts = tuple(10 * (number + 1) + at for at in range(len(COUNTS)))
    interval = Interval(
        start_ns=start_ns,
        end_ns=start_ns + SECOND,
        wall_ns=start_ns + SECOND + WALL_OFFSET_NS,
        counts=counts,
        received=counts,
    )
    return replace(report(number), boot_ns=start_ns + SECOND, interval=interval)


def test_the_capture_is_in_netdata_from_its_first_interval_to_its_last(tmp_path, netdata, speed):
    path = a_capture(tmp_path / "a.tsc", map(a_report, range(INTERVALS)))
    plugin = tmp_path / "replay.plugin"
    words = [sys.executable, "-m", "taskstream", "replay", path, "--to", "netdata"]
    words += ["--speed", speed]
    # Netdata would start a plugin that ended once more.
    plugin.write_text(f"#!/bin/sh\n{shlex.join(map(str, words))}\nexec sleep 600\n")
    plugin.chmod(0o755)
    server = netdata(1, plugin=plugin)
    wait_for(lambda: "system.exit" in server.charts(), 60)
    created = [10 * number for number in range(1, INTERVALS + 1)]

    def points() -> list[float]:
        found = server.get(
            "data", chart="system.process_thread", format="json", options="natural-points"
        )
        column = found["labels"].index("process")
        return [row[column] for row in sorted(found["data"]) if row[column] is not None]

    wait_for(lambda: len(points()) >= INTERVALS)
    assert points() == created
    assert server.events("system.process_thread", "thread") == sum(created) + INTERVALS


@pytest.fixture(params=["1", "10", "max"])
def speed(request: pytest.FixtureRequest) -> str:
    return request.param
