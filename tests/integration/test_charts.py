"""A known workload in a group, a service and a container: the same numbers wherever charts go."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confluent_kafka
import msgpack
import pytest

from taskstream.batch import Label
from taskstream.broker import EmbeddedBroker
from taskstream.chart import CHARTS, SCOPES
from taskstream.record import FLAGS
from taskstream.source import cgroup_tree
from tests.kernel.guarded import guarded_tasks
from tests.plain import events_of
from tests.unpacked import environment, program

pytestmark = pytest.mark.kernel

CHILDREN = 97
MARK = f"q{os.getpid()}"  # whoever else runs these tests has another one
SERVICE = f"{MARK}-one"
CONTAINER = f"{os.getpid():08x}" * 8
MOMENT = f"{os.getpid() + 1:08x}" * 8
PLACES = {"service": f"system.slice/{SERVICE}.service", "container": f"docker/{CONTAINER}"}

# One shell, found by its name, and its children: all are in the group.
EXPECTED = {"fork_process": CHILDREN, "exec": CHILDREN + 1, "exit_process": CHILDREN + 1}

FEW = 5
"""Releases that a kernel may hide from BPF, where it hides any (see tests/kernel/guarded.py)."""


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


@dataclass
class Agent:
    """A running agent."""

    process: subprocess.Popen[str]
    out: Path
    err: Path

    @property
    def intervals(self) -> list[dict[str, Any]]:
        lines = self.out.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def counts(self, dimension: str, group: str) -> Counter[str]:
        """Sum the counts of a group over the intervals so far."""
        found: Counter[str] = Counter()
        for interval in self.intervals:
            found.update(interval["groups"][dimension].get(group, {}))
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture(scope="module")
def few() -> int:
    """Return how many releases may be hidden on this kernel."""
    return FEW if guarded_tasks() else 0


def is_expected(found: Counter[str], few: int) -> bool:
    """Tell whether counts are those of the workload; but for ``few`` releases, to the unit."""
    left = {name: count for name, count in found.items() if name != "free"}
    return left == EXPECTED and 0 <= CHILDREN + 1 - found["free"] <= few


def is_over(agent: Agent, dimension: str, group: str, times: int = 1) -> Callable[[], bool]:
    """Return what tells whether all of a group's processes are dead, since two intervals."""

    def over() -> bool:
        dead = times * (CHILDREN + 1)
        if agent.counts(dimension, group)["exit_process"] < dead:
            return False
        return len(agent.intervals) >= seen.setdefault("intervals", len(agent.intervals) + 2)

    seen: dict[str, int] = {}
    return over


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the rules of the group and the programs of the workload."""
    (tmp_path / "apps_groups.conf").write_text(f"mine: {MARK}_*\nothers: *\n")
    shutil.copy(shutil.which("true") or "", tmp_path / f"{MARK}_true")
    shutil.copy(shutil.which("dash") or "", tmp_path / f"{MARK}_sh")
    return tmp_path


@pytest.fixture
def places() -> Iterator[dict[str, Path]]:
    """Make the cgroups of a service and of a container in the v2 hierarchy."""
    tree = cgroup_tree.mounted()
    assert tree is not None, "no cgroup v2 tree is mounted"
    made = []
    for path in PLACES.values():
        for directory in (*reversed((tree / path).parents), tree / path):
            if not directory.exists():
                directory.mkdir(exist_ok=True)
                made.append(directory)
    places = {name: tree / path for name, path in PLACES.items()}
    yield places
    for directory in reversed(made):
        with nullcontext() if directory in places.values() else suppress(OSError):
            directory.rmdir()  # another run may have its own beside ours


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def starting(*options: str, text: str = "") -> Agent:
        (folder / "process.conf").write_text(text)
        out, err = folder / "out", folder / "err"
        command = [sys.executable, "-m", "taskstream", "run", "--json", *options]
        environment = {**os.environ, "TASKSTREAM_CONFIG_DIR": str(folder)}
        with out.open("w") as to, err.open("w") as talk:
            process = subprocess.Popen(command, stdout=to, stderr=talk, text=True, env=environment)
        agents.append(Agent(process, out, err))
        wait_for(lambda: "look at it" in err.read_text() or process.poll() is not None)
        assert process.poll() is None, err.read_text()
        return agents[-1]

    yield starting
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


def work(folder: Path, place: Path | None = None, *, first: str = "") -> None:
    """Run the workload, in a cgroup of its own if one is given; `first` are builtins."""
    enter = f"echo $$ > {place}/cgroup.procs; exec" if place else "exec"
    loop = f"{first}i=0; while [ $i -lt {CHILDREN} ]; do {folder}/{MARK}_true; i=$((i + 1)); done"
    subprocess.run(["sh", "-c", f"{enter} {folder}/{MARK}_sh -c '{loop}'"], check=True)


def values_of(address: str, topic: str) -> list[bytes]:
    """Read a topic to its end."""
    settings = {"bootstrap.servers": address, "group.id": "plain", "enable.partition.eof": True}
    consumer = confluent_kafka.Consumer(settings)
    partitions = consumer.list_topics(topic).topics[topic].partitions
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in partitions])
    found, ended = [], 0
    while ended < len(partitions):
        message = consumer.poll(5)
        assert message is not None
        if message.error():
            ended += 1
        else:
            found.append(message.value())
    consumer.close()
    return found


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


def overflow(agent: Agent, folder: Path, place: Path | None = None) -> None:
    """Run the workload while the agent reads nothing; wait until it has caught up.

    The workload stops it, when it has begun where it belongs: a process that moves to another
    cgroup unseen, or becomes another program, is charged as one of the two with all it lost.
    """
    work(folder, place, first=f"kill -STOP {agent.process.pid}; ")
    before = len(agent.intervals)
    agent.process.send_signal(signal.SIGCONT)
    wait_for(lambda: len(agent.intervals) > before)


TINY = "[ring]\nsize = 4096\n[stream]\nflush ms = 300\n[global]\n"


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


def test_the_topic_of_rates_has_the_same_numbers_as_the_terminal(folder, start, places):
    with EmbeddedBroker() as broker:
        options = ("--apps", "--cgroups", "--load-mode", "return", "--bootstrap", broker.address)
        agent = start(*options, "--update-every", "1")
        for place in places.values():
            work(folder, place)
        wait_for(is_over(agent, "app", "mine", 2))
        assert agent.stop() == 0, agent.err.read_text()
        messages = list(map(msgpack.unpackb, values_of(broker.address, "taskstream.rates")))
    for what, dimension, count in (
        ("process_create", "calls", CHILDREN),
        ("task_exit", "call", CHILDREN + 1),
    ):
        assert summed(messages, f"app.{what}", "mine") == {dimension: 2 * count}
        assert summed(messages, f"services.{what}", None)[SERVICE] == count
        container = summed(messages, f"cgroup.{what}", CONTAINER[:12])
        assert list(container.values()) == [count]
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


@dataclass
class Prometheus:
    """A running Prometheus."""

    address: str

    def query(self, expression: str) -> dict[str, float]:
        """Return the values of an expression by their label ``event``."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{query}") as answer:
            found = json.load(answer)["data"]["result"]
        return {one["metric"].get("event", ""): float(one["value"][1]) for one in found}


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[[str], Prometheus]]:
    """Return what starts Debian's Prometheus, scraping an address every second."""
    processes = []

    def starting(target: str) -> Prometheus:
        configuration = tmp_path / "prometheus.yml"
        configuration.write_text(
            "scrape_configs:\n- job_name: taskstream\n  scrape_interval: 1s\n"
            f"  static_configs:\n  - targets: ['{target}']\n"
        )
        address = f"127.0.0.1:{free_port()}"
        command = [
            program("prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={tmp_path}/tsdb",
            f"--web.listen-address={address}",
        ]
        log = (tmp_path / "prometheus.log").open("w")
        processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        log.close()
        return Prometheus(address)

    yield starting
    for process in processes:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(prometheus: Prometheus, expression: str) -> bool:
    """Tell whether Prometheus runs and has values for an expression."""
    try:
        return bool(prometheus.query(expression))
    except OSError:
        return False


def test_prometheus_has_the_same_numbers_as_the_terminal(few, folder, start, places, prometheus):
    port = free_port()
    agent = start(
        *("--apps", "--cgroups", "--load-mode", "return", "--update-every", "1", "--host", "web-3"),
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

NETDATA = """\
[global]
    run as user = root
[db]
    mode = ram
    update every = 1
[directories]
    config = {folder}/etc
    stock config = {folder}/stock
    plugins = {folder}/plugins
    cache = {folder}/cache
    lib = {folder}/lib
    log = {folder}/log
    web = {folder}/web
[web]
    bind to = 127.0.0.1
    default port = {port}
[logs]
    access = none
[plugins]
    timex = no
    idlejitter = no
    netdata monitoring = no
    profile = no
    tc = no
    diskspace = no
    proc = no
    cgroups = no
    statsd = no
    slabinfo = no
[health]
    enabled = no
[ml]
    enabled = no
[cloud]
    enabled = no
"""


@dataclass
class Netdata:
    """A running Netdata with our plugin."""

    address: str
    update_every_s: int

    def get(self, what: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{what}?{query}") as answer:
            return json.load(answer)

    def charts(self) -> dict[str, dict[str, Any]]:
        """Return our charts by id; none before Netdata answers."""
        try:
            charts = self.get("charts")["charts"]
        except OSError:
            return {}
        return {id_: c for id_, c in charts.items() if c["plugin"] == "taskstream.plugin"}

    def events(self, chart: str, dimension: str) -> float:
        """Return a rate summed over time: the number of events."""
        found = self.get("data", chart=chart, format="json", options="natural-points")
        column = found["labels"].index(dimension)
        points = [row[column] for row in found["data"] if row[column] is not None]
        return sum(points) * self.update_every_s


@pytest.fixture
def netdata(folder: Path) -> Iterator[Callable[[int], Netdata]]:
    """Return what starts Debian's Netdata, which starts our plugin."""
    processes = []

    def starting(update_every_s: int) -> Netdata:
        port = free_port()
        for name in ("etc/ebpf.d", "stock", "plugins", "cache", "lib", "log", "web"):
            (folder / name).mkdir(parents=True)
        (folder / "etc/netdata.conf").write_text(NETDATA.format(folder=folder, port=port))
        (folder / "etc/ebpf.d/process.conf").write_text(
            f"[global]\nupdate every = {update_every_s}\nebpf load mode = return\n"
            "apps = yes\ncgroups = yes\n"
        )
        (folder / "apps_groups.conf").rename(folder / "etc/apps_groups.conf")
        plugin = Path(sysconfig.get_path("scripts")) / "taskstream.plugin"
        (folder / "plugins/taskstream.plugin").symlink_to(plugin)
        log = (folder / "netdata.log").open("w")
        command = [program("netdata"), "-D", "-c", folder / "etc/netdata.conf"]
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment()))
        log.close()
        return Netdata(f"127.0.0.1:{port}", update_every_s)

    yield starting
    for process in processes:
        process.terminate()
        process.wait(60)


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
        values = values_of(broker.address, "taskstream.events")
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
