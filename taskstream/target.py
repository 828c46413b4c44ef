"""Where a replay can go: a sink that publishes, a capture, or whoever shows intervals.

Rim: each touches what its sink touches. A target makes its caller wait for room, so that nothing
of a file that can be read at any time is dropped.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Batch, Labels, take
from taskstream.capture.content import Loss, Names, content_of
from taskstream.capture.frame import Frame
from taskstream.charge import Charges
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.interval import Interval
from taskstream.message.batch_decode import read_head
from taskstream.message.message import Messages
from taskstream.record import KINDS
from taskstream.report import Report
from taskstream.sink.capture import CaptureSink
from taskstream.sink.kafka import KafkaSink

__all__ = ["WINDOW_NS", "CaptureTarget", "ChartTarget", "GroupTarget", "KafkaTarget", "Shows"]

WAIT_MS = 1 << 40
"""A queue wait that never ends: a replay waits for the broker."""


WINDOW_NS = 10**9
"""Intervals are whole seconds long, and begin at a whole second since boot."""


class Shows(Protocol):
    """What shows intervals: a screen, a file, an exporter."""

    def interval(self, interval: Interval) -> None:
        """Show an interval that was closed."""


class ChartTarget:
    """Shows the intervals of the reports; the events are left packed.

    Args:
        shows: Each is given every interval.
    """

    def __init__(self, *shows: Shows) -> None:
        self._shows = shows

    def frame(self, _frame: Frame) -> bool:
        """Leave the events where they are: the reports have their counts."""
        return True

    def write(self, batch: Batch) -> None:
        """Leave the events: `SelectedCounts` has counted them."""

    def report(self, report: Report) -> None:
        """Show the interval that was closed."""
        if report.interval is not None:
            for one in self._shows:
                one.interval(report.interval)

    def names(self, names: Names) -> None:
        """Leave the names: the charts of the system have none."""

    def loss(self, loss: Loss) -> None:
        """Leave it: what was lost was counted, and is in the intervals."""

    def wait(self, stop: Callable[[], bool]) -> None:
        """Return at once."""


class KafkaTarget:
    """Publishes to a topic.

    Args:
        sink: The topic; its queue wait must be `WAIT_MS`.
    """

    def __init__(self, sink: KafkaSink) -> None:
        self.sink = sink

    def frame(self, frame: Frame) -> bool:
        """Publish a frame's payload as it is, where the topic wants `batch` messages."""
        options = self.sink.options
        if options.message != "batch" or options.shard_count > 1:
            return False
        if frame.payload_bytes > self.sink.most_bytes:
            return False
        value = frame.payload()
        head = read_head(value)
        key = f"{head.origin.host}/0".encode()
        self.sink.publish(Messages([value], [key], [head.wall_ns // 1_000_000], [], [head.count]))
        return True

    def write(self, batch: Batch) -> None:
        """Publish events."""
        self.sink.write(batch)

    def report(self, report: Report) -> None:
        """Publish a report, when there is room for it."""
        while not self.sink.try_report(report):
            self.sink.settle(0.02)

    def names(self, names: Names) -> None:
        """Leave the names: events carry theirs."""

    def loss(self, loss: Loss) -> None:
        """Leave it: the reports say how many events there were."""

    def wait(self, stop: Callable[[], bool]) -> None:
        """Wait until librdkafka's queue has taken everything."""
        while self.sink.waiting and not stop():
            self.sink.settle(0.02)
            self.sink.tick()


class CaptureTarget:
    """Writes another capture.

    Args:
        sink: The capture.
    """

    def __init__(self, sink: CaptureSink) -> None:
        self.sink = sink

    def frame(self, _frame: Frame) -> bool:
        """Have the events decoded, so that frames are filled anew."""
        return False

    def write(self, batch: Batch) -> None:
        """Write events."""
        self.sink.write(batch)

    def report(self, report: Report) -> None:
        """Write a report, as it was."""
        self.sink.copy_report(report)

    def names(self, names: Names) -> None:
        """Write names."""
        self.sink.names(names)

    def loss(self, loss: Loss) -> None:
        """Write it, as it was: what could not be had then is not here either."""
        self.sink.copy_loss(loss)

    def wait(self, stop: Callable[[], bool]) -> None:
        """Return at once: a write is done when it returns."""


class GroupTarget:
    """Shows the intervals of the reports with the groups of their events, and of lost ones.

    Args:
        tally: Counts by group; its windows must be of `WINDOW_NS`.
        cgroups: Learns the names of the capture.
        shows: Each is given every interval.
        by_rules: The rules of the tally decide on app groups, whatever the agent had decided.
    """

    def __init__(
        self, tally: Tally, cgroups: CgroupNames, *shows: Shows, by_rules: bool = False
    ) -> None:
        self._tally, self._cgroups, self._shows = tally, cgroups, shows
        self._by_rules = by_rules
        self._charges: list[Charges] = []

    def frame(self, frame: Frame) -> bool:
        """Count the events of a frame; their arguments are left, if no rule looks at them."""
        batch = content_of(frame, args=self._tally.choice.apps)
        assert isinstance(batch, Batch)
        self.write(batch)
        return True

    def write(self, batch: Batch) -> None:
        """Count events; tasks of a snapshot have their command lines no more."""
        running = batch.records["kind"] == KINDS["task"]
        if running.any():
            self._tally.meet(take(batch.records, np.flatnonzero(running)), {})
        if batch.labels is not None and self._tally.choice.cgroups:
            self._learn_paths(batch.records, batch.labels)
        self._tally.add(replace(batch, labels=None) if self._by_rules else batch)

    def _learn_paths(self, records: NDArray[np.void], labels: Labels) -> None:
        """Learn of the cgroups that nothing told of before but an event."""
        ids, rows = np.unique(records["cgroup_id"], return_index=True)
        for id_, row in zip(ids.tolist(), labels.rows[rows].tolist(), strict=True):
            path = labels.table[row].cgroup
            if path is not None and self._cgroups.get(id_) is None:
                self._cgroups.learn(id_, path)

    def report(self, report: Report) -> None:
        """Count what was charged, and show the interval that was closed."""
        if report.charges is not None:
            self._charges.append(report.charges)
        interval = report.interval
        if interval is None:
            return
        # An interval holds its beginning, not its end; but for the last of a run, which holds
        # whatever comes.
        window = (interval.end_ns - (not report.final)) // WINDOW_NS
        for cgroup in interval.cgroups:
            self._cgroups.learn_charted(*cgroup)
        if self._charges:
            charges = Charges.join(self._charges)
            self._tally.charge(window, replace(charges, labels=None) if self._by_rules else charges)
            self._charges.clear()
        groups, zombies = self._tally.close(window, interval.end_ns)
        if interval.zombies is not None:  # it asked /proc
            zombies = interval.zombies
        for one in self._shows:
            one.interval(replace(interval, groups=groups, zombies=zombies))

    def names(self, names: Names) -> None:
        """Learn the names of cgroups."""
        self._cgroups.learn_all(names.cgroups.items())

    def loss(self, loss: Loss) -> None:
        """Leave it: what was lost was counted, and is in the intervals."""

    def wait(self, stop: Callable[[], bool]) -> None:
        """Return at once."""
