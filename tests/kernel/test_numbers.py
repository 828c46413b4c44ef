"""Numbers at the end of their range: 584 years of CLOCK_BOOTTIME, simulated."""

import numpy as np
import pytest

from taskstream.source.live import LiveSource
from tests.kernel.conftest import Record
from tests.kernel.programs import Programs

FIRST = 2**64 - 151


def test_numbers_that_wrap_around_64_bits_lose_no_event_and_repeat_none(
    monkeypatch: pytest.MonkeyPatch, record: Record, programs: Programs
) -> None:
    number_from = LiveSource._number_from
    monkeypatch.setattr(LiveSource, "_number_from", lambda self, _: number_from(self, FIRST))
    recorder = record()
    programs.run("create", "fork", 997)
    events = recorder.stop()
    totals = recorder.source.totals()
    assert not totals["lost"].any()
    assert (events.records["seq"] < 997 * 4).any(), "no number wrapped"
    for cpu, total in enumerate(totals):
        numbers = events.records["seq"][events.records["cpu"] == cpu]
        since_first = np.sort(numbers - np.uint64(FIRST))
        assert since_first.tolist() == list(range((int(total["seq"]) - FIRST) % 2**64))
    execs = {(int(e["cpu"]), int(e["seq"])) for e in events.of("exec")}
    assert execs == events.texts.keys()
