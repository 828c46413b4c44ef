"""What the probes are told before they are loaded."""

import time

import pytest

from taskstream.source import probes

MONOTONIC_NS, ASLEEP_NS = 5_000_000_000, 7_000_000_000


@pytest.mark.parametrize("interrupted", range(4))
def test_an_interruption_between_the_two_clocks_is_not_taken_for_time_asleep(
    monkeypatch, interrupted
):
    looks = 0

    def read(clock):
        nonlocal looks
        looks += 1
        now = MONOTONIC_NS + 100 * looks
        if looks > interrupted:  # another task has the CPU for a while
            now += 30_000_000
        return now + ASLEEP_NS * (clock == time.CLOCK_BOOTTIME)

    monkeypatch.setattr(time, "clock_gettime_ns", read)
    assert 0 <= probes._boot_offset_ns() - ASLEEP_NS <= 1000
