"""A batch is one message of columns; what is spoilt in it is rejected, never read otherwise."""

from collections import Counter
from typing import Any

import msgpack
import numpy as np
import pytest

from taskstream.batch import Batch, time_order
from taskstream.errors import MessageError
from taskstream.message.batch_decode import decode_batch, read_head
from taskstream.message.batch_encode import encode_batch, shards
from taskstream.message.batch_layout import BATCH_VERSION
from taskstream.message.decode import MessageDecoder
from taskstream.message.encode import EventEncoder
from taskstream.record import FLAGS, KINDS, RECORD
from tests.plain import events_of
from tests.synthetic import (
    ORIGIN,
    WALL_OFFSET_NS,
    batch,
    bits,
    each_kind,
    event,
    known,
    labelled,
    lives,
)


def whole(given: Batch) -> dict[str, Any]:
    """Return the map of a message."""
    message: dict[str, Any] = msgpack.unpackb(encode_batch(given).values[0])
    return message


def why(value: bytes) -> str:
    """Return why a message is rejected; it must be, alone and among others."""
    with pytest.raises(MessageError) as caught:
        decode_batch(value)
    decoded = MessageDecoder().decode([value, *encode_batch(lives(1)).values])
    assert [position for position, _ in decoded.rejected] == [0]
    assert list(map(len, decoded.batches)) == [4]
    return str(caught.value)


def why_map(message: dict[str, Any]) -> str:
    return why(msgpack.packb(message))


# --- what a message holds ------------------------------------------------------------------------


def test_both_shapes_say_the_same():
    flags = [0, *(flag.mask for flag in FLAGS.values()), bits("args_lost", "io_unknown")]
    given = batch(*(event(kind, flags=f) for f in flags for kind in KINDS))
    events = [event for value in encode_batch(given).values for event in events_of(value)]
    each = [msgpack.unpackb(value) for value in EventEncoder(given.origin).encode(given).values]
    assert sorted(events, key=lambda e: e["seq"]) == each


def test_a_message_is_one_map_of_groups_and_columns():
    message = whole(lives(30))
    assert list(message) == [
        "v", "kind", "host", "boot_id", "run_ns", "count", "clock", "groups", "columns"
    ]  # fmt: skip
    assert (message["v"], message["kind"], message["count"]) == (BATCH_VERSION, "batch", 120)
    assert [(g["kind"], g["count"]) for g in message["groups"]] == [
        ("fork", 30), ("exec", 30), ("exit", 30), ("free", 30)
    ]  # fmt: skip


def test_a_column_has_the_numbers_of_the_groups_that_have_its_field():
    columns = whole(lives(10))["columns"]
    assert "groups" not in columns["pid"]
    assert len(columns["pid"]["data"]) == 4 * 40
    assert columns["exit_code"]["groups"] == [2]
    assert len(columns["exit_code"]["data"]) == 4 * 10
    assert columns["filename"]["groups"] == columns["argv"]["groups"] == [1]


def test_a_field_may_belong_to_groups_that_do_not_stand_side_by_side():
    kinds = [kind for kind in KINDS for _ in range(3)]
    given = batch(*(event(kind, flags=n % 3 % 2 * (1 << 9)) for n, kind in enumerate(kinds)))
    assert any(
        column.get("groups", []) and np.diff(column["groups"]).max(initial=1) > 1
        for column in whole(given)["columns"].values()
    )
    assert known(decode_batch(encode_batch(given).values[0])) == known(given)


def test_times_and_numbers_are_written_as_differences():
    given = lives(30)
    columns = whole(given)["columns"]
    delta = {name for name, column in columns.items() if column.get("encoding") == "delta"}
    times = {"boot_ns", "start_ns", "process_start_ns", "parent_start_ns"}
    assert delta == {"seq", *times, "pid", "tgid", "pidns_pid", "pidns_tgid", "old_pid"}
    kinds = ("fork", "exec", "exit", "free")
    seqs = np.concatenate([given.of_kind(kind)["seq"] for kind in kinds])
    steps = np.frombuffer(columns["seq"]["data"], "<u8")
    assert steps.tolist() == [int(seqs[0]), *np.diff(seqs).tolist()]


