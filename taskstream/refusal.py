"""Why a broker does not let us in, in words that say what to do.

Rim by its import: the error codes are confluent-kafka's.
"""

import re

from confluent_kafka import KafkaError

__all__ = ["refusal"]

_PLACE = re.compile(r"^\S*:\d+/\S+: ")
_ALERT = re.compile(r"tls alert ([a-z ]+)", re.IGNORECASE)
_LOGIN = "check sasl.username, sasl.password and sasl.mechanism"
_CERTIFICATE = (
    "check ssl.ca.location, ssl.certificate.location, ssl.key.location, and that no certificate is "
    "expired"
)


def refusal(error: KafkaError) -> str:
    """Return what a broker, or the way to it, objects to, and what to check.

    Returns:
        The empty string for an error that waiting may repair.
    """
    text = _PLACE.sub("", error.str()).strip()
    if error.code() == KafkaError._AUTHENTICATION:
        return f"{text} ({_LOGIN})"
    if error.code() == KafkaError._SSL:
        return f"{text} ({_CERTIFICATE})"
    # A client's certificate is looked at after its side of the handshake is over, so librdkafka
    # calls it a broken connection.
    alert = _ALERT.search(text)
    return f"it refuses our certificate: {alert[1].strip()} ({_CERTIFICATE})" if alert else ""
