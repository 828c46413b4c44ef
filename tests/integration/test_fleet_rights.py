"""A group works with the rights that docs/fleet.md lists, and says which of them it lacks."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from taskstream.consumer.reader import Reader
from taskstream.errors import BrokerError
from tests.agent_run import PARTITIONS, Run
from tests.command import Done, taskstream
from tests.kafka.cluster import KafkaCluster
from tests.topic import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

RUN = Run()
PASSWORD = "not-to-be-shown-5417"
_numbers = count()


class Right(NamedTuple):
    """A right that a member needs; names are of a group ``{group}`` and its topic ``{events}``."""

    kind: ResourceType
    name: str
    operation: AclOperation
    prefix: bool = False

    def binding(self, group: str, events: str) -> AclBinding:
        return AclBinding(
            self.kind,
            self.name.format(group=group, events=events),
            ResourcePatternType.PREFIXED if self.prefix else ResourcePatternType.LITERAL,
            "User:member",
            "*",
            self.operation,
            AclPermissionType.ALLOW,
        )


OWN = ("partials-repartition", "counting-changelog", "closing-changelog")
NEEDED = [
    Right(ResourceType.TOPIC, "{events}", AclOperation.READ),
    *(
        Right(ResourceType.TOPIC, f"{{group}}-{topic}", operation)
        for topic in OWN
        for operation in (AclOperation.READ, AclOperation.WRITE)
    ),
    Right(ResourceType.TOPIC, "{group}-rates", AclOperation.WRITE),
    Right(ResourceType.GROUP, "{group}", AclOperation.READ),
    Right(ResourceType.TRANSACTIONAL_ID, "{group}/", AclOperation.WRITE, prefix=True),
]
CREATE = Right(ResourceType.TOPIC, "{group}-", AclOperation.CREATE, prefix=True)


@pytest.fixture(scope="module")
def guarded() -> Iterator[KafkaCluster]:
    """Start a broker on which user member may do nothing yet."""
    jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    users = [f"SCRAM-SHA-512=[name={user},password={PASSWORD}]" for user in ("admin", "member")]
    with KafkaCluster(
        protocol="SASL_PLAINTEXT",
        properties={
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": jaas,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:ANONYMOUS",
            "auto.create.topics.enable": "false",
        },
        client=login("admin"),
        format_words=[word for user in users for word in ("--add-scram", user)],
    ) as cluster:
        yield cluster


def login(user: str) -> dict[str, str]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": PASSWORD,
    }


class Guarded:
    """A topic with the events of a host, and a group that has some rights."""

    def __init__(self, cluster: KafkaCluster, rights: Sequence[Right], *, made: bool) -> None:
        number = next(_numbers)
        self._cluster, self.group, self.events = cluster, f"guarded.{number}", f"events.{number}"
        cluster.create_topic(self.events, PARTITIONS)
        producer = Producer({"bootstrap.servers": cluster.bootstrap, **login("admin")})
        for place, values in RUN.partitions("batch").items():
            for value in values:
                producer.produce(self.events, value, partition=place.partition)
        producer.flush(30)
        if made:
            cluster.create_topic(f"{self.group}-partials-repartition", PARTITIONS)
            for topic in ("counting-changelog", "closing-changelog"):
                cluster.create_topic(f"{self.group}-{topic}", PARTITIONS, cleanup_policy="compact")
            cluster.create_topic(f"{self.group}-rates", PARTITIONS)
        bindings = [right.binding(self.group, self.events) for right in rights]
        admin = cluster.admin()
        for answer in admin.create_acls(bindings).values():
            answer.result(30)

    def run(self) -> Done:
        settings = [word for k, v in login("member").items() for word in ("--kafka", f"{k}={v}")]
        return taskstream("rates", "--bootstrap", self._cluster.bootstrap, "--topic", self.events,
                          "--group", self.group, "--to", "kafka", "-e", *settings)  # fmt: skip


def counted(done: Done) -> bool:
    events = sum(map(len, RUN.batches))
    return done.code == 0 and f"counted {events:,} events once" in done.err


def test_a_group_works_with_the_rights_that_are_listed_and_with_no_other(guarded):
    assert counted(done := Guarded(guarded, NEEDED, made=True).run()), done.err
    assert counted(done := Guarded(guarded, [*NEEDED, CREATE], made=False).run()), done.err
    done = Guarded(guarded, NEEDED, made=False).run()
    assert done.code == 1
    assert "partials-repartition cannot be made: Authorization failed" in done.err


@pytest.mark.parametrize("lacking", NEEDED, ids=lambda right: right.name + right.operation.name)
def test_a_right_that_is_missing_is_told_with_what_it_is_for(guarded, lacking):
    group = Guarded(guarded, [right for right in NEEDED if right != lacking], made=True)
    done = group.run()
    assert done.code == 1
    said = done.err.splitlines()[-1]
    name = lacking.name.format(group=group.group, events=group.events)
    if lacking.kind == ResourceType.TOPIC:
        assert f"topic {name}" in said
        assert f"no right to {lacking.operation.name}" in said or "authorization failed" in said
    elif lacking.kind == ResourceType.GROUP:
        assert f"group {name} on " in said
        assert "Group authorization failed" in said
    else:
        assert f"transaction {name}" in said
        assert "Transactional Id authorization failed: ask for that right" in said
    assert PASSWORD not in done.err


def test_a_partition_whose_progress_is_not_told_is_an_error_and_not_a_new_one(guarded):
    """The right to one of two topics is taken away between a reader's start and its first read."""
    group = Guarded(guarded, NEEDED, made=True)
    partials = f"{group.group}-partials-repartition"
    topics = [group.events, partials]
    reader = Reader(guarded.bootstrap, topics, group=group.group, beside=partials,
                    settings=login("member"))  # fmt: skip
    every = AclBindingFilter(ResourceType.TOPIC, partials, ResourcePatternType.LITERAL, None,
                             None, AclOperation.ANY, AclPermissionType.ANY)  # fmt: skip
    admin = guarded.admin()
    assert len(admin.delete_acls([every])[every].result(30)) == 2
    looking = AdminClient({"bootstrap.servers": guarded.bootstrap, **login("member")})
    wait_until(lambda: looking.list_topics(partials, 10).topics[partials].error)
    said = rf"has committed of {partials} \[\d\]: .*[Tt]opic authorization failed"
    with reader, pytest.raises(BrokerError, match=said):
        wait_until(lambda: reader.read(0.1))