def test_a_column_of_one_number_has_it_once():
    columns = whole(lives(30))["columns"]
    assert columns["uid"] == {"type": "u32", "encoding": "constant", "data": bytes(4)}
    assert columns["cpu"].keys() == {"type", "data"}
    assert "encoding" not in whole(lives(1))["columns"]["uid"]  # would be longer


def test_many_long_numbers_are_written_in_as_few_bytes_as_they_need():
    given = lives(100)
    columns = whole(given)["columns"]
    ways = {
        n: (c.get("written"), c.get("layout")) for n, c in columns.items() if c["type"] == "u64"
    }
    assert ways["seq"] == ("i8", None)
    assert ways["parent_start_ns"] == ("i8", None)
    kinds = ("fork", "exec", "exit", "free")
    seqs = np.concatenate([given.of_kind(kind)["seq"] for kind in kinds]).astype("i8")
    assert columns["seq"]["base"] == seqs[0]
    assert np.frombuffer(columns["seq"]["data"], "i1").tolist() == [0, *np.diff(seqs).tolist()]
    few = whole(lives(10))["columns"].values()
    assert not any({"written", "layout", "base"} & column.keys() for column in few)


def test_those_of_four_bytes_and_more_are_split():
    given = lives(100)
    given.records["start_ns"] += np.arange(400, dtype="u8") * 100_000
    columns = whole(given)["columns"]
    assert columns["start_ns"]["written"] == "i32"
    assert columns["start_ns"]["layout"] == "byte_stream_split"
    planes = np.frombuffer(columns["start_ns"]["data"], "u1").reshape(4, 400)
    kinds = ("fork", "exec", "exit", "free")
    starts = np.concatenate([given.of_kind(kind)["start_ns"] for kind in kinds]).astype("i8")
    steps = [0, *np.diff(starts).tolist()]
    assert [planes[n].tolist() for n in range(4)] == [
        [s >> 8 * n & 255 for s in steps] for n in range(4)
    ]


@pytest.mark.parametrize(
    ("bits", "plain", "steps"),
    [
        (7, 1, 1),
        (8, 1, 2),
        (15, 2, 2),
        (16, 2, 4),
        (31, 4, 4),
        (32, 4, 8),
        (63, 8, 8),
        (64, 8, 1),  # from 2^64 - 1 to 0 is one step
    ],
)
def test_long_numbers_come_back_whatever_they_are_written_in(bits, plain, steps):
    given = lives(300)
    exits = np.flatnonzero(given.records["kind"] == KINDS["exit"])
    waves = np.array([(1 << bits) - 1, 0] * 600, "u8")
    given.records["start_ns"] = waves
    given.records["utime_ns"][exits] = waves[: len(exits)]
    columns = whole(given)["columns"]
    assert len(columns["utime_ns"]["data"]) == plain * 300
    assert len(columns["start_ns"]["data"]) == steps * 1200
    back = decode_batch(encode_batch(given).values[0])
    assert known(back) == known(given.part(time_order(given.records)))


def as_written(given: Batch, encoding: str | None, layout: str | None) -> bytes:
    """Encode a batch; its columns of numbers in one way."""
    message = whole(given)
    codes = {"u16": "<u2", "u32": "<u4", "u64": "<u8", "i32": "<i4"}
    for column in message["columns"].values():
        if column["type"] in codes:
            values = np.frombuffer(column["data"], codes[column["type"]])
            if "encoding" in column:
                values = values.cumsum(dtype=values.dtype)
            if encoding == "delta":
                values = np.diff(values, prepend=values.dtype.type(0))
            if encoding == "constant":
                assert (values == values[0]).all()
                values = values[:1]
            if layout:
                values = values.view("u1").reshape(-1, values.itemsize).T
            ways = {"encoding": encoding, "layout": layout}
            column.pop("encoding", None)
            column |= {name: way for name, way in ways.items() if way}
            column["data"] = values.tobytes()
    value: bytes = msgpack.packb(message)
    return value


