"""A group of processes writes every interval of every host once, whatever happens to them."""

import random
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count, zip_longest
from threading import Event, Thread
from typing import Any
from uuid import UUID

import msgpack
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from taskstream.batch import Batch
from taskstream.broker import EmbeddedBroker
from taskstream.consumer.reader import Place
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.target import WAIT_MS, KafkaTarget
from taskstream.topic import TopicPlan
from tests.agent_run import HOST, PARTITIONS, Run
from tests.command import ROOT, start, taskstream
from tests.kafka.cluster import KafkaCluster
from tests.plain import boot_ns_of
from tests.recording import Host, Recording, record
from tests.topic import fetch, wait_until

BY = [word for by in ("app", "cgroup", "service", "comm", "user") for word in ("--by", by)]
HOSTS = 3
END_S = 60
_numbers = count()


class Topic:
    """A topic of its own with the events of some hosts, published bit by bit."""

    def __init__(self, kafka: KafkaCluster) -> None:
        number = next(_numbers)
        self.kafka, self.name, self.group = kafka, f"fleet.{number}", f"rates.{number}"
        self.output = f"{self.group}-rates"
        self.runs: list[Run | Host] = []
        self._left: defaultdict[int, list[bytes]] = defaultdict(list)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        # Made-up events are of another year, so the topic of rates must not be one of a week; and
        # clocks of hosts are hours ahead.
        config = TopicPlan().newer_config()
        names = (self.name, self.output)
        topics = [NewTopic(name, PARTITIONS, 1, config=config) for name in names]
        for made in admin.create_topics(topics).values():
            made.result()
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 1})

    def hold(self, runs: Sequence[Run], shape: str = "event", *, by_time: bool = False) -> None:
        """Hold the messages of some runs, to be published; by default, reports come last."""
        self.runs += runs
        for run in runs:
            for place, values in run.partitions(shape).items():
                if by_time:
                    values = sorted(values, key=boot_ns_of)
                self._left[place.partition] += values

    def publish(self, most: int = 1 << 30) -> None:
        """Publish so many more messages of each partition."""
        for partition, values in self._left.items():
            for value in values[:most]:
                self._producer.produce(self.name, value, partition=partition)
            del values[:most]
        self._producer.flush(10)

    def words(self, *more: str) -> list[str]:
        return ["rates", "--bootstrap", self.kafka.bootstrap, "--topic", self.name,
                "--group", self.group, "--to", "kafka", "--late", "60", *BY, *more]  # fmt: skip

    def drawn(self) -> dict[str, list[list[dict[str, Any]]]]:
        """Return what is in the topic of rates, by host and interval, in order of publishing."""
        found: defaultdict[str, list[list[dict[str, Any]]]] = defaultdict(list)
        charts: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for fetched in fetch(self.kafka.bootstrap, self.output):
            message = msgpack.unpackb(fetched.value)
            assert fetched.key == f"{message['host']}/{message['chart']}".encode()
            message["groups"].sort(key=lambda group: group["group"] or "")
            charts[message["host"], message["chart"]].append(message)
        for run in self.runs:
            host = run.origin.host
            for chart in (m["chart"] for m in run.drawn[0]):
                for at, message in enumerate(charts.pop((host, chart), [])):
                    if at == len(found[host]):
                        found[host].append([])
                    found[host][at].append(message)
        assert not {chart for _, chart in charts} & {m["chart"] for m in self.runs[0].drawn[0]}
        return dict(found)

    @property
    def agents(self) -> dict[str, list[list[dict[str, Any]]]]:
        return {run.origin.host: run.drawn for run in self.runs}

    def wait(self) -> None:
        """Wait until the topic of rates holds what the agents drew, and fail if it never does."""
        end = time.monotonic() + END_S
        while (found := self.drawn()) != self.agents:
            agents = self.agents
            told = {host: f"{len(found.get(host, ()))} of {len(drawn)} intervals"
                    for host, drawn in agents.items() if found.get(host) != drawn}  # fmt: skip
            assert time.monotonic() < end, told
            time.sleep(0.5)


@pytest.fixture
def empty(kafka: KafkaCluster) -> Topic:
    return Topic(kafka)


