"""What a run tells of itself when it is asked (``taskstream status``)."""

import os
from typing import Any

from taskstream import __version__, clock
from taskstream.config.config import OFF, Config
from taskstream.effective import in_force
from taskstream.interval import Interval
from taskstream.pipeline import Pipeline
from taskstream.sink.discard import Discard
from taskstream.sink.kafka import KafkaSink
from taskstream.source.live import LiveSource

__all__ = ["State"]


class State:
    """Tells what an agent is doing.

    Args:
        config: The effective settings.
        source: Its source.
        sink: Its topic.
        pipeline: Its loop.

    Attributes:
        last: The interval that ended last; None before one did.
    """

    def __init__(
        self, config: Config, source: LiveSource, sink: KafkaSink | Discard, pipeline: Pipeline
    ) -> None:
        self._config = config
        self._source = source
        self._sink = sink
        self._pipeline = pipeline
        self.last: Interval | None = None

    def interval(self, interval: Interval) -> None:
        """Take note of an interval."""
        self.last = interval

    def __call__(self) -> dict[str, Any]:
        """Return it as a map; nothing secret is in it."""
        totals, plan = self._pipeline.totals(), self._source.plan
        return {
            "pid": os.getpid(),
            "host": self._source.origin.host,
            "version": __version__,
            "run_ns": self._source.origin.run_ns,
            "running_s": (clock.boot_ns() - self._source.origin.run_ns) / 1e9,
            "type_format": plan.type_format,
            "buffer": plan.buffer,
            "hooks": [{"kind": h.kind, "program": h.program, "place": h.place} for h in plan.hooks],
            "notes": list(self._source.notes),
            "publishing": {
                "bootstrap": self._config.bootstrap,
                "topic": self._config.topic if self._config.bootstrap != OFF else None,
                "queued": self._sink.in_queue(),
                "trouble": self._sink.trouble,
            },
            "counted": totals.counted,
            "read": totals.read,
            "lost": totals.lost,
            "skipped": totals.missed,
            "dropped": totals.account.dropped,
            "closing_line": totals.line(),
            "last_interval": self.last and _rates(self.last),
            "options": list(in_force(self._config)),
        }


def _rates(interval: Interval) -> dict[str, Any]:
    seconds = interval.seconds or 1.0
    lost = {
        "ring": interval.lost(),
        "skipped": sum(interval.missed.values()),
        "dropped": interval.agent.since("dropped") if interval.agent else 0,
    }
    return {
        "end_ns": interval.end_ns,
        "seconds": interval.seconds,
        "events_per_second": sum(interval.counts) / seconds,
        "lost_per_second": {cause: events / seconds for cause, events in lost.items()},
    }
