"""A known workload in a group, a service and a container: the same numbers wherever charts go."""

import os
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from typing import Any

import msgpack
import pytest

from taskstream.batch import Label
from taskstream.broker import EmbeddedBroker
from taskstream.chart.chart import SCOPES
from taskstream.chart.table import CHARTS
from taskstream.record import FLAGS
from tests.charting import (
    CHILDREN,
    CONTAINER,
    MARK,
    MOMENT,
    PLACES,
    SERVICE,
    TINY,
    freeze,
    is_expected,
    is_over,
    overflow,
    wait_for,
    work,
)
from tests.plain import events_of
from tests.servers import Prometheus, free_port
from tests.topic import fetch
from tests.unpacked import program

pytestmark = pytest.mark.kernel


def summed(messages: list[dict[str, Any]], chart: str, group: str | None) -> Counter[str]:
    """Sum the counts of a chart's group over the intervals."""
    found: Counter[str] = Counter()
    for message in messages:
        for one in message["groups"]:
            if message["chart"] == chart and one["group"] == group:
                found.update(one["counts"])
    return found


@pytest.mark.parametrize("update_every", ["1", "5"])
def test_a_group_has_exactly_its_events(few, folder, start, update_every):
    agent = start("--apps", "--update-every", update_every)
    work(folder)
    wait_for(is_over(agent, "app", "mine"))
    assert agent.stop() == 0, agent.err.read_text()
    assert is_expected(agent.counts("app", "mine"), few)


def test_a_service_and_a_container_have_exactly_their_events(few, folder, start, places):
    agent = start("--cgroups", "--update-every", "1")
    for place in places.values():
        work(folder, place)
    wait_for(is_over(agent, "cgroup", CONTAINER[:12]))
    assert agent.stop() == 0, agent.err.read_text()
    # The shell enters its cgroup after its fork, and is there the program that it becomes.
    assert is_expected(agent.counts("service", SERVICE), few)
    assert is_expected(agent.counts("cgroup", CONTAINER[:12]), few)


@pytest.mark.parametrize(("update_every", "maps_per_core"), [("1", "yes"), ("5", "no")])
def test_groups_stay_exact_when_the_ring_overflows(
    few, folder, start, places, update_every, maps_per_core
):
    tiny = f"{TINY}maps per core = {maps_per_core}\n"
    agent = start("--apps", "--cgroups", "--update-every", update_every, text=tiny)
    for place in places.values():
        overflow(agent, folder, place)
    wait_for(is_over(agent, "app", "mine", 2), 60)
    assert agent.stop() == 3, agent.err.read_text()
    assert sum(interval["lost"] for interval in agent.intervals) > 20
    fills = [i["charts"]["taskstream.agent_ring"]["ring_fill"] for i in agent.intervals]
    assert 90 < max(fills) <= 100
    assert is_expected(agent.counts("service", SERVICE), few)
    assert is_expected(agent.counts("cgroup", CONTAINER[:12]), few)
    mine = agent.counts("app", "mine")
    assert mine["exec"] == mine["exit_process"] == 2 * CHILDREN + 2
    # What a shell forks before its own lost exec is settled inherits what it was before.
    assert mine["fork_process"] <= 2 * CHILDREN


def test_a_table_that_is_too_small_for_the_losses_is_not_silent(folder, start):
    agent = start("--apps", "--update-every", "1", text=f"{TINY}pid table size = 1\n")
    overflow(agent, folder)
    wait_for(lambda: sum(interval["lost"] for interval in agent.intervals) > 20)
    agent.stop()
    charts = [interval["charts"] for interval in agent.intervals]
    uncharged = sum(chart["taskstream.uncharged"]["uncharged"] for chart in charts)
    lost = sum(chart["taskstream.lost"]["ring"] for chart in charts)
    assert 0 < uncharged < lost
    assert sum(agent.counts("app", "other").values()) >= uncharged


def test_a_container_that_lives_for_a_moment_has_its_name(few, folder, start, places):
    agent = start("--cgroups", "--update-every", "1")
    wait_for(lambda: len(agent.intervals) >= 1)
    moment = places["container"].parent / MOMENT
    moment.mkdir()
    work(folder, moment)
    moment.rmdir()
    wait_for(is_over(agent, "cgroup", MOMENT[:12]))
    assert agent.stop() == 0, agent.err.read_text()
    assert is_expected(agent.counts("cgroup", MOMENT[:12]), few)


