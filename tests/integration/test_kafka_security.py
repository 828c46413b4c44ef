"""TLS, SCRAM, mutual TLS and access lists against the real Kafka: works, or says what is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from taskstream.consumer import TopicSource
from taskstream.errors import BrokerError
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.topic_admin import TopicAdmin
from tests.command import taskstream
from tests.kafka.certificates import Authority
from tests.kafka.cluster import KafkaCluster
from tests.synthetic import lives
from tests.topic import wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

PASSWORD = "not-to-be-shown-5417"
TOPIC, OTHER = "secured", "forbidden"
ANSWER_S = 3
"""A client is told why it is refused at once, and tries again for as long as an answer may take."""


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"), "theirs")


def tls(authority: Authority, *, expired: bool = False) -> dict[str, str]:
    """Return the settings of a broker with a certificate."""
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(authority.key_store("broker", expired=expired)),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.certificate),
    }


def login(authority: Authority, user: str = "agent", password: str = PASSWORD) -> dict[str, str]:
    """Return the settings of a client that logs in."""
    return {
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(authority.certificate),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
    }


@pytest.fixture(scope="module")
def scram(ours: Authority) -> Iterator[KafkaCluster]:
    """Start a broker with TLS, SCRAM and access lists; user agent may write to one topic."""
    jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    users = [f"SCRAM-SHA-512=[name={user},password={PASSWORD}]" for user in ("admin", "agent")]
    with KafkaCluster(
        protocol="SASL_SSL",
        properties={
            **tls(ours),
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": jaas,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:admin;User:ANONYMOUS",
            "auto.create.topics.enable": "false",
        },
        client=login(ours, "admin"),
        format_words=[word for user in users for word in ("--add-scram", user)],
    ) as cluster:
        for topic in (TOPIC, OTHER):
            cluster.create_topic(topic)
        admin = cluster.admin()
        for operation in (AclOperation.WRITE, AclOperation.READ):
            acl = AclBinding(
                ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL, "User:agent", "*",
                operation, AclPermissionType.ALLOW,
            )  # fmt: skip
            admin.create_acls([acl])[acl].result(30)
        yield cluster


@pytest.fixture(scope="module")
def mutual(ours: Authority) -> Iterator[KafkaCluster]:
    """Start a broker that wants a certificate of its clients."""
    certificate, key = ours.sign("client")
    with KafkaCluster(
        protocol="SSL",
        properties={**tls(ours), "ssl.client.auth": "required"},
        client=presenting(ours, certificate, key),
    ) as cluster:
        cluster.create_topic(TOPIC)
        yield cluster


@pytest.fixture(scope="module")
def outdated(ours: Authority) -> Iterator[KafkaCluster]:
    """Start a broker whose certificate is expired."""
    with KafkaCluster(
        protocol="SSL",
        properties=tls(ours, expired=True),
        client={"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"},
    ) as cluster:
        cluster.create_topic(TOPIC)
        yield cluster


def presenting(authority: Authority, certificate: Path, key: Path) -> dict[str, str]:
    """Return the settings of a client that shows a certificate."""
    return {
        "security.protocol": "SSL",
        "ssl.ca.location": str(authority.certificate),
        "ssl.certificate.location": str(certificate),
        "ssl.key.location": str(key),
    }


def sink_to(
    cluster: KafkaCluster, settings: dict[str, str], topic: str = TOPIC, *, patient: bool = False
) -> KafkaSink:
    options = KafkaOptions(
        bootstrap=cluster.bootstrap,
        topic=topic,
        settings=settings,
        patient=patient,
        answer_ms=1000 * ANSWER_S,
    )
    return KafkaSink(options)


def assert_works(cluster: KafkaCluster, settings: dict[str, str]) -> None:
    sink = sink_to(cluster, settings)
    sink.write(lives(10))
    wait_until(lambda: not sink.in_queue(), sink.tick)
    assert (sink.account.delivered, sink.account.rejected) == (40, 0)
    with TopicSource(cluster.bootstrap, TOPIC, settings=settings) as source:
        found = 0
        while not source.at_end:
            found += sum(map(len, source.read(0.05).batches))
    assert found >= 40


def test_scram_over_tls_works(scram, ours):
    assert_works(scram, login(ours))


def test_a_wrong_password_is_told_and_not_shown(scram, ours):
    with pytest.raises(BrokerError, match=r"(?i)authentication.*check sasl\.username") as raised:
        sink_to(scram, login(ours, password="wrong-4711"))
    assert "wrong-4711" not in str(raised.value)
    with pytest.raises(BrokerError, match=r"check sasl\.username"):
        TopicSource(
            scram.bootstrap,
            TOPIC,
            settings=login(ours, password="wrong-4711"),
            answer_ms=1000 * ANSWER_S,
        )
    with pytest.raises(BrokerError, match=r"check sasl\.username"):
        TopicAdmin(scram.bootstrap, login(ours, password="wrong-4711"), answer_s=ANSWER_S).describe(
            TOPIC
        )


def test_patience_does_not_extend_to_a_wrong_password(scram, ours):
    with pytest.raises(BrokerError, match=r"check sasl\.username"):
        sink_to(scram, login(ours, password="wrong-4711"), patient=True)


def test_a_certificate_of_an_unknown_authority_is_told(scram, theirs):
    with pytest.raises(BrokerError, match=r"(?i)certificate.*check ssl\.ca\.location"):
        sink_to(scram, login(theirs))


def test_a_topic_without_permission_is_told(scram, ours):
    with pytest.raises(BrokerError, match=f"topic {OTHER} cannot be used .* ask for the right"):
        sink_to(scram, login(ours), OTHER)
    with pytest.raises(BrokerError, match=f"topic {OTHER} cannot be read"):
        TopicSource(scram.bootstrap, OTHER, settings=login(ours))


def test_a_topic_that_may_be_written_but_not_described_in_full_is_checked_in_part(scram, ours):
    """Without DescribeConfigs the settings stay unknown, and are not called wrong."""
    state = TopicAdmin(scram.bootstrap, login(ours)).describe(TOPIC)
    assert state is not None
    assert (len(state.copies), dict(state.config)) == (4, {})


def test_the_command_line_takes_secrets_from_a_file(scram, ours, tmp_path):
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    settings = login(ours) | {"sasl.password": f"${{file:{secret}}}"}
    words = [word for k, v in settings.items() for word in ("--kafka", f"{k}={v}")]
    done = taskstream("consume", "--bootstrap", scram.bootstrap, "--topic", TOPIC, "-e", *words)
    assert done.code in (0, 3), done.err
    assert PASSWORD not in done.out + done.err


def test_mutual_tls_works(mutual, ours):
    assert_works(mutual, presenting(ours, *ours.sign("agent")))


def test_a_client_without_a_certificate_is_refused_and_told(mutual, ours):
    settings = {"security.protocol": "SSL", "ssl.ca.location": str(ours.certificate)}
    with pytest.raises(BrokerError, match=r"refuses our certificate: .* ssl\.certificate"):
        sink_to(mutual, settings)


def test_an_expired_certificate_is_refused_and_told(mutual, ours):
    settings = presenting(ours, *ours.sign("late", expired=True))
    with pytest.raises(BrokerError, match=r"certificate unknown .*no certificate is expired"):
        sink_to(mutual, settings)


def test_a_certificate_of_another_authority_is_refused_and_told(mutual, ours, theirs):
    settings = presenting(ours, *theirs.sign("stranger"))
    with pytest.raises(BrokerError, match=r"check ssl\.ca\.location"):
        sink_to(mutual, settings)


def test_an_expired_certificate_of_the_broker_is_told(outdated, ours):
    settings = {"security.protocol": "SSL", "ssl.ca.location": str(ours.certificate)}
    said = r"broker certificate could not be verified.*that no certificate is expired"
    with pytest.raises(BrokerError, match=said):
        sink_to(outdated, settings)
    with pytest.raises(BrokerError, match=said):
        sink_to(outdated, settings, patient=True)
    with pytest.raises(BrokerError, match=said):
        TopicSource(outdated.bootstrap, TOPIC, settings=settings, answer_ms=1000 * ANSWER_S)
    with pytest.raises(BrokerError, match=said):
        TopicAdmin(outdated.bootstrap, settings, answer_s=ANSWER_S).describe(TOPIC)
