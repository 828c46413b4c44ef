"""The charts of the topic of rates as metrics that Prometheus scrapes, of any number of hosts.

Rim: collected in a thread of prometheus-client, which serves it (``taskstream.sink.prometheus``).
A chart of what happened is a counter of its events, not of its rates: Prometheus divides. How many
series there are is bounded: by hosts, by groups of each kind, and by how long a host is silent.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from taskstream.chart.chart import SCOPES, Chart
from taskstream.chart.state import STATES
from taskstream.chart.table import CHARTS
from taskstream.errors import MessageError

__all__ = ["MetricBounds", "RatesMetrics"]

OTHER = "other"
"""The group of what finds no series of its own; an agent has one of that name, too."""

_OVERDUE = 3
"""After so many of its intervals without a message a host is silent, however long they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBounds:
    """How much there may be.

    Attributes:
        hosts: How many hosts have metrics.
        groups: How many groups of each kind a host has; the others are counted in `OTHER`.
        silent_s: After so long without a message a host is silent: its metrics end.
        forget_s: So long after that it is forgotten.
    """

    hosts: int = 1000
    groups: int = 1000
    silent_s: float = 60
    forget_s: float = 3600


@dataclass(frozen=True, slots=True)
class _Family:
    """A metric: its name, what it is, its labels beside ``host``, and whether it is a counter."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    rises: bool = False


@dataclass(frozen=True, slots=True)
class _State:
    """Where a value of a chart of `taskstream.chart.state.STATES` goes.

    Attributes:
        family: The metric.
        labels: Values of its labels.
        scale: What the value is multiplied with.
        per_second: It is per second of the interval, and what it stands for is summed up.
    """

    family: _Family
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    per_second: bool = False


def _family(chart: Chart) -> _Family:
    """Return the metric of a chart: a counter, unless it draws a difference."""
    scope = SCOPES[chart.scope]
    group = scope.label or _BY_DIMENSION.get(chart.scope, "")
    labels = (group,) if group else ("dimension",) if len(chart.names) > 1 else ()
    what = chart.context.removeprefix("taskstream.").replace(".", "_")
    text = f"Chart {chart.context}: {chart.title[0].lower()}{chart.title[1:]}."
    rises = chart.dimensions[0].documented.per_second
    return _Family(f"taskstream_{what}", text, labels, rises)


_BY_DIMENSION = {
    "services": "service_name",
    "errno": "errno",
    "status": "status",
    "signal": "signal",
    "lifetime": "lifetime",
}
"""Label of the scopes whose groups are dimensions of one chart."""

_CHARTS: Final = {chart.context: (chart, _family(chart)) for chart in CHARTS}

_LOST = _Family("taskstream_lost_events", "Chart taskstream.lost: events lost by cause.",
                ("cause",), rises=True)  # fmt: skip
_STATES: Final = {
    "zombies": _State(_Family("taskstream_zombies", "Processes that exited and are not released.")),
    "oldest": _State(
        _Family("taskstream_zombie_oldest_seconds", "For how long the oldest of them has been one.")
    ),
    "ring": _State(_LOST, ("ring",)),
    "skipped": _State(_LOST, ("skipped",)),
    "dropped": _State(_LOST, ("dropped",)),
    "spool_dropped": _State(_LOST, ("spool",)),
    "spool_damaged": _State(_LOST, ("damaged",)),
    "uncharged": _State(
        _Family(
            "taskstream_uncharged_events",
            "Lost events without a process, counted in other.",
            rises=True,
        )
    ),
    "cpu": _State(
        _Family("taskstream_agent_cpu_seconds", "CPU time of the agent.", rises=True),
        scale=0.01,
        per_second=True,
    ),
    "resident": _State(
        _Family("taskstream_agent_resident_memory_bytes", "Resident memory of the agent."),
        scale=2.0**20,
    ),
    "queued": _State(
        _Family(
            "taskstream_agent_queued_messages", "Messages that the broker has not acknowledged."
        )
    ),
    "ring_fill": _State(
        _Family(
            "taskstream_agent_ring_fill_ratio",
            "How much of the ring was taken when it was fullest in the last interval.",
        ),
        scale=0.01,
    ),
    "spool_fill": _State(
        _Family(
            "taskstream_agent_spool_fill_ratio",
            "How much of the size that the spool may have is taken.",
        ),
        scale=0.01,
    ),
}
"""By dimension of the charts."""

_STATE_CHARTS = {state.chart.context for state in STATES}

_END = _Family(
    "taskstream_interval_end_timestamp_seconds", "Unix time of the end of the host's last interval."
)
_LATE = _Family(
    "taskstream_release_late",
    "1 if releases are seen at sched_process_free, an RCU grace period after release_task.",
)
_UP = _Family("taskstream_host_up", "1 while rates of the host come; 0 when it fell silent.")

FAMILIES: Final = (
    _UP,
    _END,
    _LATE,
    *(family for _, family in _CHARTS.values()),
    *dict.fromkeys(state.family for state in _STATES.values()),
)
"""Every metric of a host."""


_Run = tuple[str, int]

_Values = dict[_Family, dict[tuple[str, ...], float]]
"""By metric and values of its labels."""


@dataclass(slots=True)
class _Seen:
    """What was taken of a chart's last interval: a copy of a message is left out by it."""

    run: _Run
    end_ns: int
    groups: set[str]


