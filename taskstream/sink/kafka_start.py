"""The first question to a broker: whether it is there, and lets us use the topic.

Rim: touches a broker through confluent-kafka.
"""

from confluent_kafka import KafkaError, KafkaException, Producer

from taskstream.errors import BrokerError

__all__ = ["NoAnswerError", "check_topic"]


class NoAnswerError(BrokerError):
    """Nobody is there; not that somebody refuses."""


def check_topic(producer: Producer, bootstrap: str, topic: str, *, answer_ms: int) -> None:
    """Ask for the topic, so that a wrong address or right is known before anything starts.

    Args:
        producer: Asks.
        bootstrap: Its brokers' addresses, for messages.
        topic: The topic.
        answer_ms: How long the brokers may take to answer.

    Raises:
        NoAnswerError: nobody answers.
        BrokerError: the topic does not exist, or may not be used.
    """
    timeout_s = answer_ms / 1000
    try:
        producer.list_topics(topic, timeout=timeout_s)
        # A second answer makes librdkafka ask for its producer id at once. After the first it
        # knows the brokers, and would wait half a second for its own timer.
        found = producer.list_topics(topic, timeout=timeout_s)
    except KafkaException as error:
        raise NoAnswerError(
            f"broker {bootstrap} does not answer ({error.args[0].str()}): "
            "check the address and that the broker runs; `taskstream doctor --bootstrap` tells more"
        ) from None
    trouble = found.topics[topic].error
    if trouble is None or trouble.code() in (
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._UNKNOWN_PARTITION,
    ):
        return
    if trouble.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):
        raise BrokerError(
            f"topic {topic} does not exist on {bootstrap}, and the broker makes "
            "none by itself: create it, or name another with --topic"
        )
    raise BrokerError(
        f"topic {topic} cannot be used on {bootstrap}: {trouble.str()}: "
        "ask for the right to write to it, or name another with --topic"
    )