@pytest.mark.parametrize("update_every", ["1", "5"])
@pytest.mark.parametrize("lossy", [False, True], ids=["whole", "lossy"])
def test_the_topic_of_rates_has_the_same_numbers_as_the_terminal(
    folder, start, places, update_every, lossy
):
    with EmbeddedBroker() as broker:
        options = ("--apps", "--cgroups", "--load-mode", "return", "--bootstrap", broker.address)
        text = TINY if lossy else ""
        agent = start(*options, "--update-every", update_every, text=text)
        for place in places.values():
            if lossy:
                overflow(agent, folder, place)
            else:
                work(folder, place)
        wait_for(is_over(agent, "app", "mine", 2), 60)
        assert agent.stop() == (3 if lossy else 0), agent.err.read_text()
        messages = [msgpack.unpackb(m.value) for m in fetch(broker.address, "taskstream.rates")]
    for what, dimension, count in (
        ("process_create", "calls", CHILDREN),
        ("task_exit", "call", CHILDREN + 1),
    ):
        if not lossy or what == "task_exit":  # as above: what a shell whose exec is lost forks
            assert summed(messages, f"app.{what}", "mine") == {dimension: 2 * count}
        assert summed(messages, f"services.{what}", None)[SERVICE] == count
        container = summed(messages, f"cgroup.{what}", CONTAINER[:12])
        assert list(container.values()) == [count]
    assert (sum(interval["lost"] for interval in agent.intervals) > 20) == lossy
    for interval in agent.intervals:
        here = {m["chart"]: m for m in messages if m["end_ns"] == interval["end_ns"]}
        for chart, drawn in interval["charts"].items():
            label = here[chart]["label"]
            groups = {g["group"]: g["values"] for g in here[chart]["groups"]}
            assert drawn == (groups if label else groups[None])


def test_rules_are_read_again_on_sighup_and_counts_stay(few, folder, start):
    agent = start("--apps", "--update-every", "1")
    work(folder)
    wait_for(is_over(agent, "app", "mine"))
    rules = folder / "apps_groups.conf"
    before = rules.stat()
    rules.write_text(f"ours: {MARK}_*\nothers: *\n")
    os.utime(rules, ns=(before.st_atime_ns, before.st_mtime_ns))
    agent.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "app groups read from" in agent.err.read_text())
    work(folder)
    wait_for(is_over(agent, "app", "ours"))
    assert agent.stop() == 0, agent.err.read_text()
    assert is_expected(agent.counts("app", "mine"), few)
    assert is_expected(agent.counts("app", "ours"), few)


def test_netdatas_formulas_are_drawn_from_the_same_events(folder, start):
    agent = start("--apps", "--update-every", "1", text="[charts]\nsemantics = netdata\n")
    work(folder)
    wait_for(is_over(agent, "app", "mine"))
    assert agent.stop() == 0, agent.err.read_text()
    drawn = [i["charts"]["app.process_create"].get("mine", {"calls": 0}) for i in agent.intervals]
    assert sum(group["calls"] for group in drawn) == CHILDREN + CHILDREN + 1


# --- Prometheus ----------------------------------------------------------------------------------


def answers(prometheus: Prometheus, expression: str) -> bool:
    """Tell whether Prometheus runs and has values for an expression."""
    try:
        return bool(prometheus.query(expression))
    except OSError:
        return False


