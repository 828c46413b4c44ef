"""What was encoded is decoded, and what was not is rejected; nothing else can happen."""

import json
from typing import Any

import msgpack
import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from taskstream.batch import Batch, time_order
from taskstream.message.batch_encode import encode_batch
from taskstream.message.decode import Decoded, MessageDecoder
from taskstream.message.encode import EventEncoder
from taskstream.message.json import JsonEncoder
from taskstream.sequence import StreamBooks
from tests.plain import events_of
from tests.property.strategy import batches, plain_values
from tests.synthetic import batch, each_kind, event, known, lives

SAMPLES = [
    *EventEncoder(each_kind().origin).encode(each_kind()).values,
    *JsonEncoder(each_kind().origin).encode(each_kind()).values,
    *encode_batch(each_kind()).values,
    *encode_batch(lives(2)).values,
    *encode_batch(lives(64)).values,
    *encode_batch(batch(event("exec", comm=b"\xff"))).values,
]


def event_messages(whole: Batch) -> list[bytes]:
    return EventEncoder(whole.origin).encode(whole).values


def in_order(whole: Batch) -> Batch:
    return whole.part(time_order(whole.records))


def decode(values: list[bytes], decoder: MessageDecoder | None = None) -> Decoded:
    """Decode, and do with what is found what a reader does with it."""
    decoded = (decoder or MessageDecoder()).decode(values)
    assert {type(error).__name__ for _, error in decoded.rejected} <= {"MessageError"}
    books = StreamBooks(from_start=True)
    for found in decoded.batches:
        books.add(found)
        for value in event_messages(found):
            msgpack.unpackb(value)
        encode_batch(found)
    for report in decoded.reports:
        books.report(report)
    books.summaries()
    return decoded


# --- round trips ---------------------------------------------------------------------------------


@given(batches())
def test_a_batch_is_the_same_after_its_way_as_event_messages(whole):
    decoded = decode(event_messages(whole))
    assert not decoded.rejected
    assert known(decoded.batches) == known(whole)


@given(batches(), st.integers(200, 300))
def test_many_events_of_few_numbers_are_the_same_after_their_way_as_one_batch(few, count):
    whole = few.part(np.resize(np.arange(len(few)), count if len(few) else 0))
    decoded = decode(encode_batch(whole, most_bytes=10**9).values)
    assert known(decoded.batches) == known(in_order(whole))


@given(batches(), st.integers(1, 4), st.integers(1, 5), st.integers(200, 2000))
def test_a_batch_is_the_same_after_its_way_as_batch_messages(whole, shards, events, size):
    messages = encode_batch(whole, shard_count=shards, most_events=events, most_bytes=size)
    decoded = decode(messages.values)
    assert not decoded.rejected
    parts = sorted(known(decoded.batches), key=lambda e: (e["boot_ns"], e["cpu"], e["seq"]))
    assert parts == known(in_order(whole))


@given(batches())
def test_a_batch_message_comes_back_in_order_of_time(whole):
    assume(len(whole))
    (found,) = decode(encode_batch(whole).values).batches
    assert known(found) == known(in_order(whole))


@given(batches())
def test_what_comes_back_is_the_same_when_it_is_sent_again(whole):
    first = decode(event_messages(whole)).batches
    values = [value for part in first for value in event_messages(part)]
    assert known(decode(values).batches) == known(whole)
    assert list(map(msgpack.unpackb, values)) == list(map(msgpack.unpackb, event_messages(whole)))


@given(batches())
def test_both_shapes_say_the_same_to_any_reader(whole):
    one_each = [e for value in event_messages(whole) for e in events_of(value)]
    together = [e for value in encode_batch(whole).values for e in events_of(value)]
    by_number = {e["seq"]: e for e in together}
    assert len(by_number) == len(one_each) == len(whole)
    assert [by_number[e["seq"]] for e in one_each] == one_each


@given(batches())
def test_json_says_what_messagepack_says(whole):
    written = JsonEncoder(whole.origin).encode(whole)
    packed = EventEncoder(whole.origin).encode(whole)
    assert list(map(json.loads, written.values)) == list(map(msgpack.unpackb, packed.values))
    assert (written.keys, written.stamps_ms) == (packed.keys, packed.stamps_ms)


