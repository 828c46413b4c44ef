"""docker/: its files agree with the clone, the agent runs with what it is given, and with no less.

No image is built here; docker/README.md says what was, and how.
"""

import re
import signal
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskstream.config.file import load
from tests.command import ROOT, until
from tests.kafka.cluster import broker_process, free_ports, java
from tests.topic import wait_until

FOLDER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
AGENT = COMPOSE["services"]["agent"]
KAFKA = COMPOSE["services"]["kafka"]
COPIES = re.findall(r"^COPY (?!--from)(.+) \S+$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE)
EXECS = 97


def copied() -> list[str]:
    return [source for words in COPIES for source in words.split()]


# --- the files ---


def test_the_dockerfile_copies_only_what_is_in_the_clone():
    assert len(copied()) > 5
    assert [source for source in copied() if not (ROOT / source).exists()] == []


def test_the_dockerignore_lets_through_what_the_dockerfile_copies():
    lines = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert sorted(kept) == sorted(copied())


def test_the_image_builds_the_wheel_with_every_package_that_compiling_needs():
    (needed,) = re.findall(
        r"no BPF object; it needs Debian's (.+)\"", (ROOT / "Makefile").read_text()
    )
    installed = (FOLDER / "Dockerfile").read_text().split("WORKDIR")[0].split()
    assert {*needed.split(", ")} <= {*installed}


def test_every_volume_and_file_that_compose_names_is_there():
    named = set(COMPOSE["volumes"])
    for service in COMPOSE["services"].values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in named or Path(source).is_absolute() or (FOLDER / source).exists()
    build = AGENT["build"]
    assert (FOLDER / build["context"] / build["dockerfile"]).samefile(FOLDER / "Dockerfile")


def test_nothing_of_the_composition_is_published_beyond_loopback():
    ports = [port for service in COMPOSE["services"].values() for port in service["ports"]]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_kernel_is_mounted_for_reading_alone():
    mounts = [volume for volume in AGENT["volumes"] if volume.startswith("/")]
    assert mounts
    assert all(fnmatch(mount, "/sys/*:/sys/*:ro") for mount in mounts)


def test_the_configuration_of_the_container_is_valid_and_serves_what_the_health_check_asks():
    settings = load(FOLDER / "process.conf")
    port = settings["metrics_listen"].rpartition(":")[2]
    assert f":{port}/metrics" in (FOLDER / "healthy.py").read_text()
    assert f"127.0.0.1:{port}:{port}" in AGENT["ports"]
    spool = Path(settings["spool_directory"])
    assert any(spool.is_relative_to(volume.split(":")[1]) for volume in AGENT["volumes"])


def test_the_agent_publishes_to_the_listener_that_kafka_has_inside():
    address = AGENT["command"][AGENT["command"].index("--bootstrap") + 1]
    assert f"INNER://{address}" in KAFKA["environment"]["KAFKA_ADVERTISED_LISTENERS"]


# --- the broker's settings ---


@pytest.mark.kafka
@pytest.mark.slow
def test_the_real_kafka_starts_with_the_settings_of_the_composition(tmp_path):
    """Given as properties, which the image makes of its environment: KAFKA_A_B is a.b."""
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in KAFKA["environment"].items()
        if name.startswith("KAFKA_")
    }
    settings["log.dirs"] = str(tmp_path / "data")
    text = "".join(f"{name}={value}\n" for name, value in settings.items())
    for old, new in zip(("19092", "9092", "9093"), free_ports(3), strict=True):
        text = text.replace(f"kafka:{old}", f"127.0.0.1:{new}")
        text = re.sub(rf"//(127\.0\.0\.1)?:{old}\b", f"//127.0.0.1:{new}", text)
    properties = tmp_path / "server.properties"
    properties.write_text(text)
    cluster = KAFKA["environment"]["CLUSTER_ID"]
    formatted = java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties))
    subprocess.run(formatted, check=True, capture_output=True)
    log = tmp_path / "log"
    process = broker_process(properties, log)
    try:
        at = re.search(r"HOST://(127\.0\.0\.1:\d+)", text)
        assert at, text
        probe = [sys.executable, "-c", _PROBE, at[1]]
        found = subprocess.run(probe, capture_output=True, text=True, timeout=90)
        assert found.stdout == "1 broker\n", found.stderr + log.read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


_PROBE = """
import sys
from confluent_kafka.admin import AdminClient
admin = AdminClient({"bootstrap.servers": sys.argv[1], "log_level": 0})
print(len(admin.list_topics(timeout=80).brokers), "broker")
"""


# --- the agent's rights ---


def run_with(capabilities: list[str], *words: str) -> subprocess.Popen[str]:
    """Start an agent of uid 0 that has these capabilities, and can never get others."""
    only = ",".join(["-all", *(f"+{name.lower()}" for name in capabilities)])
    return subprocess.Popen(
        ["setpriv", "--no-new-privs", "--bounding-set", only, "--inh-caps", only,
         sys.executable, "-m", "taskstream", "run", "--bootstrap", "off", "--json", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip


@pytest.mark.kernel
@pytest.mark.slow
def test_the_agent_counts_with_the_capabilities_of_the_composition_and_is_healthy(tmp_path):
    assert AGENT["cap_drop"] == ["ALL"]
    (port,) = free_ports(1)
    conf = tmp_path / "process.conf"
    text = (FOLDER / "process.conf").read_text()
    conf.write_text(text.replace("0.0.0.0:9466", str(port)).replace("/var/lib", f"{tmp_path}"))
    health = [sys.executable, str(FOLDER / "healthy.py"), f"http://127.0.0.1:{port}/metrics"]
    words = ("--config", str(conf), "--update-every", "1")
    with run_with(AGENT["cap_add"], *words) as agent:
        until(agent, "metrics at")
        for _ in range(EXECS):
            subprocess.run(["/bin/true"], check=True)
        wait_until(lambda: not subprocess.run(health, capture_output=True).returncode)
        agent.send_signal(signal.SIGSTOP)
        frozen = subprocess.run(health, capture_output=True, text=True)
        agent.send_signal(signal.SIGCONT)
        agent.send_signal(signal.SIGTERM)
        out, err = agent.communicate(timeout=30)
    assert agent.returncode == 0, err
    assert frozen.returncode == 1
    assert "does not answer" in frozen.stderr
    rates = re.findall(r'"seconds": ([\d.]+), .*?"process": ([\d.]+), "thread"', out)
    assert sum(float(seconds) * float(rate) for seconds, rate in rates) > EXECS - 0.5


@pytest.mark.kernel
@pytest.mark.parametrize("without", AGENT["cap_add"])
def test_each_capability_of_the_composition_is_needed(without):
    rest = [name for name in AGENT["cap_add"] if name != without]
    with run_with(rest, "--duration", "1") as agent:
        _, err = agent.communicate(timeout=30)
    assert agent.returncode == 1
    assert "no permission to load BPF" in err