@pytest.mark.parametrize("layout", [None, "byte_stream_split"])
@pytest.mark.parametrize("encoding", [None, "delta", "constant"])
def test_a_column_of_numbers_may_be_written_in_any_way(encoding, layout):
    given = batch(*(event(kind) for kind in KINDS for _ in range(2)))
    if encoding == "constant":
        given = given.part(np.array([4, 4, 4]))
    value = as_written(given, encoding, layout)
    assert known(decode_batch(value)) == known(given)
    assert sorted(e["seq"] for e in events_of(value)) == given.records["seq"].tolist()


def test_one_number_for_more_events_than_there_are_takes_no_memory():
    found = whole(batch(event("fork"), event("fork")))
    found["columns"]["flags"] |= {"encoding": "constant", "data": bytes(4)}
    found["groups"][0]["count"] = found["count"] = 2**40
    assert "length of a column" in why_map(found)


@pytest.mark.parametrize("seqs", [(2**64 - 1, 0, 2**63), (5, 4, 3), (0, 2**64 - 1, 1)])
def test_differences_go_round_as_the_numbers_do(seqs):
    given = batch(*(event("fork", seq=seq) for seq in seqs))
    found = decode_batch(encode_batch(given).values[0])
    assert set(found.records["seq"].tolist()) == set(seqs)


def test_texts_are_the_bytes_that_the_kernel_gave():
    given = batch(event("exec", comm=b"\xff", filename=b"/\xfe", argv=b"a\0\xfd\0\0cut"))
    columns = whole(given)["columns"]
    assert columns["comm"] == {"type": "char[16]", "data": b"\xff".ljust(16, b"\0")}
    assert (columns["filename"]["data"], columns["argv"]["data"]) == (b"/\xfe", b"a\0\xfd\0\0cut")
    assert columns["argv"]["lengths"] == (8).to_bytes(4, "little")
    assert known(decode_batch(encode_batch(given).values[0])) == known(given)


def test_arguments_of_execs_whose_fields_differ_are_in_one_column():
    ways = [0, bits("pidns_unknown"), bits("args_lost"), bits("parent_unknown")]
    given = batch(*(event("exec", flags=f, argv=b"%d\0" % n) for n, f in enumerate(ways * 3)))
    found = decode_batch(encode_batch(given).values[0])
    assert known(found) == known(given)
    assert len(found.texts) == 9


def test_a_batch_has_a_table_of_the_labels_that_occur():
    given = labelled(each_kind())
    message = msgpack.unpackb(encode_batch(given).values[0])
    assert message["labels"] == [given.labels.table[n]._asdict() for n in (0, 2, 3)]
    assert "labels" not in msgpack.unpackb(encode_batch(each_kind()).values[0])


def test_the_clock_pair_of_a_batch_message_is_of_its_first_event():
    given = lives(1)
    message = msgpack.unpackb(encode_batch(given).values[0])
    first = int(given.records["boot_ns"][0])
    assert message["clock"] == {"boot_ns": first, "wall_ns": first + WALL_OFFSET_NS}


def test_a_message_holds_at_most_so_many_events():
    messages = encode_batch(lives(25), most_events=30)
    assert messages.events == [30, 30, 30, 10]
    assert [msgpack.unpackb(v)["count"] for v in messages.values] == messages.events


def test_a_message_over_the_limit_is_halved_until_it_fits():
    given = lives(100)
    limit = len(encode_batch(given).values[0]) // 3
    messages = encode_batch(given, most_bytes=limit)
    assert max(map(len, messages.values)) <= limit
    assert set(messages.events) <= {50, 100}
    order = [row for part in messages.records for row in part["seq"].tolist()]
    assert order == given.records["seq"].tolist()


def test_an_event_that_is_over_the_limit_alone_is_a_message_of_its_own():
    large = event("exec", argv=b"x" * 5000 + b"\0")
    messages = encode_batch(batch(event("fork"), large, event("exit")), most_bytes=2000)
    assert messages.events == [1, 1, 1]
    assert [len(v) > 2000 for v in messages.values] == [False, True, False]


