"""The counters as metrics that Prometheus scrapes.

Rim: serves HTTP, in a thread of prometheus-client, from numbers that the last interval left. All
that rises is a counter with its events, not a rate: Prometheus divides. How many series there
are is bounded where the groups are: ``[charts] names``.
"""

from collections.abc import Iterator, Mapping
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from taskstream.errors import ConfigError
from taskstream.grouping.outcome import LIFETIMES_NS
from taskstream.interval import COLUMNS, Interval, Series
from taskstream.record import COUNTS

__all__ = ["Metrics", "MetricsServer", "exposition"]

GROUPS = {
    "app": ("app_group", "app group of apps_groups.conf"),
    "cgroup": ("cgroup_name", "cgroup or container"),
    "service": ("service_name", "systemd service"),
    "command": ("command", "name of the task"),
    "user": ("uid", "real user id"),
}
"""Dimensions of `Interval.groups` with a metric of their own, their label and what it is."""

_EVENTS = tuple(count.name for count in COUNTS)


class Metrics(Collector):
    """Turns intervals into metrics.

    Args:
        host: Value of label ``host``.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._last: Interval | None = None
        self._events = dict.fromkeys(_EVENTS, 0)
        self._lost = dict.fromkeys(("ring", "skipped", "dropped", "spool", "damaged"), 0)
        self._received = 0

    def interval(self, interval: Interval) -> None:
        """Take an interval; a scrape sees all of it or nothing of it."""
        events = dict(zip(_EVENTS, interval.counts, strict=True))
        self._events = {name: n + events[name] for name, n in self._events.items()}
        self._received += sum(interval.received)
        agent = interval.agent
        spooled, damaged = (agent.spool_dropped, agent.spool_damaged) if agent else (0, 0)
        self._lost = {
            # What is read late was lost for an interval: a counter may not fall.
            "ring": max(self._lost["ring"], sum(self._events.values()) - self._received),
            "skipped": self._lost["skipped"] + sum(interval.missed.values()),
            "dropped": agent.dropped - spooled - damaged if agent else 0,
            "spool": spooled,
            "damaged": damaged,
        }
        self._last = interval

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; nothing before the first interval is over."""
        last = self._last
        if last is None:
            return
        yield self._counters(
            "taskstream_events",
            "Task lifecycle events of the host, from the kernel's loss-free counters.",
            ("event",),
            {(name,): n for name, n in self._events.items() if self._watched(last, name)},
        )
        for dimension, (label, what) in GROUPS.items():
            if dimension in last.groups:
                yield self._counters(
                    f"taskstream_{dimension}_events",
                    f"Task lifecycle events by {what}.",
                    (label, "event"),
                    dict(self._of_groups(last, last.groups[dimension])),
                )
        yield from self._outcomes(last)
        yield from self._states(last)

    def _watched(self, last: Interval, event: str) -> bool:
        return last.failures_watched or not event.startswith("fail_")

    def _of_groups(
        self, last: Interval, groups: Mapping[str, Series]
    ) -> Iterator[tuple[tuple[str, ...], float]]:
        for group, series in groups.items():
            for name, total in zip(COLUMNS, series.total, strict=True):
                if name in _EVENTS and self._watched(last, name):
                    yield (group, name), total

    def _outcomes(self, last: Interval) -> Iterator[Metric]:
        groups = last.groups
        if last.failures_watched and "errno" in groups:
            yield self._counters(
                "taskstream_failures",
                "Failed fork, vfork, clone, clone3 (create), execve and execveat (exec) calls.",
                ("call", "errno"),
                {
                    (call, errno): series.sum(f"fail_{call}")
                    for errno, series in groups["errno"].items()
                    for call in ("create", "exec")
                },
            )
        if "status" in groups:
            ends: dict[tuple[str, ...], float] = {}
            for status, series in groups["status"].items():
                ends[status, ""] = series.sum("exit_process")
            for signal, series in groups["signal"].items():
                ends["", signal] = series.sum("exit_process")
            yield self._counters(
                "taskstream_process_exits",
                "Processes that ended, by exit status or by the signal that ended them.",
                ("status", "signal"),
                ends,
            )
        if "lifetime" in groups:
            yield self._lifetimes(groups["lifetime"])

    def _lifetimes(self, groups: Mapping[str, Series]) -> Metric:
        """Return the histogram; it has no sum, since only the buckets are counted."""
        bounds = [*(f"{bound / 1e9:g}" for bound in LIFETIMES_NS), "+Inf"]
        buckets, below = [], 0
        for bound in bounds:
            below += groups[bound].sum("exit_process") if bound in groups else 0
            buckets.append((bound, float(below)))
        metric = HistogramMetricFamily(
            "taskstream_process_lifetime_seconds",
            "Time from the creation of a process to its end.",
            labels=("host",),
        )
        metric.add_metric((self._host,), buckets=buckets, sum_value=None)
        return metric

    def _states(self, last: Interval) -> Iterator[Metric]:
        yield self._counters(
            "taskstream_lost_events",
            "Events without a fate in the topic: no room in the ring, probe skipped by the "
            "kernel, dropped by the agent for want of room in its queue, given up by its spool, "
            "damaged there.",
            ("cause",),
            {(cause,): n for cause, n in self._lost.items()},
        )
        yield self._gauge(
            "taskstream_interval_end_timestamp_seconds",
            "Unix time of the end of the interval that these numbers are of.",
            last.wall_ns / 1e9,
        )
        yield self._gauge(
            "taskstream_release_late",
            "1 if releases are seen at sched_process_free, an RCU grace period after release_task.",
            float(last.release_late),
        )
        if last.zombies is not None:
            yield self._gauge(
                "taskstream_zombies",
                "Processes that exited and are not released.",
                last.zombies.level,
            )
            yield self._gauge(
                "taskstream_zombie_oldest_seconds",
                "For how long the oldest of them has been one.",
                last.zombies.oldest_ns / 1e9,
            )
        if last.agent is not None:
            yield self._counters(
                "taskstream_agent_cpu_seconds",
                "CPU time of the agent.",
                (),
                {(): last.agent.cpu_ns / 1e9},
            )
            yield self._counters(
                "taskstream_agent_forgotten_processes",
                "Processes that were forgotten before they were released: raise pid table size.",
                (),
                {(): last.agent.forgotten},
            )
            yield self._counters(
                "taskstream_uncharged_events",
                "Lost events that no process was charged with: raise pid table size.",
                (),
                {(): last.agent.uncharged},
            )
            yield self._gauge(
                "taskstream_agent_resident_memory_bytes",
                "Resident memory of the agent.",
                last.agent.resident_bytes,
            )
            yield self._gauge(
                "taskstream_agent_queued_messages",
                "Messages that the broker has not acknowledged.",
                last.agent.queued,
            )
            yield self._gauge(
                "taskstream_agent_ring_fill_ratio",
                "How much of the ring was taken when it was fullest in the last interval.",
                last.agent.ring_fill,
            )
            if last.agent.spool_fill is not None:
                yield self._gauge(
                    "taskstream_agent_spool_fill_ratio",
                    "How much of the size that the spool may have is taken.",
                    last.agent.spool_fill,
                )

    def _counters(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        values: Mapping[tuple[str, ...], float],
    ) -> Metric:
        metric = CounterMetricFamily(name, text, labels=("host", *labels))
        for of, value in values.items():
            metric.add_metric((self._host, *of), value)
        return metric

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        metric = GaugeMetricFamily(name, text, labels=("host",))
        metric.add_metric((self._host,), value)
        return metric


def exposition(metrics: Metrics) -> str:
    """Return metrics in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry).decode()


class MetricsServer:
    """Serves metrics at ``/metrics``.

    Args:
        metrics: What to serve.
        address: Host name or address to listen on.
        port: Port to listen on; 0 for one that is free.

    Attributes:
        port: The port.
        url: Where they are.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, metrics: Collector, address: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(metrics)
        try:
            self._server, self._thread = start_http_server(port, address, registry)
        except OSError as error:
            raise ConfigError(
                f"metrics cannot be served at {address}:{port}: {error.strerror}: name "
                "another address ([prometheus] listen, or --listen)"
            ) from None
        host = f"[{address}]" if ":" in address else address
        self.port: int = self._server.server_port
        self.url = f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
