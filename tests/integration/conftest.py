"""Agents that chart a workload, and the servers that they are read through."""

import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from taskstream.broker import EmbeddedBroker
from taskstream.source import cgroup_tree
from tests.charting import FEW, MARK, PLACES, Agent, wait_for
from tests.kernel.guarded import guarded_tasks
from tests.mock_cluster import MockCluster
from tests.servers import NETDATA, SYSTEM_INFO, Netdata, Prometheus, free_port
from tests.unpacked import environment, program

PLUGIN = Path(sysconfig.get_path("scripts")) / "taskstream.plugin"


@pytest.fixture(scope="module")
def few(hidden: Callable[[], list[str]]) -> int:
    """Return how many releases this kernel may hide; where it hid more, a test is run again."""
    return FEW if guarded_tasks() else 0


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[MockCluster]:
    """Start a mock cluster that has the module's ``TOPIC``."""
    with MockCluster() as cluster:
        cluster.topic_create(request.module.TOPIC)
        yield cluster


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def either(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of the embedded broker and, for the same test again, the real Kafka's."""
    if request.param == "kafka":
        yield request.getfixturevalue("kafka").bootstrap
        return
    with EmbeddedBroker() as broker:
        yield broker.address


@pytest.fixture
def topic() -> str:
    """Return a topic that no other test has; it is made when it is first used."""
    return f"own-{uuid.uuid4().hex}"


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
def start(folder: Path, hidden: Callable[[], list[str]]) -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def starting(*options: str, text: str = "") -> Agent:
        (folder / "process.conf").write_text(text)
        out, err = folder / "out", folder / "err"
        command = [sys.executable, "-m", "taskstream", "run", "--json", *options]
        environment = {**os.environ, "TASKSTREAM_CONFIG_DIR": str(folder)}
        with out.open("w") as to, err.open("w") as talk:
            process = subprocess.Popen(command, stdout=to, stderr=talk, text=True, env=environment)
        agents.append(Agent(process, out, err, hidden))
        wait_for(lambda: "look at it" in err.read_text() or process.poll() is not None)
        assert process.poll() is None, err.read_text()
        return agents[-1]

    yield starting
    for agent in agents:
        if agent.process.poll() is None:
            agent.process.kill()
            agent.process.wait()


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


@pytest.fixture
def netdata(folder: Path) -> Iterator[Callable[..., Netdata]]:
    """Return what starts Debian's Netdata, which starts our plugin, or another one."""
    processes = []

    def starting(
        update_every_s: int,
        text: str = "[global]\napps = yes\ncgroups = yes\n",
        plugin: Path = PLUGIN,
    ) -> Netdata:
        port = free_port()
        for name in ("etc/ebpf.d", "stock", "plugins", "cache", "lib", "log", "web"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "etc/netdata.conf").write_text(NETDATA.format(folder=folder, port=port))
        (folder / "etc/ebpf.d/process.conf").write_text(
            f"{text}update every = {update_every_s}\nebpf load mode = return\n"
        )
        (folder / "apps_groups.conf").rename(folder / "etc/apps_groups.conf")
        (folder / "plugins/taskstream.plugin").symlink_to(plugin)
        told = folder / "plugins/system-info.sh"  # Netdata 1.37 dies of streaming without it
        told.write_text(SYSTEM_INFO)
        told.chmod(0o755)
        log = (folder / "netdata.log").open("w")
        command = [program("netdata"), "-D", "-c", folder / "etc/netdata.conf"]
        processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment()))
        log.close()
        return Netdata(f"127.0.0.1:{port}", update_every_s)

    yield starting
    for process in processes:
        process.terminate()
        process.wait(60)