@pytest.mark.parametrize("count", [1, 2, 7, 64])
def test_shards_split_a_batch_by_process_and_keep_its_order(count):
    given = lives(200)
    found = dict(shards(given, count))
    assert set(found) <= set(range(count))
    assert sum(map(len, found.values())) == len(given)
    homes = Counter(int(pid) for part in found.values() for pid in set(part.records["tgid"]))
    assert set(homes.values()) == {1}
    for part in found.values():
        assert (np.diff(part.records["boot_ns"].astype(np.int64)) > 0).all()


def test_shards_are_of_about_the_same_size():
    sizes = [len(part) for _, part in shards(lives(1000), 8)]
    assert len(sizes) == 8
    assert min(sizes) > 4000 / 8 / 2


def test_a_process_has_the_same_shard_in_every_batch():
    def home(processes: int) -> dict[int, int]:
        found = shards(lives(processes), 5)
        return {int(pid): shard for shard, part in found for pid in part.records["tgid"]}

    assert home(3).items() <= home(90).items()


def test_the_key_of_a_batch_message_is_host_and_shard():
    messages = encode_batch(lives(50), shard_count=3)
    assert messages.keys == [b"build-7/0", b"build-7/1", b"build-7/2"]


def test_a_halved_message_carries_only_the_arguments_of_its_own_events():
    large = [event("exec", argv=b"%d" % n * 900 + b"\0") for n in range(4)]
    for value in encode_batch(batch(*large), most_bytes=3000).values:
        message = msgpack.unpackb(value)
        assert len(message["columns"]["argv"]["lengths"]) == 4 * message["count"]


def test_the_head_is_read_without_the_events():
    given = lives(3)
    (value,) = encode_batch(given).values
    head = read_head(value[: value.index(b"columns")])
    assert (head.origin, head.count) == (ORIGIN, 12)
    assert head.wall_ns == int(given.records["boot_ns"][0]) + WALL_OFFSET_NS


# --- what is no message of ours ------------------------------------------------------------------


def test_a_message_cut_anywhere_is_rejected():
    (value,) = encode_batch(each_kind()).values
    for cut in range(len(value)):
        decoded = MessageDecoder().decode([value[:cut]])
        assert (len(decoded.batches), len(decoded.rejected)) == (0, 1), f"cut at byte {cut}"


def test_a_message_with_bytes_behind_it_is_rejected():
    why(encode_batch(each_kind()).values[0] + b"\0")


@pytest.mark.parametrize("count", [0, 5, 7])
def test_a_message_that_counts_wrongly_is_rejected_with_both_numbers(count):
    reason = why_map(whole(each_kind()) | {"count": count})
    assert reason == f"a batch message says {count} events and holds {len(KINDS)}"


MEMBERS = ["host", "boot_id", "run_ns", "count", "clock", "groups", "columns"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_message_without_one_of_its_members_is_rejected(name):
    found = whole(each_kind())
    del found[name]
    why_map(found)


@pytest.mark.parametrize("value", [None, -1, 1.5, "x", [], {}, [None], [["a"]], {"a": None}])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_message_with_a_spoilt_member_is_rejected(name, value):
    if name in ("host", "boot_id") and value == "x":
        return
    why_map(whole(each_kind()) | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "spawn"),
        ("kind", None),
        ("kind", "fork"),
        ("count", None),
        ("count", -1),
        ("count", 3),
        ("count", 2**63),
        ("call", "spawn"),
        ("call", None),
    ],
)
def test_a_message_with_a_spoilt_group_is_rejected(name, value):
    found = whole(batch(event("exit"), event("fail")))
    found["groups"][name != "call" and found["groups"][1]["kind"] == "exit"][name] = value
    if name == "call":
        found["groups"] = [group | {"call": value} for group in found["groups"]]
    why_map(found)


