"""Print the events of a topic, a line each: kind, cpu, seq, pid, comm. Needs no taskstream.

``python reader.py BOOTSTRAP TOPIC``; the shapes are described in ``docs/messages.md``.
"""

import sys

import msgpack
from confluent_kafka import Consumer, KafkaError, TopicPartition


def events(message):
    """Yield the events of a message of shape `event` or `batch`; of a report, none."""
    if message["kind"] == "batch":
        for group in message["groups"]:
            for row in group["rows"]:
                event = dict(zip(group["fields"], row, strict=True))
                yield event | {"kind": group["kind"], "comm": message["strings"][event["comm"]]}
    elif message["kind"] != "report":
        yield message


def messages(bootstrap, topic):
    """Yield the values of all messages from the beginning to the present end."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "any", "enable.partition.eof": True}
    )
    partitions = consumer.list_topics(topic).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    left = len(partitions)
    while left:
        found = consumer.poll(1)
        if found is None:
            continue
        if found.error() is None:
            yield found.value()
        elif found.error().code() == KafkaError._PARTITION_EOF:
            left -= 1
        else:
            sys.exit(str(found.error()))
    consumer.close()


for value in messages(*sys.argv[1:]):
    for event in events(msgpack.unpackb(value)):
        print(event["kind"], event["cpu"], event["seq"], event["pid"], event["comm"])
