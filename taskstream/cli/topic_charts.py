"""The charts of one host, drawn from the events and reports of a topic."""

from collections.abc import Callable, Iterable

from taskstream.batch import Batch, Origin
from taskstream.errors import ConfigError
from taskstream.order import StreamOrder
from taskstream.report import Report
from taskstream.target import GroupTarget

__all__ = ["TopicCharts"]

PATIENCE_NS = 2_000_000_000
"""How long a report waits for events that other partitions may have."""


class TopicCharts:
    """Draws each run of an agent by itself, as the agent did.

    Args:
        make_target: Makes what counts and shows a run.
        host: The host; empty for the only one.
    """

    def __init__(self, make_target: Callable[[], GroupTarget], host: str) -> None:
        self._make_target, self._host = make_target, host
        self._runs: dict[Origin, tuple[StreamOrder, GroupTarget]] = {}

    def take(self, batches: Iterable[Batch], reports: Iterable[Report], now_ns: int) -> None:
        """Take what came, each event for the first time; show what is complete.

        Args:
            batches: Events.
            reports: Reports.
            now_ns: A clock that never goes back.

        Raises:
            ConfigError: a second host is in the topic, and none was named.
        """
        for batch in batches:
            if self._is_wanted(batch.origin):
                self._run(batch.origin)[0].add(batch)
        for report in reports:
            if self._is_wanted(report.origin):
                self._run(report.origin)[0].report(report, now_ns)
        self._show(now_ns - PATIENCE_NS)

    def finish(self) -> int:
        """Show what is left; return the events of which no report told in time."""
        self._show(None)
        return sum(order.late for order, _ in self._runs.values())

    def _is_wanted(self, origin: Origin) -> bool:
        known = next((run.host for run in self._runs), origin.host)
        if not self._host and known != origin.host:
            raise ConfigError(
                f"the topic has events of {known} and of {origin.host}: name one with --host"
            )
        return origin.host == (self._host or known)

    def _run(self, origin: Origin) -> tuple[StreamOrder, GroupTarget]:
        if origin not in self._runs:
            self._runs[origin] = StreamOrder(), self._make_target()
        return self._runs[origin]

    def _show(self, before_ns: int | None) -> None:
        for _, (order, target) in sorted(self._runs.items(), key=lambda run: run[0].run_ns):
            for one in order.take(before_ns):
                if isinstance(one, Report):
                    target.report(one)
                else:
                    target.write(one)