@pytest.fixture
def topic(empty: Topic) -> Topic:
    empty.hold(
        [Run(replace(HOST, host=f"web-{n}"), seed=n, lost=0.1 * (n % 2)) for n in range(HOSTS)]
    )
    return empty


@pytest.fixture
def member(empty: Topic) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return what starts a member of the group; those that are left are ended."""
    members: list[subprocess.Popen[str]] = []

    def starting(*words: str) -> subprocess.Popen[str]:
        members.append(start(*empty.words(*words)))
        return members[-1]

    yield starting
    for one in members:
        one.kill()
        one.communicate()


def ended(member: subprocess.Popen[str]) -> str:
    """Ask a member to end, and return what it said."""
    member.send_signal(signal.SIGTERM)
    _, err = member.communicate(timeout=30)
    assert member.returncode == 0, err
    return err


def test_a_group_of_one_writes_what_the_agents_drew_and_goes_on_where_it_was_left(topic):
    topic.publish(most=200)
    done = taskstream(*topic.words("-e"))
    assert done.code == 0, done.err
    topic.publish()
    done = taskstream(*topic.words("-e"))
    assert done.code == 0, done.err
    assert topic.drawn() == topic.agents
    done = taskstream(*topic.words("-e"))
    assert "0 intervals of 0 hosts" in done.err
    assert topic.drawn() == topic.agents


@pytest.fixture
def busy(topic: Topic) -> Iterator[None]:
    """Publish copies of everything all the time, to every partition."""
    runs, over = list(topic.runs), Event()

    def publish() -> None:
        producer = Producer({"bootstrap.servers": topic.kafka.bootstrap, "linger.ms": 1})
        values = {n: [v for run in runs for v in _of(run, n)] for n in range(PARTITIONS)}
        for at in count():
            for partition, listed in values.items():
                producer.produce(topic.name, listed[at % len(listed)], partition=partition)
            producer.poll(0)
            if over.wait(0.01):
                producer.flush(10)
                return

    topic.publish()
    thread = Thread(target=publish)
    thread.start()
    yield
    over.set()
    thread.join()


def _of(run: Run, partition: int) -> list[bytes]:
    return run.partitions("event").get(Place("events", partition), [])


@pytest.mark.usefixtures("busy")
def test_a_group_that_reads_to_the_end_ends_while_more_is_published_all_the_time(topic):
    done = taskstream(*topic.words("-e"))
    assert done.code == 0, done.err
    assert topic.drawn() == topic.agents


@pytest.mark.usefixtures("busy")
def test_members_that_read_to_the_end_side_by_side_leave_nothing_to_be_read(topic, member):
    members = [member("-e") for _ in range(3)]
    for one in members:
        _, err = one.communicate(timeout=60)
        assert one.returncode == 0, err
    assert topic.drawn() == topic.agents


def test_a_member_that_is_killed_at_random_points_writes_every_interval_once(topic, member):
    chance = random.Random(5)
    topic.publish(most=50)
    for _ in range(6):
        one = member("--instance", "a")
        topic.publish(most=50)
        time.sleep(chance.uniform(0.5, 2.5))
        one.kill()
    topic.publish()
    done = taskstream(*topic.words("--instance", "a", "-e"))
    assert done.code == 0, done.err
    assert topic.drawn() == topic.agents


KILLED = """
import os, signal, sys
from taskstream.cli import main
from taskstream.sink.transaction import Transactions

left, when = int(sys.argv.pop(1)), sys.argv.pop(1)
take_step = Transactions._step

def step(self, what):
    global left
    left -= 1
    if not left and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    take_step(self, what)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

Transactions._step = step
main()
"""


FAILED = """
import sys
from taskstream.cli import main
from taskstream.sink.transaction import AbortedError, Transactions

left, when = int(sys.argv.pop(1)), sys.argv.pop(1)
take_step = Transactions._step

def step(self, what):
    global left
    left -= 1
    if not left and when == "before":
        raise AbortedError("as if nobody answered", away=True)
    take_step(self, what)
    if not left:
        raise AbortedError("as if nobody answered", away=True)