@given(batches())
def test_a_batch_is_the_same_after_its_way_as_json_messages(whole):
    decoded = decode(JsonEncoder(whole.origin).encode(whole).values)
    assert not decoded.rejected
    assert known(decoded.batches) == known(whole)


@given(batches())
def test_what_another_encoder_wrote_is_the_same_batch(whole):
    values = [msgpack.packb(msgpack.unpackb(value)) for value in event_messages(whole)]
    assert known(decode(values).batches) == known(whole)
    values = [msgpack.packb(msgpack.unpackb(value)) for value in encode_batch(whole).values]
    assert known(decode(values).batches) == known(in_order(whole))


@given(st.lists(batches(most=3), max_size=4))
def test_every_event_of_a_mixed_topic_comes_out_once(parts):
    values = []
    for number, part in enumerate(parts):
        values += event_messages(part) if number % 2 else encode_batch(part).values
    decoded = decode(values)
    assert not decoded.rejected
    assert sum(map(len, decoded.batches)) == sum(map(len, parts))


# --- what was not encoded ------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_arbitrary_bytes_are_rejected_one_by_one(values):
    decoded = decode(values)
    assert [position for position, _ in sorted(decoded.rejected)] == list(range(len(values)))


@given(st.lists(st.text(max_size=40).map(lambda text: b"{" + text.encode()), max_size=5))
def test_text_that_begins_like_json_is_rejected_one_by_one(values):
    decoded = decode(values)
    assert [position for position, _ in sorted(decoded.rejected)] == list(range(len(values)))


@given(st.lists(plain_values.map(msgpack.packb), max_size=5))
def test_arbitrary_messagepack_is_rejected_one_by_one(values):
    decoded = decode(values)
    assert [position for position, _ in sorted(decoded.rejected)] == list(range(len(values)))


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw a message, and the same with some bytes changed, gone or added."""
    sample = draw(st.sampled_from(SAMPLES))
    value = bytearray(sample)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value)))
        value[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return sample, bytes(value)


@given(spoilt())
def test_a_message_with_spoilt_bytes_is_rejected_or_read_and_never_more(pair):
    _, value = pair
    decoded = decode([value])
    assert len(decoded.rejected) + len(decoded.batches) + len(decoded.reports) == 1


@given(spoilt())
def test_without_arguments_a_spoilt_message_is_rejected_or_read_and_never_more(pair):
    """It takes what the whole decoder takes; of the rest, what is spoilt in the arguments alone."""
    sample, value = pair
    decoder = MessageDecoder(args=False)
    decoder.decode([sample])
    whole, found = decode([value]), decoder.decode([value])
    assert len(found.rejected) + len(found.batches) + len(found.reports) == 1
    assert len(found.rejected) <= len(whole.rejected)
    if whole.batches:
        ((one,), (other,)) = whole.batches, found.batches
        assert one.records.tobytes() == other.records.tobytes()


@given(spoilt())
def test_what_a_decoder_has_read_before_decides_nothing(pair):
    sample, value = pair
    learned = MessageDecoder()
    learned.decode([sample])
    fresh, again = decode([value]), decode([value], learned)
    assert len(fresh.rejected) == len(again.rejected)
    assert known(fresh.batches) == known(again.batches)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything in a nested value."""
    found = [at] if at else []
    if isinstance(value, dict):
        for name, member in value.items():
            found += places(member, (*at, name))
    if isinstance(value, list):
        for index, member in enumerate(value):
            found += places(member, (*at, index))
    return found


@st.composite
def misbuilt(draw: st.DrawFn) -> bytes:
    """Draw a message in which one member is something else, or gone."""
    sample = draw(st.sampled_from(SAMPLES))
    as_json = sample.startswith(b"{")
    message = json.loads(sample) if as_json else msgpack.unpackb(sample)
    *path, last = draw(st.sampled_from(places(message)))
    inner = message
    for name in path:
        inner = inner[name]
    if draw(st.booleans()):
        inner[last] = draw(plain_values)
    else:
        del inner[last]
    return json.dumps(message, default=bytes.hex).encode() if as_json else msgpack.packb(message)


@given(misbuilt())
def test_a_message_with_a_misbuilt_member_is_rejected_or_read_and_never_more(value):
    decoded = decode([value])
    assert len(decoded.rejected) + len(decoded.batches) + len(decoded.reports) == 1
