"""The wall clock of a guest is set forward and back by an hour while the agent records."""

import json
import sys
from pathlib import Path

from tests.kernel.guest.kernel import Kernel
from tests.kernel.guest.machine import X86_64, run

ROOT = Path(__file__).parents[3]
HOUR_NS = 3_600_000_000_000
NEAR_NS = 60_000_000_000
MARKS = {"before": 23, "forward": 29, "back": 31}

# $1 is Python. The agent's own words go to standard error, the events to standard output.
SCRIPT = """
"$1" -m taskstream capture /tmp/clock.tsc --update-every 1 --json >/tmp/intervals 2>/tmp/talk &
agent=$!
marked() { i=0; while [ $i -lt $2 ]; do /bin/true mark $1; i=$((i + 1)); done; }
until [ -s /tmp/intervals ]; do sleep 0.2; done
marked before 23
date -s @$(($(date +%s) + 3600)) >/dev/null
sleep 3
marked forward 29
date -s @$(($(date +%s) - 3600)) >/dev/null
sleep 3
marked back 31
kill -TERM $agent
wait $agent
status=$?
cat /tmp/talk >&2
cat /tmp/intervals
"$1" -m taskstream replay /tmp/clock.tsc --to json 2>/dev/null
exit $status
"""


def test_a_clock_set_forward_and_back_by_an_hour_costs_no_event_and_is_told(
    any_kernel: Kernel,
) -> None:
    command = ["sh", "-c", SCRIPT, "sh", sys.executable]
    ended = run(any_kernel, command, machine=X86_64, directory=ROOT, timeout_s=300)
    talk = ended.stderr.decode()
    assert ended.status == 0, talk
    assert " lost 0;" in talk
    assert " dropped 0" in talk
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    intervals = [line for line in lines if "charts" in line]
    events = [line for line in lines if line.get("kind") == "exec"]
    reports = [line for line in lines if line.get("kind") == "report"]

    # No interval is missing, none is there twice: they are of CLOCK_BOOTTIME.
    ends = [interval["end_ns"] for interval in intervals]
    assert [interval["start_ns"] for interval in intervals[1:]] == ends[:-1]

    # Each event once, in order of boot_ns, dated by the clock of its time.
    found = {mark: [e for e in events if e.get("argv", [])[1:] == ["mark", mark]] for mark in MARKS}
    assert {mark: len(of) for mark, of in found.items()} == MARKS
    offset_ns = {mark: of[-1]["wall_ns"] - of[-1]["boot_ns"] for mark, of in found.items()}
    assert abs(offset_ns["forward"] - offset_ns["before"] - HOUR_NS) < NEAR_NS
    assert abs(offset_ns["back"] - offset_ns["before"]) < NEAR_NS

    steps = [report["clock_step_ns"] for report in reports if report.get("clock_step_ns")]
    assert [round(step / HOUR_NS) for step in steps] == [1, -1]