Transactions._step = step
main()
"""


@pytest.mark.parametrize("step", [3, 4])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_member_says_at_the_end_is_what_was_written_also_where_a_step_failed(
    topic, step, when
):
    """Steps: making the writer known, the terms; then, of each transaction, offsets and end."""
    topic.publish()
    words = [sys.executable, "-c", FAILED, str(step), when, *topic.words("-e")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert topic.drawn() == topic.agents
    events = sum(len(batch) for run in topic.runs for batch in run.batches)
    intervals = sum(len(run.drawn) for run in topic.runs)
    assert f"{intervals} intervals of {HOSTS} hosts; counted {events:,} events once" in done.stderr


def test_a_member_that_is_killed_at_each_step_of_a_transaction_writes_every_interval_once(topic):
    """Steps: making the writer known; then, of each transaction, its offsets and its end."""
    for step in range(2, 6):
        for when in ("before", "after"):
            topic.publish(most=25)
            words = [sys.executable, "-c", KILLED, str(step), when, *topic.words("-e")]
            done = subprocess.run(
                [*words, "--instance", "a"], cwd=ROOT, capture_output=True, text=True, timeout=60
            )
            assert done.returncode in (-signal.SIGKILL, 0), done.stderr
            assert done.returncode or step > 3  # fewer steps were enough to come to the end
    topic.publish()
    done = taskstream(*topic.words("--instance", "a", "-e"))
    assert done.code == 0, done.err
    assert topic.drawn() == topic.agents


def test_members_that_join_and_leave_hand_over_what_they_have_in_mind(topic, member):
    members = []
    for _ in range(3):
        members.append(member())
        topic.publish(most=60)
        time.sleep(2)
    said = ""
    for one in members[:2]:
        said += ended(one)
        topic.publish(most=60)
        time.sleep(1)
    topic.publish()
    topic.wait()
    assert f"has 2 of {PARTITIONS} partitions of {topic.name}, 2 of {PARTITIONS}" in said
    said = ended(members[2])
    assert f"has {PARTITIONS} of {PARTITIONS} partitions of {topic.name}" in said
    assert re.search(f"has [0-2] of {PARTITIONS} partitions of {topic.name}", said)
    assert topic.drawn() == topic.agents


@pytest.mark.parametrize("step", [4, 5])
def test_a_member_takes_over_from_one_that_was_killed_within_a_transaction(topic, member, step):
    topic.publish(most=100)
    words = [sys.executable, "-c", KILLED, str(step), "before", *topic.words()]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE) as killed:
        assert killed.wait(30) == -signal.SIGKILL
    other = member()
    topic.publish()
    topic.wait()
    ended(other)
    assert topic.drawn() == topic.agents


def test_a_member_that_was_away_too_long_adds_nothing(topic, member):
    session = ["--kafka", "session.timeout.ms=6000"]
    one, other = member(*session), member(*session)
    topic.publish(most=100)
    time.sleep(4)
    with frozen(one):
        topic.publish(most=100)
        time.sleep(9)
        topic.publish(most=100)
        time.sleep(1)
    topic.publish()
    topic.wait()
    for each in (one, other):
        each.send_signal(signal.SIGTERM)
        each.communicate(timeout=30)
    assert topic.drawn() == topic.agents


def test_a_quiet_host_has_no_late_events_where_a_member_is_hours_behind(empty, member):
    """One reads half a day of it at once, while the other is frozen."""
    run = Run(tasks=900, seconds=12 * 3600, every_s=60, commands=3, step_ns=20 * 10**9)
    empty.hold([run], by_time=True)
    one, other = member(), member()
    time.sleep(4)
    with frozen(one):
        empty.publish()
        time.sleep(4)
    empty.wait()
    for each in (one, other):
        assert not re.search("late|no report", ended(each))
    assert empty.drawn() == empty.agents


@contextmanager
def frozen(process: subprocess.Popen[str]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


def test_a_member_outlives_its_broker_and_goes_on_where_it_was():
    """Away for longer than a transaction, a message and the member's session may last."""
    with KafkaCluster() as cluster:
        topic = Topic(cluster)
        topic.hold([Run(seed=seed).on(f"web-{seed}") for seed in range(HOSTS)])
        one = start(*topic.words())
        try:
            topic.publish(most=100)
            time.sleep(5)
            cluster.kill()
            time.sleep(15)
            cluster.restart()
            topic.publish()
            topic.wait()
            assert "waiting for broker" in ended(one)
        finally:
            one.kill()
            one.communicate()
        assert topic.drawn() == topic.agents