@dataclass(slots=True)
class _Host:
    """What is known of a host.

    Attributes:
        came_ns: When its last message came.
        length_ns: Length of its last interval.
        run: The run of its agent of which the last message was.
        end_ns: End of the last interval of that run.
        values: What is served.
        sums: Of what may fall for an interval: the sum, where ``values`` has its highest.
        groups: Groups that have series, by scope.
        seen: By chart.
    """

    came_ns: int = 0
    length_ns: int = 0
    run: _Run = ("", 0)
    end_ns: int = 0
    values: _Values = field(default_factory=dict)
    sums: _Values = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)
    seen: dict[str, _Seen] = field(default_factory=dict)


class RatesMetrics(Collector):
    """Takes messages of the topic of rates, and yields metrics.

    Args:
        bounds: How much there may be.
        now_ns: A clock that does not go back.

    Attributes:
        messages: Messages that were taken.
        left_out: Messages of hosts for which there was no room.
    """

    def __init__(
        self,
        bounds: MetricBounds | None = None,
        *,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.messages = self.left_out = 0
        self._bounds = bounds or MetricBounds()
        self._now_ns = now_ns
        self._hosts: dict[str, _Host] = {}
        self._lock = Lock()

    @property
    def hosts(self) -> int:
        """How many hosts are known."""
        return len(self._hosts)

    # --- taking ---

    def take(self, message: Mapping[str, Any]) -> None:
        """Take a message, unless it is a copy of one that was taken.

        Raises:
            MessageError: it lacks or spoils a member; nothing of it was taken.
        """
        with self._lock:
            try:
                self._take(message)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                raise MessageError(f"rates lack or spoil a member: {error!r}") from None

    def _take(self, message: Mapping[str, Any]) -> None:
        name, context = str(message["host"]), message["chart"]
        run = str(message["boot_id"]), int(message["run_ns"])
        end_ns, length_ns = int(message["end_ns"]), int(message["end_ns"] - message["start_ns"])
        told = {_END: message["end_wall_ns"] / 1e9, _LATE: float(bool(message["release_late"]))}
        groups = [
            (str(group["group"] or ""), {str(k): int(v) for k, v in group["counts"].items()},
             {str(k): float(v) for k, v in group["values"].items()})
            for group in message["groups"]
        ]  # fmt: skip
        host = self._host(name)
        if host is None:
            self.left_out += 1
            return
        self.messages += 1
        if context not in _CHARTS and context not in _STATE_CHARTS:  # of a newer agent
            return
        host.came_ns, host.length_ns = self._now_ns(), length_ns
        if host.run != run:  # what the one before told of itself holds no more
            host.run, host.end_ns = run, 0
            host.values = {f: series for f, series in host.values.items() if f.rises}
        seen = host.seen.get(context)
        if seen is None or seen.run != run or seen.end_ns < end_ns:
            seen = host.seen[context] = _Seen(run, end_ns, set())
        elif seen.end_ns > end_ns:
            return
        if end_ns >= host.end_ns:  # another chart may be ahead, in another partition
            host.end_ns = end_ns
            host.values |= {family: {(): value} for family, value in told.items()}
        for group, counts, values in groups:
            if group in seen.groups:
                continue
            seen.groups.add(group)
            if context in _CHARTS:
                self._draw(host, *_CHARTS[context], group, counts, values)
            else:
                _note(host, values, length_ns / 1e9)

    def _host(self, name: str) -> _Host | None:
        """Return a host; None if there is no room for one more."""
        if name not in self._hosts:
            self._forget()
            if len(self._hosts) >= self._bounds.hosts:
                return None
            self._hosts[name] = _Host()
        return self._hosts[name]

    def _draw(
        self,
        host: _Host,
        chart: Chart,
        family: _Family,
        group: str,
        counts: Mapping[str, int],
        values: Mapping[str, float],
    ) -> None:
        """Take a chart that is drawn from counts, of one group or of all of them."""
        series = host.values.setdefault(family, {})
        for dimension, value in (counts if family.rises else values).items():
            labels: tuple[str, ...] = (dimension,) if family.labels else ()
            if SCOPES[chart.scope].groups:
                name = group if SCOPES[chart.scope].label else dimension
                labels = (self._group(host, chart.scope, name),)
            elif dimension not in chart.names:  # of a newer agent
                continue
            if family.rises:  # Netdata's formula of what was closed is below zero
                series[labels] = series.get(labels, 0) + abs(value)
            else:
                series[labels] = value

    def _group(self, host: _Host, scope: str, name: str) -> str:
        """Return the group under which one is counted."""
        known = host.groups.setdefault(scope, set())
        if name not in known:
            if len(known) >= self._bounds.groups:
                return OTHER
            known.add(name)
        return name

    def _forget(self) -> None:
        after_ns = int(self._bounds.forget_s * 1e9)
        for name in [n for n, host in self._hosts.items() if self._silent_ns(host) > after_ns]:
            del self._hosts[name]

    def _silent_ns(self, host: _Host) -> int:
        """Return for how long a host has been silent; 0 or less if it is not."""
        patience_ns = max(int(self._bounds.silent_s * 1e9), _OVERDUE * host.length_ns)
        return self._now_ns() - host.came_ns - patience_ns

    # --- telling ---

    def collect(self) -> Iterator[Metric]:
        """Yield every metric once, with the samples of all hosts."""
        with self._lock:
            self._forget()
            found = {family: _metric(family) for family in FAMILIES}
            for name, host in self._hosts.items():
                silent = self._silent_ns(host) > 0
                found[_UP].add_metric((name,), float(not silent))
                for family, series in {} if silent else host.values.items():
                    for labels, value in series.items():
                        found[family].add_metric((name, *labels), value)
            known, left_out = len(self._hosts), self.left_out
        yield from (metric for metric in found.values() if metric.samples)
        yield GaugeMetricFamily("taskstream_hosts", "Hosts that are known.", known)
        text = "Messages of hosts for which there was no room (--hosts)."
        yield CounterMetricFamily("taskstream_left_out_messages", text, left_out)


def _note(host: _Host, values: Mapping[str, float], seconds: float) -> None:
    """Take the values of a chart that is not drawn from counts."""
    for dimension, value in values.items():
        state = _STATES.get(dimension)
        if state is None:  # of a newer agent
            continue
        series = host.values.setdefault(state.family, {})
        value *= state.scale * (seconds if state.per_second else 1)
        if state.family.rises:
            # What is read late was lost for an interval: a counter may not fall.
            sums = host.sums.setdefault(state.family, {})
            sums[state.labels] = sums.get(state.labels, 0) + value
            value = max(series.get(state.labels, 0), sums[state.labels])
        series[state.labels] = value


def _metric(family: _Family) -> CounterMetricFamily | GaugeMetricFamily:
    make = CounterMetricFamily if family.rises else GaugeMetricFamily
    return make(family.name, family.text, labels=("host", *family.labels))
