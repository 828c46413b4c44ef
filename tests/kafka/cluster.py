"""The real Apache Kafka for tests: KRaft, on loopback, in a temporary folder, ended by pid.

The jars come from Maven Central by ``pom.xml`` beside this file (``make kafka`` and ``make test``
fetch them) and are run by Debian's JDK. A broker dies with the process that started it.
"""

import base64
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewTopic

from tests.needs import go_without

__all__ = ["JARS", "KafkaCluster", "broker_process", "free_ports", "java", "missing"]

JARS = Path(__file__).parents[2] / "build" / "kafka"
START_S = 90
"""More than a broker needs on a loaded machine; only a failing test waits this long."""

_JAVA = ["java", "-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
         "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]  # fmt: skip


def missing() -> str:
    """Say what keeps Kafka from starting here; empty if nothing does."""
    if shutil.which("java") is None:
        return "no java: apt-get install default-jdk-headless"
    if not any(JARS.glob("kafka_*.jar")):
        return "no jars of Kafka: make build/kafka/complete"
    return ""


def free_ports(count: int) -> list[int]:
    """Find ports that nobody has at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def java(main: str, *words: str) -> list[str]:
    """Return the command line of one of Kafka's programs."""
    return [*_JAVA, "-cp", f"{JARS}/*", main, *words]


def broker_process(
    properties: Path,
    log: Path,
    environment: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start a broker, which dies with the thread that calls this."""
    with log.open("ab") as file:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *within, *java("kafka.Kafka", str(properties))],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
        )  # fmt: skip


def _id() -> str:
    """Return a random id as Kafka writes it; never one that begins with a minus."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text


class KafkaCluster:
    """Brokers that are controllers too, up from the moment it is made.

    Args:
        brokers: How many; their ids count from 1.
        properties: Settings of every broker, over those of this module.
        protocol: Security protocol of the clients' listener.
        environment: For the brokers' processes.
        client: Settings that a client needs to connect.
        format_words: For the tool that formats the storage, such as users to begin with.
        address: Where brokers listen.
        within: Words before a broker's command, such as those that enter a network namespace.

    Attributes:
        bootstrap: Addresses of all brokers.
        pids: Process of each broker that runs.
    """

    def __init__(
        self,
        *,
        brokers: int = 1,
        properties: Mapping[str, str] | None = None,
        protocol: str = "PLAINTEXT",
        environment: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        format_words: Sequence[str] = (),
        address: str = "127.0.0.1",
        within: Sequence[str] = (),
    ) -> None:
        if reason := missing():
            go_without(reason)
        self._address, self._within = address, within
        self._folder = Path(tempfile.mkdtemp(prefix="taskstream-kafka-"))
        self._environment = {**os.environ, **(environment or {})}
        self._client = dict(client or {})
        self.ids = range(1, brokers + 1)
        ports = free_ports(2 * brokers)
        self._ports = dict(zip(self.ids, ports[:brokers], strict=True))
        self._controllers = dict(zip(self.ids, ports[brokers:], strict=True))
        self.bootstrap = ",".join(f"{address}:{port}" for port in self._ports.values())
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for broker in self.ids:
                self._write_properties(broker, protocol, properties or {})
            self._format(format_words)
            for broker in self.ids:
                self._start(broker)
            self.wait()
        except BaseException:
            self.close()
            raise

    def _write_properties(self, broker: int, protocol: str, properties: Mapping[str, str]) -> None:
        copies = str(min(3, len(self.ids)))
        in_sync = str(min(2, len(self.ids)))
        here, controller = f"{self._address}:{self._ports[broker]}", self._controllers[broker]
        inner = "PLAINTEXT" if protocol == "PLAINTEXT" else "INNER"
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(broker),
            "listeners": f"{protocol}://{here},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"{protocol}://{here}",
            "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{protocol}:{protocol}",
            "inter.broker.listener.name": inner,
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.bootstrap.servers": ",".join(
                f"127.0.0.1:{port}" for port in self._controllers.values()
            ),
            "log.dirs": str(self._folder / f"data-{broker}"),
            "num.partitions": "4",
            "default.replication.factor": copies,
            "min.insync.replicas": "1",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "500",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "replica.lag.time.max.ms": "3000",
            "log.retention.ms": "-1",  # events of the tests are of another year
            "log.cleaner.dedupe.buffer.size": "16777216",
        }
        if inner == "INNER":
            (port,) = free_ports(1)
            settings["listeners"] += f",INNER://127.0.0.1:{port}"
            settings["advertised.listeners"] += f",INNER://127.0.0.1:{port}"
            settings["listener.security.protocol.map"] += ",INNER:PLAINTEXT"
        settings |= properties
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        self._properties(broker).write_text(text)

    def _properties(self, broker: int) -> Path:
        return self._folder / f"broker-{broker}.properties"

    def _format(self, format_words: Sequence[str]) -> None:
        cluster = _id()
        voters = ",".join(
            f"{broker}@127.0.0.1:{port}:{_id()}" for broker, port in self._controllers.items()
        )

        def one(broker: int) -> None:
            words = ["format", "-t", cluster, "--initial-controllers", voters]
            words += ["-c", str(self._properties(broker)), *format_words]
            done = subprocess.run(
                java("kafka.tools.StorageTool", *words), capture_output=True, text=True
            )
            assert not done.returncode, done.stdout + done.stderr

        with ThreadPoolExecutor() as pool:
            list(pool.map(one, self.ids))

    def _start(self, broker: int) -> None:
        self._processes[broker] = broker_process(
            self._properties(broker), self.log(broker), self._environment, self._within
        )

    def log(self, broker: int) -> Path:
        """Return where a broker writes what it has to say."""
        return self._folder / f"broker-{broker}.log"

    def admin(self) -> AdminClient:
        """Return an admin client."""
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, **self._client})

    def create_topic(self, name: str, partitions: int = 4, copies: int = 1, **config: str) -> None:
        """Create a topic, and wait until it is there."""
        admin = self.admin()  # it must live until the answer
        settings = {key.replace("_", "."): value for key, value in config.items()}
        topic = NewTopic(name, partitions, copies, config=settings)
        admin.create_topics([topic])[name].result(START_S)

    def delete_topic(self, name: str) -> None:
        """Delete a topic."""
        admin = self.admin()
        admin.delete_topics([name])[name].result(START_S)

    def id_of(self, topic: str) -> str | None:
        """Return what tells a topic from a later one of its name; None while there is none."""
        admin = self.admin()
        if topic not in admin.list_topics(timeout=START_S).topics:
            return None
        described = admin.describe_topics(TopicCollection([topic]))[topic]
        try:
            return str(described.result(START_S).topic_id)
        except KafkaException:  # deleted meanwhile
            return None

    def leaders(self, topic: str) -> dict[int, int]:
        """Return the broker that leads each partition of a topic; -1 for none."""
        admin = self.admin()
        partitions = admin.list_topics(topic, timeout=START_S).topics[topic].partitions
        return {number: partition.leader for number, partition in partitions.items()}

    def bytes_of(self, topic: str) -> int:
        """Return how much of the first broker's disk a topic takes."""
        data = self._folder / "data-1"
        return sum(log.stat().st_size for log in data.glob(f"{topic}-[0-9]*/*.log"))

    def wait(self, brokers: int | None = None) -> None:
        """Wait until so many brokers, by default all that run, are known to one another."""
        wanted = len(self._processes) if brokers is None else brokers
        deadline = time.monotonic() + START_S
        admin = self.admin()
        while True:
            for broker, process in self._processes.items():
                assert process.poll() is None, self.log(broker).read_text()[-4000:]
            try:
                if len(admin.list_topics(timeout=2).brokers) >= wanted:
                    return
            except KafkaException:
                assert time.monotonic() < deadline, self.log(1).read_text()[-4000:]
            assert time.monotonic() < deadline, f"{wanted} brokers did not come up"
            time.sleep(0.05)

    @property
    def pids(self) -> dict[int, int]:
        """Processes of the brokers that run."""
        return {broker: process.pid for broker, process in self._processes.items()}

    # --- faults ---

    def kill(self, broker: int = 1) -> None:
        """End a broker with SIGKILL."""
        process = self._processes.pop(broker)
        process.kill()
        process.wait()

    def restart(self, broker: int = 1) -> None:
        """Start a broker that was killed, on its own data and its own port.

        (It would die with the thread that calls this, not with the process.)
        """
        self._start(broker)

    def freeze(self, broker: int = 1) -> None:
        """Stop a broker in its tracks; its connections stay open."""
        self._processes[broker].send_signal(signal.SIGSTOP)

    def thaw(self, broker: int = 1) -> None:
        """Let a frozen broker go on."""
        self._processes[broker].send_signal(signal.SIGCONT)

    # --- the end ---

    def close(self) -> None:
        """End all brokers, and delete what they wrote."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
