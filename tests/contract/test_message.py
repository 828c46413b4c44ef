"""What holds for messages of every shape: one suite, a factory for each."""

from collections.abc import Callable

import numpy as np
import pytest

from taskstream.batch import Batch
from taskstream.message.batch_encode import encode_batch
from taskstream.message.decode import MessageDecoder
from taskstream.message.encode import EventEncoder
from taskstream.message.json import JsonEncoder
from taskstream.message.message import Messages
from tests.plain import events_of, map_of
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, bits, each_kind, event, known, lives

Encode = Callable[[Batch], Messages]

SHAPES: dict[str, Encode] = {
    "event": lambda given: EventEncoder(given.origin).encode(given),
    "json": lambda given: JsonEncoder(given.origin).encode(given),
    "batch": encode_batch,
    "batch in shards": lambda given: encode_batch(given, shard_count=3),
    "small batches": lambda given: encode_batch(given, most_events=7),
    "halved batches": lambda given: encode_batch(given, most_bytes=1500),
}


@pytest.fixture(params=SHAPES)
def encode(request: pytest.FixtureRequest) -> Encode:
    return SHAPES[request.param]


def numbers(messages: Messages) -> list[list[int]]:
    """Return the numbers of the events of each message."""
    return [[e["seq"] for e in events_of(value)] for value in messages.values]


def test_every_event_is_in_one_message(encode):
    given = lives(30, cpus=1)
    found = [number for part in numbers(encode(given)) for number in part]
    assert sorted(found) == given.records["seq"].tolist()


def test_every_message_has_a_key_a_stamp_and_a_count(encode):
    messages = encode(lives(30))
    assert len(messages.keys) == len(messages.stamps_ms) == len(messages.values)
    events = messages.events or [1] * len(messages.values)
    assert events == [len(part) for part in numbers(messages)]


def test_every_message_begins_with_version_and_kind(encode):
    for value in encode(each_kind()).values:
        assert list(map_of(value))[:2] == ["v", "kind"]


def test_all_events_of_a_process_have_one_key(encode):
    """So they are in one partition."""
    messages = encode(lives(30))
    keys: dict[int, set[bytes]] = {}
    for key, value in zip(messages.keys, messages.values, strict=True):
        for found in events_of(value):
            keys.setdefault(found["tgid"], set()).add(key)
    assert len(keys) == 30
    assert all(len(own) == 1 for own in keys.values())


def test_the_key_of_a_process_is_the_same_in_every_batch(encode):
    first, second = encode(lives(1)), encode(lives(2))
    assert set(first.keys) <= set(second.keys)


def test_messages_of_one_key_are_in_order_of_time(encode):
    messages = encode(lives(30))
    ends: dict[bytes, int] = {}
    for key, value in zip(messages.keys, messages.values, strict=True):
        times = [e["boot_ns"] for e in events_of(value)]
        assert ends.get(key, 0) <= min(times)
        ends[key] = max(times)


def test_the_stamp_is_the_time_of_the_first_event(encode):
    messages = encode(lives(30))
    for stamp, value in zip(messages.stamps_ms, messages.values, strict=True):
        assert stamp == min(e["wall_ns"] for e in events_of(value)) // 1_000_000


def test_records_from_are_those_of_the_messages_that_are_left(encode):
    messages = encode(lives(30, cpus=1))
    for at in (0, 1, len(messages.values) - 1, len(messages.values)):
        left = [n for part in messages.records_from(at) for n in part["seq"].tolist()]
        assert sorted(left) == sorted(n for part in numbers(messages)[at:] for n in part)


def test_it_comes_back_as_it_was(encode):
    given = batch(
        event("exec", comm=b"\xff", argv=b"a\0\xfe\0"),
        event("exec", flags=bits("args_lost")),
        *(event(kind) for kind in ("fork", "exit", "free", "fail", "task")),
    )
    decoded = MessageDecoder().decode(encode(given).values)
    assert not decoded.rejected
    assert sorted(map(repr, known(decoded.batches))) == sorted(map(repr, known(given)))


def test_nothing_becomes_no_message(encode):
    assert encode(batch()).values == []


def test_records_that_are_a_slice_of_others_are_encoded_as_their_own(encode):
    whole = lives(30, cpus=1)
    part = Batch(ORIGIN, whole.records[10:20], WALL_OFFSET_NS, whole.texts)
    found = sorted(n for message in numbers(encode(part)) for n in message)
    assert found == whole.records["seq"][10:20].tolist()


def test_records_that_may_not_be_written_are_encoded(encode):
    """A source may hand out a view of memory that is not its own."""
    given = lives(30)
    frozen = np.frombuffer(given.records.tobytes(), given.records.dtype)
    messages = encode(Batch(ORIGIN, frozen, WALL_OFFSET_NS, given.texts))
    assert messages.values == encode(given).values
