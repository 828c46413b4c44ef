"""The dashboard asks for metrics that there are, in expressions that Prometheus reads."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from taskstream.interval import Agent, Interval, Series, Zombies
from taskstream.record import COUNTS
from taskstream.sink.prometheus import GROUPS, Metrics
from tests.unpacked import program

PATH = Path(__file__).parents[2] / "dashboards/grafana.json"
DASHBOARD: dict[str, Any] = json.loads(PATH.read_text())
TARGETS = [(p["title"], t) for p in DASHBOARD["panels"] for t in p["targets"]]
SERIES = Series((1,) * (len(COUNTS) + 1), (1,) * (len(COUNTS) + 1))


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Return the labels of every sample that is exported, by its name."""
    dimensions = (*GROUPS, "errno", "status", "signal", "lifetime")
    metrics = Metrics("web-3")
    metrics.interval(
        Interval(
            start_ns=0,
            end_ns=1,
            wall_ns=0,
            counts=(1,) * len(COUNTS),
            received=(1,) * len(COUNTS),
            groups={dimension: {"a": SERIES} for dimension in dimensions},
            zombies=Zombies(0, 0),
            agent=Agent(cpu_ns=0, resident_bytes=0, queued=0, dropped=0, forgotten=0),
        )
    )
    samples = [sample for family in metrics.collect() for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


@pytest.mark.parametrize("target", [t for _, t in TARGETS], ids=[title for title, _ in TARGETS])
def test_a_panel_asks_for_exported_metrics_and_labels(target, exported):
    expression = target["expr"]
    metrics = set(re.findall(r"\btaskstream_\w+", expression))
    assert metrics
    assert metrics <= exported.keys()
    labels = set().union(*(exported[metric] for metric in metrics))
    matched = set(re.findall(r"(\w+)(?:=~|!=|=)\"", expression))
    grouped = {g.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for g in by.split(",")}
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert matched | grouped <= labels
    assert shown <= grouped | ({"host"} if "by" not in expression else set())


def test_every_metric_of_groups_and_outcomes_has_a_panel():
    asked = " ".join(target["expr"] for _, target in TARGETS)
    for metric in (
        "taskstream_events_total",
        "taskstream_app_events_total",
        "taskstream_cgroup_events_total",
        "taskstream_service_events_total",
        "taskstream_failures_total",
        "taskstream_process_exits_total",
        "taskstream_process_lifetime_seconds_bucket",
        "taskstream_zombies",
        "taskstream_lost_events_total",
    ):
        assert metric in asked


def test_every_event_that_is_asked_for_is_a_count():
    names = {count.name for count in COUNTS}
    for _, target in TARGETS:
        for asked in re.findall(r"event=~?\"([^\"]+)\"", target["expr"]):
            assert set(asked.split("|")) <= names


def test_panels_lie_side_by_side_and_not_over_one_another():
    cells = [
        (p["gridPos"]["x"] + x, p["gridPos"]["y"] + y)
        for p in DASHBOARD["panels"]
        for x in range(p["gridPos"]["w"])
        for y in range(p["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({p["id"] for p in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_prometheus_reads_every_expression(tmp_path):
    rules = [
        {
            "record": f"panel:{number}",
            "expr": target["expr"].replace("$__rate_interval", "1m").replace("$host", "web-3"),
        }
        for number, (_, target) in enumerate(TARGETS)
    ]
    file = tmp_path / "rules.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [program("promtool"), "check", "rules", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(TARGETS)} rules found" in done.stdout
