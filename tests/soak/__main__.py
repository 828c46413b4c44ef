"""``make soak``: does the agent stay as it is under churn, for as long as one likes?

``python -m tests.soak [MINUTES] [--rate HZ] [--json]``. Workers create 2,000 tasks a second,
each worker for two seconds, under a name and in a cgroup that nobody had before; the agent
publishes, and charts by app group, cgroup, command and user. Exit code 1 if

* the agent's memory grew by more than the bound after its first two minutes (or third),
* the charts' sum of created tasks left what /proc/stat's `processes` allows at any boundary,
* the charts of the app groups did not add up to those of the host in any interval,
* or the closing line does not add up, or tells of a loss.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.agent import environment
from tests.bench.broker import broker
from tests.bench.machine import describe
from tests.soak.churn import GROUPS, Churn
from tests.soak.truth import Drift, Forks, drift

GROWTH_MIB = 8.0
_LOOK_S = 0.02
_MEMORY_S = 1.0
_NAMES = 200
"""Of `[charts] names`: so many series of a kind are kept, and the bound is soon reached."""

_CONFIG = f"""
[global]
update every = 5
apps = yes
cgroups = yes
[charts]
commands = yes
users = yes
names = {_NAMES}
[stream]
message = batch
"""


@dataclass(frozen=True)
class Outcome:
    """What was measured.

    Attributes:
        minutes: It took.
        tasks_hz: Tasks created per second, by the charts.
        names: Workers, each with a name and a cgroup of its own.
        drift: Of the charts against /proc/stat.
        unequal: Intervals in which the app groups' sum was not the host's.
        settled_mib: Most resident memory while it settled.
        most_mib: Most resident memory after that.
        cpu_share: CPU time of the agent by time, in percent of a core.
        closing: The agent's last line.
    """

    minutes: float
    tasks_hz: float
    names: int
    drift: Drift
    unequal: int
    settled_mib: float
    most_mib: float
    cpu_share: float
    closing: str

    @property
    def complaints(self) -> list[str]:
        """Say what was not as it should be."""
        found = []
        if self.most_mib - self.settled_mib > GROWTH_MIB:
            found.append(f"memory grew from {self.settled_mib:.1f} to {self.most_mib:.1f} MiB")
        if self.drift.outside:
            found.append(f"the charts are {self.drift.outside} tasks away from /proc/stat")
        if self.unequal:
            found.append(f"app groups do not add up to the host in {self.unequal} intervals")
        if not re.search(r"lost 0;.* dropped 0$", self.closing):
            found.append(f"the books: {self.closing}")
        return found


class _Looks:
    """Looks at /proc/stat and at the agent's memory, in a thread."""

    def __init__(self, pid: int) -> None:
        self.forks = Forks()
        self.memory: list[tuple[float, float]] = []
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go)
        self._thread.start()

    def _go(self) -> None:
        due = began = time.monotonic()
        while not self._over.wait(_LOOK_S):
            self.forks.look()
            if time.monotonic() >= due:
                status = Path(f"/proc/{self._pid}/status").read_text()
                found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
                if found:
                    self.memory.append((time.monotonic() - began, int(found[1]) / 1024))
                due += _MEMORY_S

    def end(self) -> None:
        self.forks.look()
        self._over.set()
        self._thread.join()


def soak(minutes: float, rate_hz: int) -> Outcome:
    """Run the agent under churn, and compare."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name, broker() as address:
        folder = Path(name)
        (folder / "process.conf").write_text(_CONFIG)
        groups = "".join(f"group-{n}: g{n}-*\n" for n in range(GROUPS))
        (folder / "apps_groups.conf").write_text(groups)
        command = [sys.executable, "-m", "taskstream", "run", "--json", "--bootstrap", address]
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            agent = subprocess.Popen(
                [*command, "--config", str(folder / "process.conf")],
                stdout=out, stderr=err, env=environment() | {"TASKSTREAM_CONFIG_DIR": name},
            )  # fmt: skip
        try:
            return _watch(agent, folder, minutes, rate_hz)
        finally:
            agent.kill()
            agent.wait()


def _watch(agent: subprocess.Popen[bytes], folder: Path, minutes: float, rate_hz: int) -> Outcome:
    while "publishing to" not in (talk := (folder / "err").read_text()):
        if agent.poll() is not None:
            raise SystemExit(f"soak: the agent did not start:\n{talk}")
        time.sleep(0.1)
    looks = _Looks(agent.pid)
    began = time.monotonic()
    with Churn(folder, rate_hz) as churn:
        while time.monotonic() < began + minutes * 60 and agent.poll() is None:
            churn.go_on()
            time.sleep(0.05)
    took_s = time.monotonic() - began
    cpu_s = time.clock_gettime_ns(~agent.pid << 3 | 2) / 1e9
    agent.send_signal(signal.SIGTERM)
    time.sleep(0.5)  # looks at /proc/stat after the end of the last interval
    looks.end()
    agent.wait(60)
    intervals = [json.loads(line) for line in (folder / "out").read_text().splitlines()]
    whole = [interval for interval in intervals[1:-1] if interval["seconds"] == 5]
    ends_ns = [interval["end_ns"] for interval in whole]
    found = drift(ends_ns, [_created(interval, "system") for interval in whole], looks.forks)
    settling_s = min(120.0, took_s / 3)
    return Outcome(
        minutes=round(took_s / 60, 2),
        tasks_hz=round(found.created / ((ends_ns[-1] - ends_ns[0]) / 1e9), 1),
        names=churn.names,
        drift=found,
        unequal=sum(_created(i, "system") != _created(i, "app") for i in whole),
        settled_mib=round(max(mib for at, mib in looks.memory if at <= settling_s), 1),
        most_mib=round(max(mib for at, mib in looks.memory if at > settling_s), 1),
        cpu_share=round(100 * cpu_s / took_s, 2),
        closing=(folder / "err").read_text().splitlines()[-1],
    )


def _created(interval: dict[str, Any], of: str) -> int:
    """Return the tasks created in an interval, by the charts of the host or of all apps."""
    charts, seconds = interval["charts"], interval["seconds"]
    if of == "system":
        return round(sum(charts["system.process_thread"].values()) * seconds)
    rates = [
        sum(dimensions.values())
        for chart in ("app.process_create", "app.thread_create")
        for dimensions in charts[chart].values()
    ]
    return round(sum(rates) * seconds)


def main() -> None:
    """Soak, print, and exit with 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    parser.add_argument("--rate", type=int, default=2000, metavar="HZ", help="tasks per second")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args()
    outcome = soak(chosen.minutes, chosen.rate)
    complaints = outcome.complaints
    if chosen.json:
        print(json.dumps(describe() | asdict(outcome) | {"complaints": complaints}))
    else:
        for name, value in (describe() | asdict(outcome)).items():
            print(f"{name}: {value}")
        print(*complaints or ["nothing to complain of"], sep="\n")
    sys.exit(bool(complaints))


if __name__ == "__main__":
    main()
