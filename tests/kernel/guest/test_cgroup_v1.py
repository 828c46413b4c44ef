"""Where v1 alone is mounted, events and charts name the cgroups of one of its controllers."""

import json
import sys
from pathlib import Path

import pytest

from tests.kernel.guest.kernel import Kernel
from tests.kernel.guest.machine import X86_64, Layout, run

ROOT = Path(__file__).parents[3]
CONTAINER = "7c" * 32
PLACES = {"service": "/system.slice/größe.service", "container": f"/docker/{CONTAINER}"}
LIVES = {"service": 23, "container": 29}

# $1 is Python, $2 the type format. One cgroup is there before, the other comes meanwhile and goes.
SCRIPT = """
pids=/sys/fs/cgroup/pids
mkdir -p "$pids$3"
printf '[global]\\ncgroups = yes\\nebpf type format = %s\\n' "$2" >/tmp/process.conf
"$1" -m taskstream capture /tmp/v1.tsc --config /tmp/process.conf --update-every 1 --json \\
    >/tmp/intervals 2>/tmp/talk &
agent=$!
inside() {
    sh -c 'echo $$ >"$1/cgroup.procs"; i=0; while [ $i -lt $2 ]; do /bin/true inside; i=$((i + 1))
    done' sh "$pids$1" $2
}
until [ -s /tmp/intervals ]; do sleep 0.2; done
inside "$3" $5
mkdir -p "$pids$4"
inside "$4" $6
rmdir "$pids$4"
sleep 2
kill -TERM $agent
wait $agent
status=$?
cat /tmp/talk >&2
cat /tmp/intervals
"$1" -m taskstream replay /tmp/v1.tsc --to json 2>/dev/null
exit $status
"""


@pytest.mark.parametrize("type_format", ["co-re", pytest.param("legacy", marks=pytest.mark.matrix)])
def test_events_and_charts_have_the_names_of_v1(any_kernel: Kernel, type_format: str) -> None:
    places, lives = PLACES.values(), map(str, LIVES.values())
    command = ["sh", "-c", SCRIPT, "sh", sys.executable, type_format, *places, *lives]
    layout = Layout(cgroup="v1")
    ended = run(any_kernel, command, machine=X86_64, directory=ROOT, timeout_s=300, layout=layout)
    talk = ended.stderr.decode()
    assert ended.status == 0, talk
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    execs = [e for e in lines if e.get("kind") == "exec" and e["argv"][1:] == ["inside"]]
    found = {
        "service": [e for e in execs if e["service"] == "größe"],
        "container": [e for e in execs if e["container"] == CONTAINER],
    }
    assert {what: len(events) for what, events in found.items()} == LIVES
    assert {what: {e["cgroup"] for e in events} for what, events in found.items()} == {
        what: {path} for what, path in PLACES.items()
    }
    exits = dict.fromkeys(LIVES, 0)
    for interval in (line for line in lines if "charts" in line):
        groups = interval["groups"]
        exits["service"] += groups["service"].get("größe", {}).get("exec", 0)
        exits["container"] += groups["cgroup"].get(CONTAINER[:12], {}).get("exec", 0)
    assert exits == LIVES
