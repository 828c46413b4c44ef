"""`taskstream topics` on the real Kafka, and what `run` says of a topic that does not fit."""

import json
import re
import signal
import time
from dataclasses import replace

import pytest

from taskstream.errors import BrokerError
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.stats import Account
from taskstream.topic import TopicPlan
from taskstream.topic_admin import TopicAdmin
from tests.command import Done, start, taskstream
from tests.kafka.cluster import KafkaCluster
from tests.synthetic import lives

pytestmark = pytest.mark.kafka


def topics(kafka: KafkaCluster, verb: str, topic: str, *more: str) -> Done:
    return taskstream("topics", verb, "--bootstrap", kafka.bootstrap, "--topic", topic, *more)


def test_create_makes_a_topic_that_check_finds_fit(kafka, topic):
    absent = topics(kafka, "check", topic)
    assert (absent.code, absent.out) == (
        1,
        f"topic {topic} is not there: `taskstream topics create` makes it\n",
    )
    made = topics(kafka, "create", topic)
    assert (made.code, made.out) == (0, f"topic {topic} was made on {kafka.bootstrap}\n")
    found = topics(kafka, "check", topic)
    assert (found.code, found.out) == (0, f"topic {topic} fits: 4 partitions, 1 copies\n")
    again = topics(kafka, "create", topic)
    assert again.code == 0
    assert again.lines[0] == f"topic {topic} is there already"


def test_every_option_becomes_a_setting_of_the_topic(kafka, topic):
    options = ["--partitions", "7", "--retention-hours", "48", "--retention-size", "1G"]
    options += ["--compression", "zstd", "--min-insync", "1", "--replication", "1"]
    assert topics(kafka, "create", topic, *options).code == 0
    state = TopicAdmin(kafka.bootstrap).describe(topic)
    assert state is not None
    assert len(state.copies) == 7
    made_with = {**TopicPlan().config(1), **TopicPlan().newer_config()}
    assert {name: state.config[name] for name in made_with} == {
        "cleanup.policy": "delete",
        "compression.type": "zstd",
        "message.timestamp.after.max.ms": "9223372036854775807",
        "message.timestamp.type": "CreateTime",
        "min.insync.replicas": "1",
        "retention.bytes": str(1 << 30),
        "retention.ms": str(48 * 3_600_000),
    }
    assert topics(kafka, "check", topic, *options).code == 0


def test_the_configuration_file_says_what_the_topic_should_be(kafka, topic, tmp_path):
    config = tmp_path / "c.conf"
    config.write_text(
        f"[stream]\ntopic = {topic}\n[topic]\npartitions = 2\nretention hours = 1\n"
        f"[kafka]\nbootstrap.servers = {kafka.bootstrap}\nlinger.ms = 5\n"
    )
    assert taskstream("topics", "create", "--config", config).code == 0
    assert taskstream("topics", "check", "--config", config).code == 0
    done = topics(kafka, "check", topic, "--json")
    row = json.loads(done.out)
    assert done.code == 1
    assert [misfit["what"] for misfit in row["misfits"]] == ["partitions", "retention.ms"]
    assert row["found"]["copies"] == [1, 1]


def test_check_says_what_is_wrong_and_what_to_do(kafka, topic):
    kafka.create_topic(topic, 1, 1, cleanup_policy="compact", min_insync_replicas="2")
    done = topics(kafka, "check", topic)
    assert done.code == 1
    assert f"topic {topic}: min.insync.replicas is 2, not 1: Kafka before 4.0 would" in done.out
    assert "cleanup.policy is compact, not delete" in done.out
    assert "partitions is 1, not 4 or more" in done.out


def test_events_of_a_host_whose_clock_is_ahead_are_taken_by_a_topic_that_create_made(kafka, topic):
    """As Kafka makes a topic since 4.0, it rejects them, and what travels with them."""
    made, other = f"{topic}-made", f"{topic}-other"
    assert topics(kafka, "create", made).code == 0
    kafka.create_topic(other)
    assert publish_ahead(kafka, made) == Account(received=21, delivered=21)
    rejected = publish_ahead(kafka, other)
    assert rejected == Account(received=21, rejected=21)
    done = topics(kafka, "check", other)
    (line,) = done.lines
    assert line.startswith(
        f"topic {other}: message.timestamp.after.max.ms is 3600000, not 9223372036854775807: "
        "events of a host whose clock is 1 h ahead will be rejected (repair: kafka-configs.sh "
    )


def publish_ahead(kafka: KafkaCluster, topic: str) -> Account:
    """Publish events of a host whose clock is two hours ahead; return what became of them."""
    given = lives(7, cpus=1).part(slice(0, 21))
    ahead_ns = time.time_ns() + 2 * 3600 * 10**9 - int(given.records["boot_ns"][0])
    sink = KafkaSink(KafkaOptions(bootstrap=kafka.bootstrap, topic=topic))
    sink.write(replace(given, wall_offset_ns=ahead_ns))
    sink.drain(20)
    return sink.account


def test_a_broker_that_does_not_know_the_newer_settings_makes_the_topic_without_them(kafka, topic):
    """As Kafka before 3.6 does not; this one is asked for a setting that no Kafka has."""

    class Later(TopicPlan):
        def newer_config(self) -> dict[str, str]:
            return {"message.timestamp.of.tomorrow": "1"}

    admin = TopicAdmin(kafka.bootstrap)
    assert admin.create(topic, Later())
    state = admin.describe(topic)
    assert state is not None
    assert TopicPlan().config(1).items() <= state.config.items()


def test_more_copies_than_brokers_cannot_be_made(kafka, topic):
    done = topics(kafka, "create", topic, "--replication", "3")
    assert done.code == 1
    assert f"taskstream topics: topic {topic} cannot be made: " in done.err
    assert "replicat" in done.err


def test_a_broker_that_does_not_answer_is_told(kafka, topic):
    with pytest.raises(BrokerError, match="does not answer"):
        TopicAdmin("127.0.0.1:1", answer_s=1).describe(topic)
    assert taskstream("topics", "check").code == 2


@pytest.mark.kernel
def test_run_says_what_is_wrong_with_the_topic(kafka, topic):
    kafka.create_topic(topic, 1, 1, cleanup_policy="compact")
    with start(
        "run", "--bootstrap", kafka.bootstrap, "--topic", topic, "--json", "--update-every", "1"
    ) as agent:
        assert agent.stdout is not None
        agent.stdout.readline()
        agent.stdout.readline()
        agent.send_signal(signal.SIGTERM)
        _, err = agent.communicate(timeout=30)
    assert re.search(rf"taskstream run: topic {topic}: cleanup.policy is compact, not delete", err)
    assert re.search(rf"taskstream run: topic {topic}: partitions is 1", err)
    assert f"taskstream run: topic {topic}: message.timestamp.after.max.ms is 3600000, not" in err
