"""Drawn charts as messages of the topic of rates: one map per host, chart and interval.

Rim: publishes through whoever has a producer. ``schemas/rates.json`` describes the messages.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any, Protocol

from taskstream.batch import Origin
from taskstream.changelog import Outgoing
from taskstream.chart.chart import DOCUMENTED, SCOPES
from taskstream.chart.draw import Drawing, draw
from taskstream.interval import Interval
from taskstream.message.columns import pack
from taskstream.record import VERSION

__all__ = ["Publisher", "RatesRecords", "RatesTopic", "messages"]

MOST_GROUPS = 2000


class Publisher(Protocol):
    """What can publish a message."""

    def send(
        self, what: str, topic: str, message: Mapping[str, Any], key: bytes, stamp_ms: int
    ) -> None:
        """Publish a message that is no event, without waiting."""


class RatesTopic:
    """Publishes the charts of each interval.

    Args:
        publisher: Who publishes.
        topic: Where to.
        origin: The run.
        semantics: Whose formulas, ``documented`` or ``netdata``.
    """

    def __init__(
        self, publisher: Publisher, topic: str, origin: Origin, semantics: str = DOCUMENTED
    ) -> None:
        self._publisher = publisher
        self._topic = topic
        self._origin = origin
        self._semantics = semantics

    def interval(self, interval: Interval) -> None:
        """Publish the charts of an interval."""
        for message in messages(interval, self._origin, self._semantics):
            stamp_ms = interval.wall_ns // 1_000_000
            self._publisher.send("rates", self._topic, message, _key(message), stamp_ms)


class RatesRecords:
    """Makes the same of intervals of any number of runs, for whoever writes them.

    Args:
        topic: Where to.
        semantics: Whose formulas, ``documented`` or ``netdata``.
        packed: Makes a message's bytes.
    """

    def __init__(
        self, topic: str, semantics: str = DOCUMENTED, packed: Callable[[Any], bytes] = pack
    ) -> None:
        self._topic, self._semantics, self._packed = topic, semantics, packed
        self._records: list[Outgoing] = []

    def interval(self, origin: Origin, interval: Interval) -> None:
        """Take an interval of a run."""
        for message in messages(interval, origin, self._semantics):
            value, stamp_ms = self._packed(message), interval.wall_ns // 1_000_000
            self._records.append(Outgoing(self._topic, None, _key(message), value, stamp_ms))

    def forget(self, origin: Origin) -> None:
        """Keep nothing."""

    def take(self) -> list[Outgoing]:
        """Return the messages of the intervals that came since the last call."""
        records, self._records = self._records, []
        return records


def _key(message: Mapping[str, Any]) -> bytes:
    return f"{message['host']}/{message['chart']}".encode()


def messages(interval: Interval, origin: Origin, semantics: str) -> Iterator[dict[str, Any]]:
    """Yield the maps of an interval, one per chart; more where there are very many groups."""
    for _, drawings in groupby(draw(interval, semantics), lambda drawing: drawing.chart.context):
        groups = list(drawings)
        for at in range(0, len(groups), MOST_GROUPS):
            yield _message(interval, origin, semantics, groups[at : at + MOST_GROUPS])


def _message(
    interval: Interval, origin: Origin, semantics: str, groups: list[Drawing]
) -> dict[str, Any]:
    chart = groups[0].chart
    offset_ns = interval.wall_ns - interval.end_ns
    return {
        "v": VERSION,
        "kind": "rates",
        "host": origin.host,
        "boot_id": origin.boot_id,
        "run_ns": origin.run_ns,
        "chart": chart.context,
        "unit": chart.unit,
        "label": SCOPES[chart.scope].label or None,
        "semantics": semantics,
        "start_ns": interval.start_ns,
        "end_ns": interval.end_ns,
        "start_wall_ns": interval.start_ns + offset_ns,
        "end_wall_ns": interval.wall_ns,
        "exact": interval.exact,
        "release_late": interval.release_late,
        "groups": [
            {
                "group": drawing.group or None,
                "counts": dict(drawing.counts),
                "values": dict(drawing.values),
            }
            for drawing in groups
        ],
    }
