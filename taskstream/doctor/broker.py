"""What a broker's answer means, or its silence.

Pure: from texts to findings.
"""

import re
from collections.abc import Iterator, Sequence

from taskstream.doctor.finding import Finding

__all__ = ["judge_broker", "judge_broker_faults"]

_BROKER_REPAIRS = {  # by what librdkafka says
    "Failed to resolve": "correct the host name in --bootstrap, or this machine's name service",
    "Connection refused": "start the broker, or correct HOST:PORT in --bootstrap",
    "SSL|security.protocol": "make security.protocol and ssl.* agree with the broker's listener",
    "SASL|uthenticat": "make sasl.* agree with what the broker expects",
    "": "see that HOST:PORT is a Kafka listener and that no firewall is in between",
}


def judge_broker(
    cluster: str | None, brokers: Sequence[str], topic: str, partitions: int | None
) -> Iterator[Finding]:
    """Judge what a broker answered.

    Args:
        cluster: Its name, if the broker knows one.
        brokers: The addresses under which producers will look for them.
        topic: The topic to publish to.
        partitions: Of the topic; None if it is not among those that are told.
    """
    many = "broker" if len(brokers) == 1 else "brokers"
    found = f"cluster {cluster or 'without a name'}, {len(brokers)} {many}: {' '.join(brokers)}"
    yield Finding("broker", "ok", found)
    if partitions is not None:
        yield Finding("topic", "ok", f"{topic}, partitions: {partitions}")
        return
    repair = f"create {topic}, or let the broker create it (auto.create.topics.enable)"
    yield Finding("topic", "warn", f"{topic} does not exist, or may not be seen", repair)


def judge_broker_faults(said: Sequence[str], timeout_s: float) -> Finding:
    """Judge what librdkafka said while no broker answered."""
    texts = [re.sub(r"/bootstrap|\s*\(after \d+ms in state \w+\)", "", text) for text in said]
    faults = [text for text in dict.fromkeys(texts) if "brokers are down" not in text]
    found = "; ".join(
        ["no broker answers", *faults[:3]] if faults else [f"no answer within {timeout_s:g} s"]
    )
    repair = next(r for p, r in _BROKER_REPAIRS.items() if re.search(p, found))
    return Finding("broker", "fail", found, repair)
