"""Intervals of many hosts: as lines of JSON, as lines for people, or for Prometheus.

Rim: touches standard output; `FleetMetrics` is served by ``taskstream.sink.prometheus``.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TextIO

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from taskstream.batch import Origin
from taskstream.chart.chart import DOCUMENTED, SCOPES
from taskstream.chart.draw import draw
from taskstream.interval import Interval
from taskstream.sink.prometheus import Metrics
from taskstream.sink.screen import interval_to_json
from taskstream.text import printable

__all__ = ["FleetMetrics", "HostJson", "HostLines"]


class HostJson:
    """One JSON object per host and interval: that of ``taskstream run --json``, and whose it is."""

    def __init__(self, out: TextIO = sys.stdout, semantics: str = DOCUMENTED) -> None:
        self._out, self._semantics = out, semantics

    def interval(self, origin: Origin, interval: Interval) -> None:
        """Write a line."""
        whose = {"host": origin.host, "boot_id": origin.boot_id, "run_ns": origin.run_ns}
        line = whose | interval_to_json(interval, self._semantics) | {"unseen": interval.unseen}
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()

    def forget(self, origin: Origin) -> None:
        """Keep nothing."""


class HostLines:
    """One line per host, interval, chart and group in which anything happened."""

    def __init__(self, out: TextIO = sys.stdout, semantics: str = DOCUMENTED) -> None:
        self._out, self._semantics = out, semantics

    def interval(self, origin: Origin, interval: Interval) -> None:
        """Write the lines of an interval."""
        time = datetime.fromtimestamp(interval.wall_ns / 1e9).astimezone().strftime("%H:%M:%S")
        for drawing in draw(interval, self._semantics):
            chart = drawing.chart
            if chart.scope != "system" and not any(drawing.values.values()):
                continue
            name = (
                f"{chart.context} {drawing.group}" if SCOPES[chart.scope].label else chart.context
            )
            values = _values(drawing.values, every=chart.scope == "system")
            self._out.write(printable(f"{time}  {origin.host}  {name}  {values}") + "\n")
        self._out.flush()

    def forget(self, origin: Origin) -> None:
        """Keep nothing."""


def _values(values: Mapping[str, float], *, every: bool) -> str:
    return "  ".join(f"{name}={value:g}" for name, value in values.items() if every or value)


class FleetMetrics(Collector):
    """The metrics of every host of which there was an interval, and may be another."""

    def __init__(self) -> None:
        self._hosts: dict[str, Metrics] = {}
        self._runs: dict[str, Origin] = {}

    def interval(self, origin: Origin, interval: Interval) -> None:
        """Take an interval."""
        self._runs[origin.host] = origin
        self._hosts.setdefault(origin.host, Metrics(origin.host)).interval(interval)

    def forget(self, origin: Origin) -> None:
        """Serve a host no more, unless it has a later run."""
        if self._runs.get(origin.host) == origin:
            del self._runs[origin.host], self._hosts[origin.host]

    def collect(self) -> Iterator[Metric]:
        """Yield every metric once, with the samples of all hosts."""
        found: dict[str, Metric] = {}
        for metrics in list(self._hosts.values()):
            for metric in metrics.collect():
                known = found.setdefault(metric.name, metric)
                if known is not metric:
                    known.samples += metric.samples
        yield from found.values()
