"""Where intervals of many hosts go."""

from dataclasses import replace

from taskstream.batch import Origin
from taskstream.interval import Interval
from taskstream.record import COUNTS
from taskstream.sink.outlet import FleetMetrics
from tests.agent_run import HOST

COUNTED = tuple(range(len(COUNTS)))
INTERVAL = Interval(start_ns=0, end_ns=10**9, wall_ns=10**9, counts=COUNTED, received=COUNTED)


def hosts(metrics: FleetMetrics) -> set[str]:
    return {
        sample.labels["host"]
        for metric in metrics.collect()
        for sample in metric.samples
        if "host" in sample.labels
    }


def test_metrics_of_a_host_are_served_until_its_last_run_is_forgotten():
    metrics, other = FleetMetrics(), replace(HOST, host="other")
    later = Origin(HOST.host, HOST.boot_id, HOST.run_ns + 1)
    for origin in (HOST, other, later):
        metrics.interval(origin, INTERVAL)
    metrics.forget(HOST)
    assert hosts(metrics) == {HOST.host, "other"}
    metrics.forget(later)
    assert hosts(metrics) == {"other"}
    metrics.forget(later)
