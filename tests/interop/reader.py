"""Print the events of a topic, a line each: kind, cpu, seq, pid, comm. Needs no taskstream.

``python reader.py BOOTSTRAP TOPIC``; the shapes are described in ``docs/messages.md``.
"""

import struct
import sys
from itertools import accumulate

import msgpack
from confluent_kafka import Consumer, KafkaError, TopicPartition


def events(message):
    """Yield the events of a message of shape `event` or `batch`; of a report, none."""
    if message["kind"] == "batch":
        kinds = [group["kind"] for group in message["groups"] for _ in range(group["count"])]
        # These columns are of all events; one of some says of which groups.
        names = ("cpu", "seq", "pid", "comm")
        columns = [values(message["columns"][name], len(kinds)) for name in names]
        for kind, cpu, seq, pid, comm in zip(kinds, *columns, strict=True):
            comm = comm.split(b"\0")[0].decode("utf-8", "backslashreplace")
            yield {"kind": kind, "cpu": cpu, "seq": seq, "pid": pid, "comm": comm}
    elif message["kind"] != "report":
        yield message


def values(column, count):
    """Return the values of a column of a `batch`, which lie side by side, little-endian."""
    formats = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "char[16]": "16s"}
    formats |= {"i8": "<b", "i16": "<h", "i32": "<i"}
    format_, data = formats[column.get("written", column["type"])], column["data"]
    if column.get("layout") == "byte_stream_split":  # the first byte of each, then the second
        written = len(data) // struct.calcsize(format_)
        data = b"".join(data[nth::written] for nth in range(written))
    found = [value for (value,) in struct.iter_unpack(format_, data)]
    if column.get("encoding") == "constant":
        return found * count
    if column.get("encoding") == "delta":
        size, base = struct.calcsize(formats[column["type"]]), column.get("base", 0)
        return [(base + total) % 2 ** (8 * size) for total in accumulate(found)]
    return found


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