def test_the_broker_inside_the_agent_is_told_from_a_real_one():
    with EmbeddedBroker() as broker:
        done = taskstream("rates", "--bootstrap", broker.address, "--group", "g", "--to", "kafka")
    assert done.code == 1
    assert "the broker inside `taskstream run` cannot; take a real Kafka" in done.err


def test_members_with_other_options_are_refused(topic):
    topic.publish()
    taskstream(*topic.words("-e"))
    done = taskstream(*topic.words("-e", "--window", "60"))
    assert done.code == 1
    assert '"window_s": 60' in done.err
    assert "start all members alike, or name another --group" in done.err
    done = taskstream(*[word for word in topic.words("-e") if word not in ("--to", "kafka")])
    assert done.code == 1
    assert '"output": "lines"' in done.err
    done = taskstream(*topic.words("--kafka", "isolation.level=read_uncommitted"))
    assert "--kafka isolation.level: it is part of how a group works" in done.err


def test_a_topic_of_the_group_that_would_lose_what_is_in_it_is_refused(topic):
    topic.publish()
    topic.kafka.create_topic(
        f"{topic.group}-closing-changelog", PARTITIONS, cleanup_policy="delete"
    )
    done = taskstream(*topic.words("-e"))
    assert done.code == 1
    assert "closing-changelog: cleanup.policy is delete, not compact: what was read" in done.err
    assert "--add-config cleanup.policy=compact" in done.err


def test_a_topic_of_rates_that_keeps_them_for_an_hour_is_told(topic):
    topic.publish()
    words = topic.words("-e", "--output-topic", f"{topic.group}-hour")
    topic.kafka.create_topic(f"{topic.group}-hour", 2, retention_ms="3600000")
    done = taskstream(*words)
    assert done.code == 0, done.err
    assert "-hour: retention.ms is 3600000, not 604800000: events are gone" in done.err


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    return record(tmp_path_factory.mktemp("recorded"))


@pytest.mark.kernel
@pytest.mark.parametrize("members", [1, 2, 4])
def test_fifty_hosts_are_counted_to_the_last_event_by_any_number_of_members(
    empty, member, recordings, members
):
    """Captures of this machine by other names: clocks hours apart, a ring that overflowed,
    hosts that appear when others have been there for a while, and some that fall silent.
    """
    running = [member() for _ in range(members)]
    hosts = fifty_hosts(recordings)
    empty.runs += hosts
    as_they_live(empty, hosts[:30], "event")
    wait_until(empty.drawn)
    as_they_live(empty, hosts[30:], "batch")
    empty.wait()
    counted = sum(int(re.findall(r"counted ([\d,]+)", ended(one))[0].replace(",", ""))
                  for one in running)  # fmt: skip
    assert empty.drawn() == empty.agents
    assert counted == sum(host.events for host in hosts)


def fifty_hosts(recordings: Sequence[Recording]) -> list[Host]:
    chance = random.Random(11)
    hosts = []
    for n in range(50):
        recording = recordings[n % 5 == 2]
        skew_ns = chance.randint(-7200 * 10**9, 7200 * 10**9) if n % 3 else 0
        silent = chance.randint(1, len(recording.intervals) - 1) if n % 7 == 3 else None
        hosts.append(recording.of(f"web-{n:02}", str(UUID(int=n)), skew_ns, silent))
    return hosts


def as_they_live(topic: Topic, hosts: Sequence[Host], message: str) -> None:
    """Publish as the agents of hosts do, side by side."""
    options = {"bootstrap": topic.kafka.bootstrap, "topic": topic.name, "shard_count": 3}
    sink = KafkaSink(KafkaOptions(message=message, queue_wait_ms=WAIT_MS, **options))
    target = KafkaTarget(sink)
    for together in zip_longest(*(host.stream for host in hosts)):
        for one in together:
            if isinstance(one, Batch):
                target.write(one)
            elif one is not None:
                target.report(one)
    sink.drain(END_S)
    assert sink.account.delivered == sink.account.received
