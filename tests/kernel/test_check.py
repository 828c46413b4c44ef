"""The check that runs in the guests of docs/kernels.md, here: it is not easily content."""

import pytest

from tests.kernel.check import WORKLOADS, ZAPPED, judge
from tests.kernel.programs import Programs


@pytest.mark.parametrize("load_mode", ["entry", "return"])
def test_a_source_that_sees_everything_is_exact(programs: Programs, load_mode: str) -> None:
    verdict = judge({"name": "all", "options": {"load_mode": load_mode}}, programs)
    assert (verdict.outcome, verdict.complaints) == ("exact", [])
    children = 23 + 19 + 17
    assert verdict.happened["fork"] == children + 29 + 2 * ZAPPED + len(WORKLOADS)
    assert verdict.happened["exec"] == children + len(WORKLOADS)
    assert verdict.happened.get("fail", 0) == (4 * 7 + 25 if load_mode == "return" else 0)
    assert verdict.delivered == verdict.happened


def test_events_that_find_no_room_are_said_to_be_lost(programs: Programs) -> None:
    verdict = judge({"name": "small", "options": {"ring_bytes": 4096}}, programs)
    assert verdict.outcome == "wrong"
    assert verdict.complaints[-1] == f"{verdict.lost} events found no room"
    assert verdict.lost


def test_lost_events_that_their_processes_are_charged_with_are_as_they_must_be(
    programs: Programs,
) -> None:
    options = {"ring_bytes": 4096, "charge_losses": True}
    verdict = judge({"name": "charged", "options": options}, programs)
    assert (verdict.outcome, verdict.complaints) == ("exact", [])
    assert verdict.lost


def test_failures_with_another_call_than_promised_are_wrong(programs: Programs) -> None:
    options = {"load_mode": "return"}
    calls = {"fork": "vfork"}
    verdict = judge({"name": "calls", "options": options, "calls": calls}, programs)
    assert verdict.outcome == "wrong"
    assert any("these did not happen" in complaint for complaint in verdict.complaints)


def test_an_option_that_the_source_does_not_have_is_no_refusal(programs: Programs) -> None:
    verdict = judge({"name": "odd", "options": {"no_such_option": 1}}, programs)
    assert verdict.outcome == "crashed"
    assert "no_such_option" in verdict.message