@pytest.mark.parametrize("update_every", ["1", "5"])
def test_prometheus_has_the_same_numbers_as_the_terminal(
    few, folder, start, places, prometheus, update_every
):
    port = free_port()
    agent = start(
        *("--apps", "--cgroups", "--load-mode", "return", "--host", "web-3"),
        *("--update-every", update_every),
        text=f"[prometheus]\nlisten = {port}\n",
    )
    scraper = prometheus(f"127.0.0.1:{port}")
    for place in places.values():
        work(folder, place)
    wait_for(is_over(agent, "app", "mine", 2))
    group = 'taskstream_app_events_total{host="web-3",app_group="mine"}'
    wait_for(lambda: answers(scraper, f"{group} == {2 * CHILDREN + 2}"))
    # A scrape may have come before the last release.
    releases = agent.counts("app", "mine")["free"]
    wait_for(lambda: scraper.query(group)["free"] == releases)
    found = scraper.query(group)
    assert {name: value for name, value in found.items() if value} == agent.counts("app", "mine")
    assert found["fork_process"] == 2 * CHILDREN
    for series, dimension, name in (
        (f'taskstream_service_events_total{{service_name="{SERVICE}"}}', "service", SERVICE),
        (
            f'taskstream_cgroup_events_total{{cgroup_name="{CONTAINER[:12]}"}}',
            "cgroup",
            CONTAINER[:12],
        ),
    ):
        found = {event: value for event, value in scraper.query(series).items() if value}
        assert found == agent.counts(dimension, name)
        assert is_expected(Counter(found), few)
    assert agent.stop() == 0, agent.err.read_text()


@pytest.mark.parametrize("update_every", ["1", "5"])
def test_prometheus_has_exact_numbers_when_the_ring_overflows(
    few, folder, start, places, prometheus, update_every
):
    port = free_port()
    text = f"[prometheus]\nlisten = {port}\n{TINY}"
    agent = start("--apps", "--cgroups", "--update-every", update_every, text=text)
    scraper = prometheus(f"127.0.0.1:{port}")
    for place in places.values():
        overflow(agent, folder, place)
    wait_for(is_over(agent, "cgroup", CONTAINER[:12]), 60)
    for series, dimension, name in (
        (f'taskstream_service_events_total{{service_name="{SERVICE}"}}', "service", SERVICE),
        (
            f'taskstream_cgroup_events_total{{cgroup_name="{CONTAINER[:12]}"}}',
            "cgroup",
            CONTAINER[:12],
        ),
    ):
        wait_for(lambda s=series: answers(scraper, s))
        wait_for(
            lambda s=series, d=dimension, n=name: (
                {event: value for event, value in scraper.query(s).items() if value}
                == agent.counts(d, n)
            )
        )
        found = {event: value for event, value in scraper.query(series).items() if value}
        assert is_expected(Counter(found), few)
    group = scraper.query('taskstream_app_events_total{app_group="mine"}')
    assert group["exec"] == group["exit_process"] == 2 * CHILDREN + 2
    lost = 'sum without (cause, instance, job, host) (taskstream_lost_events_total{cause="ring"})'
    assert scraper.query(lost)[""] > 20
    assert agent.stop() == 3, agent.err.read_text()


def test_promtool_finds_no_fault_in_the_metrics(start):
    port = free_port()
    options = ("--apps", "--cgroups", "--load-mode", "return", "--update-every", "1")
    agent = start(
        *options, text=f"[prometheus]\nlisten = {port}\n[charts]\ncommands = yes\nusers = yes\n"
    )
    wait_for(lambda: len(agent.intervals) >= 2)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        metrics = answer.read()
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=metrics, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


# --- Netdata -------------------------------------------------------------------------------------


@pytest.mark.parametrize("update_every_s", [1, 5])
def test_netdata_has_exactly_the_events_of_the_workload(
    few, folder, places, netdata, update_every_s
):
    server = netdata(update_every_s)
    wait_for(lambda: "system.process_thread" in server.charts(), 60)
    for place in places.values():
        work(folder, place)
    container = f"cgroup_{CONTAINER[:12]}"
    wait_for(lambda: f"{container}.task_exit" in server.charts())
    wait_for(lambda: server.events(f"{container}.task_exit", "exit") == CHILDREN + 1)
    time.sleep(2 * update_every_s)  # a release may be counted an interval later
    for chart, dimension, expected in (
        ("app.mine_process_create", "calls", 2 * CHILDREN),
        ("app.mine_thread_create", "call", 0),
        ("app.mine_task_exit", "call", 2 * CHILDREN + 2),
        ("app.mine_task_error", "app", 0),
        (f"{container}.process_create", "process", CHILDREN),
        (f"{container}.task_exit", "exit", CHILDREN + 1),
        (f"{container}.task_error", "process", 0),
        ("services.process_create", SERVICE, CHILDREN),
        ("services.task_exit", SERVICE, CHILDREN + 1),
    ):
        assert server.events(chart, dimension) == pytest.approx(expected, abs=1e-6), chart
    for chart, dimension, times in (
        ("app.mine_task_close", "call", 2),
        (f"{container}.task_close", "process", 1),
        ("services.task_close", SERVICE, 1),
    ):
        released = server.events(chart, dimension)
        assert 0 <= times * (CHILDREN + 1) - released <= times * few + 1e-6, chart