@pytest.mark.parametrize("name", ["kind", "count", "call"])
def test_a_message_with_a_group_that_lacks_a_member_is_rejected(name):
    found = whole(batch(event("fail")))
    del found["groups"][0][name]
    why_map(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_without_one_of_its_columns_is_rejected(kind):
    for name in whole(batch(event(kind)))["columns"]:
        found = whole(batch(event(kind)))
        del found["columns"][name]
        assert name in why_map(found)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"type": "u16"},
        {"type": None},
        {"data": b""},
        {"data": bytes(3)},
        {"data": bytes(12)},
        {"data": "text"},
        {"data": [1, 2]},
        {"data": None},
        {"groups": [1]},
        {"groups": None},
        {"encoding": "rle"},
        {"encoding": None},
        {"encoding": "constant"},
        {"encoding": "constant", "data": b""},
        {"layout": "rows"},
        {"layout": None},
        {"layout": "byte_stream_split", "data": bytes(7)},
        {"written": "u64", "data": bytes(16)},
        {"written": "i32"},
        {"written": "u32"},
        {"written": "u16"},
        {"written": None, "data": bytes(4)},
        {"base": None},
        {"base": -1},
        {"base": 1 << 32},
    ],
)
def test_a_message_with_a_spoilt_column_is_rejected(spoilt):
    found = whole(batch(event("fork"), event("fork")))
    found["columns"]["pid"] |= spoilt
    why_map(found)


@pytest.mark.parametrize("name", ["filename", "argv"])
@pytest.mark.parametrize(
    "spoilt",
    [
        {"type": "u32"},
        {"data": b""},
        {"data": "text"},
        {"data": None},
        {"lengths": b""},
        {"lengths": bytes(8)},
        {"lengths": b"\xff" * 4},
        {"lengths": None},
        {"groups": []},
        {"groups": [0, 1]},
    ],
)
def test_a_message_with_spoilt_arguments_is_rejected(name, spoilt):
    found = whole(batch(event("exec")))
    found["columns"][name] |= spoilt
    why_map(found)


@pytest.mark.parametrize("place", [4, 2**32 - 1])
def test_a_label_that_is_not_in_the_table_is_rejected(place):
    found = whole(labelled(each_kind()))
    found["columns"]["label"]["data"] = place.to_bytes(4, "little") * len(KINDS)
    assert str(place) in why_map(found)


def test_labels_without_places_are_rejected():
    found = whole(labelled(each_kind()))
    del found["columns"]["label"]
    assert "label" in why_map(found)


def test_a_group_whose_events_know_different_fields_is_rejected():
    found = whole(batch(event("fork"), event("fork")))
    found["columns"]["flags"]["data"] = bytes(4) + bits("parent_unknown").to_bytes(4, "little")
    assert "different fields" in why_map(found)


def test_a_column_that_flags_hide_is_not_read():
    found = whole(batch(event("fork")))
    found["columns"]["flags"]["data"] = bits("parent_unknown").to_bytes(4, "little")
    read = decode_batch(msgpack.packb(found))
    assert read.records["ppid"].tolist() == [0]


def test_columns_and_members_that_this_version_does_not_know_are_passed_over():
    found = whole(each_kind()) | {"colour": "red"}
    found["groups"][0]["colour"] = [1]
    found["columns"]["colour"] = {"type": "u8", "data": b"123456"}
    assert known(decode_batch(msgpack.packb(found))) == known(each_kind())


def test_a_column_of_all_groups_may_name_them():
    found = whole(each_kind())
    found["columns"]["pid"]["groups"] = list(range(len(KINDS)))
    assert known(decode_batch(msgpack.packb(found))) == known(each_kind())


@pytest.mark.parametrize("size", [2**16, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("name", ["groups", "columns", "data"])
def test_what_claims_to_be_huge_costs_no_memory(name, size):
    (value,) = encode_batch(batch(event("fork"))).values
    at = value.index(name.encode()) + len(name)
    marker = b"\xc6" if name == "data" else b"\xdd"
    why(value[:at] + marker + size.to_bytes(4, "big"))


def test_an_empty_message_is_an_empty_batch():
    found = whole(batch(event("fork"))) | {"count": 0, "groups": []}
    found["columns"] = {
        name: {k: v for k, v in column.items() if k != "groups"} | {"data": b""}
        for name, column in found["columns"].items()
    }
    assert len(decode_batch(msgpack.packb(found))) == 0


def test_numbers_come_back_in_fields_of_their_own():
    """Kinds lie over one another in a record: what one has, no other may show."""
    found = decode_batch(encode_batch(each_kind()).values[0])
    assert found.records.dtype == RECORD
    assert known(found) == known(each_kind())
