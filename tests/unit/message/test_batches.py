"""Many `batch` messages at once are what each of them is alone."""

from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import numpy as np
import pytest

from taskstream.batch import Batch, time_order
from taskstream.errors import MessageError
from taskstream.message import batch_decode
from taskstream.message.batch_decode import decode_batch, decode_batches
from taskstream.message.batch_encode import encode_batch
from taskstream.message.decode import MessageDecoder
from taskstream.record import FLAGS, KINDS, RECORD
from tests.synthetic import batch, bits, each_kind, event, known, labelled, lives

_FREE = ("version", "kind", "cpu", "seq", "flags", "call", "comm")
"""Members of a record that are not any number."""

Spoil = Callable[[dict[str, Any]], object]


def encoded(given: Batch) -> bytes:
    (value,) = encode_batch(given).values
    return value


def any_numbers(given: Batch, seed: int) -> Batch:
    """Put any numbers at all into the records."""
    rng = np.random.default_rng(seed)
    fails, calls = given.records["kind"] == KINDS["fail"], given.records["call"].copy()
    for name in RECORD.names or ():
        if name not in _FREE:
            dtype = RECORD[name]
            raw = rng.bytes(len(given) * dtype.itemsize)
            given.records[name] = np.frombuffer(raw, dtype)
    given.records["call"][fails] = calls[fails]  # fields of other kinds lie over it
    given.records["boot_ns"] >>= 2  # wall_ns is a number of 64 bits, too
    return given


def varied(count: int) -> list[Batch]:
    """Make batches of a few layouts, of other lengths each."""
    flags = [0, *(flag.mask for flag in FLAGS.values()), bits("args_lost", "io_unknown")]
    layouts = [
        lives(3),
        lives(20),
        each_kind(),
        labelled(each_kind()),
        batch(*(event(kind, flags=f) for f in flags for kind in KINDS)),
        batch(event("fail", call=1), event("fail", call=2), event("fail", call=1)),
        batch(event("exec", filename=b"", argv=b""), event("exec", argv=b"a\0" * 300)),
    ]
    given = [layouts[n % len(layouts)] for n in range(count)]
    return [any_numbers(one.part(np.arange(len(one))), seed) for seed, one in enumerate(given)]


def in_time(given: Batch) -> list[dict[str, Any]]:
    return known(given.part(time_order(given.records)))


def test_messages_read_together_hold_what_each_was_made_of():
    given = varied(60)
    found = list(decode_batches([encoded(one) for one in given]))
    assert [known(one) for one in found] == [in_time(one) for one in given]


def test_of_messages_read_together_none_has_arguments_that_nobody_asked_for():
    values = [encoded(one) for one in varied(20)]
    for one, alone in zip(decode_batches(values, args=False), values, strict=True):
        assert one.texts == {}
        assert (one.records == decode_batch(alone).records).all()


def test_messages_of_one_layout_are_read_together(monkeypatch):
    sizes = []
    read = batch_decode._read_alike

    def counted(messages: Sequence[dict[str, Any]], *args: Any, **options: Any) -> list[Batch]:
        sizes.append(len(messages))
        return read(messages, *args, **options)

    monkeypatch.setattr(batch_decode, "_read_alike", counted)
    given = [lives(3), each_kind(), lives(5), lives(100), lives(63), each_kind(), lives(100)]
    found = MessageDecoder().decode([encoded(one) for one in given])
    assert list(map(len, found.batches)) == list(map(len, given))
    assert sorted(sizes) == [1, 1, 2, 3]


def without(member: str) -> Spoil:
    return lambda column: column.pop(member)


def with_(**members: Any) -> Spoil:
    return lambda column: column.update(members)


def shorter(column: dict[str, Any]) -> None:
    column["data"] = column["data"][:-1]


def longer(column: dict[str, Any]) -> None:
    column["data"] += column["data"][:1] or b"x"


SPOILS = {
    "no data": without("data"),
    "no type": without("type"),
    "shorter": shorter,
    "longer": longer,
    "another type": with_(type="f64"),
    "text": with_(data="text"),
    "another encoding": with_(encoding="rle"),
    "another layout": with_(layout="zigzag"),
    "written longer": with_(written="u64"),
    "other groups": with_(groups=[0]),
    "a list": with_(data=[1, 2]),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_spoilt_column_is_told_as_if_it_were_alone_and_spoils_no_other_message(spoil):
    good = [encoded(lives(n)) for n in (2, 3, 4)]
    told = 0
    for name in msgpack.unpackb(good[0])["columns"]:
        message = msgpack.unpackb(good[0])
        spoil(message["columns"][name])
        bad: bytes = msgpack.packb(message)
        try:
            alone = known(decode_batch(bad))
        except MessageError as error:
            alone, told = str(error), told + 1
        first, second, *rest = decode_batches([good[0], bad, *good[1:]])
        assert [len(one) for one in (first, *rest)] == [8, 12, 16]
        assert (str(second) if isinstance(second, MessageError) else known(second)) == alone
    assert told


@pytest.mark.parametrize("name", ["pid", "ppid", "comm"])
def test_a_number_too_few_is_not_made_good_by_one_too_many_elsewhere(name):
    few, many = (msgpack.unpackb(encoded(lives(2))) for _ in range(2))
    size = 16 if name == "comm" else 4
    few["columns"][name]["data"] = few["columns"][name]["data"][:-size]
    many["columns"][name]["data"] += bytes(size)
    found = list(decode_batches([msgpack.packb(few), msgpack.packb(many), encoded(lives(2))]))
    assert [isinstance(one, MessageError) for one in found] == [True, True, False]


def test_a_message_that_counts_wrongly_is_told_as_if_it_were_alone():
    good = encoded(lives(2))
    message = msgpack.unpackb(good)
    message["count"] += 1
    with pytest.raises(MessageError, match="says 9 events and holds 8") as alone:
        decode_batch(msgpack.packb(message))
    found = list(decode_batches([good, msgpack.packb(message), good]))
    assert str(found[1]) == str(alone.value)
    assert known(found[0]) == known(found[2]) == known(lives(2))


def test_a_message_written_otherwise_is_read_among_ours():
    good = encoded(lives(2))
    message = msgpack.unpackb(good)
    for name, column in message["columns"].items():
        if column.get("encoding") == "delta":
            dtype = RECORD[name] if name in (RECORD.names or ()) else np.dtype("u4")
            steps = np.frombuffer(column["data"], dtype)
            del column["encoding"]
            column["data"] = steps.cumsum(dtype=dtype).tobytes()
    found = list(decode_batches([good, msgpack.packb(message), good]))
    assert [known(one) for one in found] == [known(lives(2))] * 3


def test_what_is_rejected_is_told_in_the_order_of_the_messages():
    good = encoded(lives(1))
    found = MessageDecoder().decode([good[:-1], good, b"\xc1", good + b"\0", good, b"{"])
    assert [position for position, _ in found.rejected] == [0, 2, 3, 5]
    assert len(found.batches) == 2