@pytest.mark.parametrize("update_every_s", [1, 5])
def test_netdata_has_exact_numbers_when_the_ring_overflows(
    few, folder, places, netdata, update_every_s
):
    server = netdata(
        update_every_s,
        f"[control]\ndirectory = {folder}/run\n{TINY}apps = yes\ncgroups = yes\n",
    )
    wait_for(lambda: "system.process_thread" in server.charts(), 60)
    (path,) = (folder / "run").iterdir()
    for place in places.values():
        freeze(int(path.stem), folder, place)
        time.sleep(2 * update_every_s)  # charge it before the next
    container = f"cgroup_{CONTAINER[:12]}"
    wait_for(lambda: f"{container}.task_exit" in server.charts())
    wait_for(lambda: server.events(f"{container}.task_exit", "exit") == CHILDREN + 1)
    time.sleep(2 * update_every_s)
    for chart, dimension, expected in (
        ("app.mine_task_exit", "call", 2 * CHILDREN + 2),
        (f"{container}.process_create", "process", CHILDREN),
        (f"{container}.task_exit", "exit", CHILDREN + 1),
        ("services.process_create", SERVICE, CHILDREN),
        ("services.task_exit", SERVICE, CHILDREN + 1),
    ):
        assert server.events(chart, dimension) == pytest.approx(expected, abs=1e-6), chart
    for chart, dimension in (
        (f"{container}.task_close", "process"),
        ("services.task_close", SERVICE),
    ):
        assert 0 <= CHILDREN + 1 - server.events(chart, dimension) <= few + 1e-6, chart
    assert server.events("taskstream.lost", "ring") > 20


def test_netdata_has_every_documented_chart_as_the_table_has_it(folder, places, netdata):
    server = netdata(1)
    for place in places.values():
        work(folder, place)
    wait_for(lambda: "system.process_thread" in server.charts(), 60)
    for place in places.values():
        work(folder, place)
    documented = {chart.context: chart for chart in CHARTS if chart.documented}
    wait_for(lambda: {c["context"] for c in server.charts().values()} >= documented.keys())
    for found in server.charts().values():
        chart = documented.get(found["context"])
        if chart is None:
            continue
        assert found["title"].startswith(chart.title)
        assert (found["units"], found["family"]) == (chart.unit, chart.family)
        assert (found["priority"], found["chart_type"]) == (chart.priority, chart.kind)
        if chart.names != ("",):
            assert tuple(found["dimensions"]) == chart.names
        label = SCOPES[chart.scope].label
        assert not label or found["chart_labels"][label]


@pytest.mark.parametrize("message", ["event", "batch", "json"])
def test_events_say_where_they_belong_also_when_it_is_gone(folder, start, places, message):
    moment = places["container"].parent / MOMENT
    with EmbeddedBroker() as broker:
        options = ("--bootstrap", broker.address, "--message", message)
        agent = start("--apps", "--update-every", "1", *options)
        work(folder, places["service"])
        moment.mkdir()
        work(folder, moment)
        moment.rmdir()
        wait_for(is_over(agent, "app", "mine", 2))
        assert agent.stop() == 0, agent.err.read_text()
        values = [m.value for m in fetch(broker.address, "taskstream.events")]
    events = [event for value in values for event in events_of(value)]
    names = Label._fields
    found = Counter(
        (event["kind"], *(event[name] for name in names))
        for event in events
        if event["kind"] in ("exec", "exit") and event["comm"] == f"{MARK}_true"
    )
    service = (f"/{PLACES['service']}", None, SERVICE, "mine")
    container = (f"/docker/{MOMENT}", MOMENT, None, "mine")
    expected = {
        (kind, *label): CHILDREN for kind in ("exec", "exit") for label in (service, container)
    }
    assert found == expected
    running = [event for event in events if event["kind"] == "task" and event["cgroup"] is None]
    assert all(event["flags"] & FLAGS["cgroup_unknown"].mask for event in running)
    assert any(event["kind"] == "task" and event["app_group"] == "others" for event in events)
