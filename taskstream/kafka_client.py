"""Clients of a broker: made alike, whatever they are for, and alike in what they say of it.

Rim: makes clients of confluent-kafka; it uses none.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from taskstream.errors import BrokerError, ConfigError

__all__ = ["LOG", "make_admin", "make_client", "no_answer", "refresh"]

LOG = logging.getLogger("taskstream.kafka")

_Client = TypeVar("_Client")

_OF_ALL = (
    "broker.",
    "client.",
    "debug",
    "enable.sasl",
    "enable.ssl",
    "log",
    "metadata.",
    "oauthbearer",
    "reconnect.",
    "sasl.",
    "security.",
    "socket.",
    "ssl.",
)
"""How the settings begin that mean something to every client, not to a consumer or producer alone.

librdkafka takes the others, too, and warns of each.
"""


def make_client(kind: Callable[[dict[str, Any]], _Client], config: Mapping[str, Any]) -> _Client:
    """Make a client that logs where ours do.

    Args:
        kind: ``Consumer``, ``Producer`` or ``AdminClient``.
        config: librdkafka settings.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
    """
    try:
        return kind({"logger": LOG, **config})
    except KafkaException as error:
        raise ConfigError(f"Kafka settings: {error.args[0].str()}") from None


def make_admin(bootstrap: str, settings: Mapping[str, str] | None, **config: object) -> AdminClient:
    """Make a client that asks about topics, with what of a user's settings means something to it.

    Args:
        bootstrap: Broker addresses.
        settings: librdkafka settings of the user, for a client of any kind.
        config: librdkafka settings beside them.

    Raises:
        ConfigError: a setting is unknown or has a wrong value.
    """
    shared = {name: value for name, value in (settings or {}).items() if name.startswith(_OF_ALL)}
    return make_client(AdminClient, {**shared, "bootstrap.servers": bootstrap, **config})


def refresh(admin: AdminClient) -> None:
    """Have a client ask who leads which partition.

    It does not by itself where a broker that led came back, and gets no answers any more.
    """
    with suppress(KafkaException):
        admin.list_topics(timeout=1)


def no_answer(bootstrap: str, error: KafkaException, refused: str) -> BrokerError:
    """Return what to raise where no broker answered a question.

    Args:
        bootstrap: Broker addresses.
        error: What librdkafka says of it.
        refused: What the brokers object to, if it is that: see ``taskstream.refusal``.
    """
    if refused:
        return BrokerError(f"broker {bootstrap}: {refused}")
    return BrokerError(
        f"broker {bootstrap} does not answer ({error.args[0].str()}): "
        "check the address and that the broker runs"
    )
