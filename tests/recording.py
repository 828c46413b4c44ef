"""Runs of real agents for tests: recorded, read from their captures, and given to other hosts.

What ``tests.agent_run`` makes up is known beforehand, to the event. What is here went through the
kernel, the agent and the file, so it holds what nobody would have thought of.
"""

import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from taskstream.batch import Batch, Origin
from taskstream.capture.content import Loss, Names
from taskstream.capture.frame import Frame
from taskstream.capture.reader import CaptureFile
from taskstream.grouping.apps import AppGroups
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.interval import Interval
from taskstream.rates import count_column
from taskstream.replay import Replay, Target
from taskstream.report import Report
from taskstream.selection import Selection
from taskstream.target import WINDOW_NS, ChartTarget, GroupTarget
from tests.agent_run import CHOICE, drawn, moved
from tests.command import start
from tests.needs import need_root

__all__ = ["Host", "Recording", "record"]

RULES = "shells: sh dash\ntrue: true\n"
EVERYTHING = "[global]\napps = yes\ncgroups = yes\n[charts]\ncommands = yes\nusers = yes\n"
TINY = "[ring]\nsize = 4096\n[stream]\nflush ms = 300\n"
BURST = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do /bin/true & done; wait"


def record(folder: Path) -> list["Recording"]:
    """Record three seconds of this machine, twice: whole, and with a ring that overflowed."""
    need_root("captures are recorded")
    agents, paths = [], []
    for name, ring in (("whole", ""), ("overflowing", TINY)):
        config = folder / name
        config.mkdir()
        (config / "process.conf").write_text(EVERYTHING + ring)
        (config / "apps_groups.conf").write_text(RULES)
        paths.append(config / "host.tsc")
        words = ("capture", paths[-1], "--quiet", "--update-every", "1")
        agents.append(start(*words, TASKSTREAM_CONFIG_DIR=str(config)))
    try:
        for agent in agents:
            _wait_for_begin(agent)
        _work(agents[1])
        for agent in agents:
            agent.send_signal(signal.SIGTERM)
        for agent in agents:
            _, err = agent.communicate(timeout=30)
            assert "dropped 0" in err, err
    finally:
        for agent in agents:
            agent.kill()
            agent.communicate()
    recordings = [Recording(path) for path in paths]
    assert [recording.lost > 0 for recording in recordings] == [False, True]
    return recordings


def _wait_for_begin(agent: subprocess.Popen[str]) -> None:
    assert agent.stderr is not None
    said = []
    for line in agent.stderr:
        said.append(line)
        if "writing to" in line:
            return
    raise AssertionError("".join(said))


def _work(overflowing: subprocess.Popen[str]) -> None:
    """Start some programs, for three seconds, while one of the agents is stopped now and then."""
    for number in range(6):
        if number % 3 == 1:
            overflowing.send_signal(signal.SIGSTOP)
        subprocess.run(["sh", "-c", BURST], check=True)
        overflowing.send_signal(signal.SIGCONT)
        time.sleep(0.5)  # what happens is spread over intervals


class Recording:
    """A capture, read through the package: its stream, and the charts that it says.

    Attributes:
        stream: Batches and reports, in their order.
        intervals: What the reports say, with the groups that the agent counted.
    """

    def __init__(self, path: Path) -> None:
        kept = _Kept()
        _replay(path, kept)
        self.stream, self.intervals = kept.stream, kept.intervals
        cgroups = CgroupNames()
        tally = Tally(WINDOW_NS, CHOICE, rules=AppGroups([]), cgroups=cgroups)
        _replay(path, GroupTarget(tally, cgroups, kept))

    @property
    def lost(self) -> int:
        """Events for which the ring had no room."""
        return sum(sum(i.counts) - sum(i.received) for i in self.intervals)

    def of(self, host: str, boot_id: str, skew_ns: int, intervals: int | None = None) -> "Host":
        """Return another host that had the same run.

        Args:
            host: Its name.
            boot_id: Its boot.
            skew_ns: How far its clock is ahead.
            intervals: After how many it falls silent, at the end of the next; None for never.
        """
        stream, told = self.stream, self.intervals
        if intervals is not None:
            closed = [at for at, one in enumerate(stream) if _closes(one)]
            stream, told = stream[: closed[intervals]], told[:intervals]
        origin = replace(next(b.origin for b in stream), host=host, boot_id=boot_id)
        return Host(
            origin,
            [moved(one, origin, skew_ns) for one in stream],
            [drawn(origin, replace(i, wall_ns=i.wall_ns + skew_ns)) for i in told],
        )


@dataclass(frozen=True)
class Host:
    """A host of a fleet: what its agent publishes, and the charts that it drew."""

    origin: Origin
    stream: Sequence[Batch | Report]
    drawn: list[list[Any]]

    @property
    def events(self) -> int:
        """How many events there are; tasks that ran before the agent are none."""
        batches = (one for one in self.stream if isinstance(one, Batch))
        return sum(int((count_column(batch.records) >= 0).sum()) for batch in batches)


def _closes(one: Batch | Report) -> bool:
    return isinstance(one, Report) and one.interval is not None


class _Kept(ChartTarget):
    """Keeps the stream of a replay; shows intervals to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: list[Batch | Report] = []
        self.intervals: list[Interval] = []

    def frame(self, _frame: Frame) -> bool:
        return False

    def write(self, batch: Batch) -> None:
        self.stream.append(batch)

    def report(self, report: Report) -> None:
        self.stream.append(report)

    def names(self, names: Names) -> None:
        """Events carry theirs."""

    def loss(self, loss: Loss) -> None:
        """The reports have what was lost."""

    def interval(self, interval: Interval) -> None:
        self.intervals.append(interval)


def _replay(path: Path, target: Target) -> None:
    with CaptureFile(path) as file:
        totals = Replay([file], target, selection=Selection()).run(lambda: False)
    assert totals.complete
    assert totals.read == totals.replayed
