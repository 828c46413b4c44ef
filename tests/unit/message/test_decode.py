"""Messages become the batches they were made of, whoever encoded them; all else is rejected."""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from taskstream import tail as tail_module
from taskstream.batch import Batch, Origin
from taskstream.errors import MessageError
from taskstream.message import decode as decode_module
from taskstream.message.batch_encode import encode_batch
from taskstream.message.batch_layout import BATCH_VERSION
from taskstream.message.decode import Decoded, MessageDecoder
from taskstream.message.encode import EventEncoder
from taskstream.record import FLAGS, KINDS, VERSION
from taskstream.report import Report
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

SHAPES: dict[str, Callable[[Batch], list[bytes]]] = {
    "event": lambda given: EventEncoder(given.origin).encode(given).values,
    "batch": lambda given: encode_batch(given).values,
}


@pytest.fixture(params=SHAPES)
def encode(request: pytest.FixtureRequest) -> Callable[[Batch], list[bytes]]:
    return SHAPES[request.param]


def decode(values: list[bytes]) -> Decoded:
    return MessageDecoder().decode(values)


def why(values: list[bytes]) -> list[str]:
    """Return why each of some messages is rejected; all must be."""
    decoded = decode(values)
    assert not decoded.batches
    assert [position for position, _ in decoded.rejected] == list(range(len(values)))
    assert {type(error) for _, error in decoded.rejected} == {MessageError}
    return [str(error) for _, error in decoded.rejected]


def one(kind: str = "fork", **values: Any) -> dict[str, Any]:
    """Return the map of an `event` message."""
    return events_of(SHAPES["event"](batch(event(kind, **values)))[0])[0]


def whole(given: Batch) -> dict[str, Any]:
    """Return the map of a `batch` message."""
    message: dict[str, Any] = msgpack.unpackb(SHAPES["batch"](given)[0])
    return message


# --- what comes back -----------------------------------------------------------------------------


def test_the_batch_comes_back(encode):
    given = each_kind()
    decoded = decode(encode(given))
    assert known(decoded.batches) == known(given)
    assert not decoded.rejected


@pytest.mark.parametrize("flag", FLAGS.values(), ids=lambda f: f.name)
def test_the_batch_comes_back_whatever_its_flags(encode, flag):
    given = batch(*(event(kind, flags=flag.mask) for kind in KINDS))
    assert known(decode(encode(given)).batches) == known(given)


def test_a_decoder_that_knows_the_shapes_reads_the_same_as_a_new_one(encode):
    decoder = MessageDecoder()
    given = each_kind()
    for _ in range(3):
        assert known(decoder.decode(encode(given)).batches) == known(given)


def without_args(batches: list[Batch]) -> list[tuple[Any, ...]]:
    """Return what batches hold but for the arguments of execs."""
    return [
        (
            b.origin,
            b.wall_offset_ns,
            b.records.tobytes(),
            b.labels and b.labels.rows.tolist(),
        )
        for b in batches
    ]


@pytest.mark.parametrize("given", [each_kind(), labelled(each_kind()), lives(64)], ids=len)
def test_a_decoder_that_does_without_arguments_finds_all_else(encode, given):
    decoder = MessageDecoder(args=False)
    values = encode(given)
    (whole,) = decode(values).batches
    for _ in range(3):
        (found,) = decoder.decode(values).batches
        assert without_args([found]) == without_args([whole])
        assert (found.labels and found.labels.table) == (whole.labels and whole.labels.table)
    assert whole.texts
    assert not decoder.decode(values).batches[0].texts


@pytest.mark.parametrize("spoilt", ["host", "comm"])
def test_arguments_in_front_or_their_key_within_a_text_lead_nobody_astray(spoilt):
    """The bytes of the key `filename` end a letter, too: è is c3 a8."""
    first = one("exec")
    last = {name: first.pop(name) for name in ("host", "boot_id", "comm")}
    reordered = msgpack.packb(first | last)
    inside = msgpack.packb(one("exec") | {spoilt: "\u00e8filename"})
    for args in (True, False):
        decoder = MessageDecoder(args=args)
        decoder.decode(SHAPES["event"](batch(event("exec"))))
        for value in (reordered, inside):
            assert without_args(decoder.decode([value]).batches) == without_args(
                decode([value]).batches
            )
            assert not decoder.decode([value]).rejected


def test_records_come_back_with_this_schema_version(encode):
    (found,) = decode(encode(each_kind())).batches
    assert set(found.records["version"].tolist()) == {VERSION}


def test_fields_that_are_hidden_come_back_as_zero_bytes(encode):
    given = batch(event("exit", flags=bits("io_unknown", "cgroup_unknown")))
    (found,) = decode(encode(given)).batches
    for name in ("read_bytes", "written_bytes", "cgroup_id", "max_rss_bytes"):
        assert found.records[name].tolist() == [0]


@pytest.mark.parametrize(
    "raw", [b"caf\xe9", b"\xff" * 16, b"a\\b\xff", b"\\xff\xff", b"a\\b", "ü".encode(), b""]
)
def test_texts_that_were_escaped_are_restored(encode, raw):
    given = batch(
        event("exec", comm=raw, filename=b"/" + raw, argv=raw + b"\0-x\0" + raw + b"\0"),
        event("fork", comm=raw),
    )
    (found,) = decode(encode(given)).batches
    assert known(found) == known(given)
    assert found.texts == given.texts


def test_the_escape_flag_stays_in_messages(encode):
    (found,) = decode(encode(batch(event("fork", comm=b"\xff")))).batches
    assert found.records["flags"].tolist() == [0]


@pytest.mark.parametrize("argv", [b"", b"\0", b"a\0", b"a\0\0", b"a\0b\0", b"\xff\0\\\0"])
def test_the_bytes_of_argv_come_back(encode, argv):
    given = batch(event("exec", argv=argv))
    (found,) = decode(encode(given)).batches
    assert found.texts == given.texts


@pytest.mark.parametrize("argv", [b"", b"cu", b"\0", b"a\0cu", b"a\0\0", b"a\0"])
def test_the_arguments_of_a_truncated_argv_come_back(encode, argv):
    given = batch(event("exec", argv=argv, flags=bits("args_truncated")))
    assert known(decode(encode(given)).batches) == known(given)


def test_arguments_that_were_lost_are_absent(encode):
    (found,) = decode(encode(batch(event("exec", flags=bits("args_lost"))))).batches
    assert found.texts == {}


def test_a_batch_message_comes_back_in_order_of_time():
    given = lives(40)
    (found,) = decode(SHAPES["batch"](given)).batches
    assert found.records["boot_ns"].tolist() == sorted(given.records["boot_ns"].tolist())
    assert known(found) == known(given)


def test_messages_of_both_shapes_and_many_hosts_are_told_apart():
    other = Origin("db-1", ORIGIN.boot_id, ORIGIN.run_ns)
    rerun = Origin(ORIGIN.host, ORIGIN.boot_id, ORIGIN.run_ns + 1)
    given = [
        each_kind(),
        batch(event("fork"), event("exec"), origin=other),
        batch(event("exit"), origin=rerun),
        batch(event("free"), wall_offset_ns=WALL_OFFSET_NS + 1),
    ]
    mixed = [value for part in given for value in SHAPES["event"](part)]
    mixed[2:2] = SHAPES["batch"](lives(3))
    decoded = decode(mixed)
    assert not decoded.rejected
    assert sorted(map(len, decoded.batches)) == [1, 1, 2, len(KINDS), 12]
    found = known(decoded.batches)
    for part in (*given, lives(3)):
        assert all(fate in found for fate in known(part))


def test_a_batch_has_one_clock_pair():
    """A step of the wall clock between two events of a read does not redate either."""
    before = batch(event("fork"))
    after = batch(event("exit"), wall_offset_ns=WALL_OFFSET_NS - 3_600_000_000_000)
    values = SHAPES["event"](before) + SHAPES["event"](after)
    offsets = {found.wall_offset_ns for found in decode(values).batches}
    assert offsets == {before.wall_offset_ns, after.wall_offset_ns}


def test_events_of_hosts_and_clocks_that_take_turns_come_back_in_order_of_appearance():
    other = Origin("a-host", ORIGIN.boot_id, ORIGIN.run_ns)
    turns = [
        batch(
            *(event("exec", seq=10 * turn + at, argv=b"%d\0" % turn) for at in range(3)),
            origin=(ORIGIN, other)[turn % 2],
            wall_offset_ns=WALL_OFFSET_NS + turn // 2 % 2,
        )
        for turn in range(12)
    ]
    decoder = MessageDecoder()
    for _ in range(2):  # as one that learns the shape, and as one that knows it
        found = decoder.decode([value for turn in turns for value in SHAPES["event"](turn)]).batches
        places = [(one.origin, one.wall_offset_ns) for one in found]
        assert places == [(turn.origin, turn.wall_offset_ns) for turn in turns[:4]]
        for at, one in enumerate(found):
            assert known(one) == known(turns[at::4])


@pytest.mark.parametrize("comm", ["è", "èfilename", "èargv", "filename"])
def test_a_name_that_looks_like_a_key_is_a_name(comm):
    given = batch(
        *(
            event("exec", comm=comm.encode(), filename=comm.encode() * at, argv=b"\xa8filename\0")
            for at in range(4)
        ),
        *(event("exec", comm=comm.encode(), argv="èfilename\0".encode()) for _ in range(4)),
    )
    decoder = MessageDecoder()
    for _ in range(2):
        assert known(decoder.decode(SHAPES["event"](given)).batches) == known(given)


def test_a_decoder_that_forgets_tails_reads_the_same(monkeypatch):
    monkeypatch.setattr(tail_module, "KEEP_TAILS", 2)
    decoder = MessageDecoder()
    for processes in (1, 5, 3, 5):
        given = lives(processes)
        assert known(decoder.decode(SHAPES["event"](given)).batches) == known(given)
        assert len(decoder._tails.known) == processes


def test_a_report_comes_back_and_is_no_event():
    report = Report(ORIGIN, 5, WALL_OFFSET_NS, ())
    decoded = decode([msgpack.packb(report.to_map()), *SHAPES["event"](each_kind())])
    assert decoded.reports == [report]
    assert sum(map(len, decoded.batches)) == len(KINDS)


def test_no_messages_are_nothing():
    assert decode([]) == Decoded()


# --- other people's encoders ---------------------------------------------------------------------


def reversed_members(value: Any) -> Any:
    """Turn round the members of every map."""
    if isinstance(value, dict):
        return {name: reversed_members(value[name]) for name in reversed(value)}
    return [reversed_members(item) for item in value] if isinstance(value, list) else value


def sorted_members(value: Any) -> Any:
    """Sort the members of every map."""
    if isinstance(value, dict):
        return {name: sorted_members(value[name]) for name in sorted(value)}
    return [sorted_members(item) for item in value] if isinstance(value, list) else value


FOREIGN: dict[str, Callable[[Any], bytes]] = {
    "minimal numbers": msgpack.packb,
    "reversed members": lambda value: msgpack.packb(reversed_members(value)),
    "sorted members": lambda value: msgpack.packb(dict(sorted(value.items()))),
    "sorted everywhere": lambda value: msgpack.packb(sorted_members(value)),
}


@pytest.mark.parametrize("repack", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("given", [each_kind(), lives(20)], ids=["each kind", "lives"])
def test_what_another_encoder_wrote_is_the_same_batch(encode, repack, given):
    values = [repack(msgpack.unpackb(value)) for value in encode(given)]
    assert known(decode(values).batches) == known(given)


@pytest.mark.parametrize("repack", FOREIGN.values(), ids=FOREIGN)
def test_a_decoder_that_knows_our_encoder_reads_another_one_too(encode, repack):
    given = each_kind()
    decoder = MessageDecoder()
    decoder.decode(encode(given))
    mixed = encode(given) + [repack(msgpack.unpackb(value)) for value in encode(given)]
    decoded = decoder.decode(mixed)
    assert not decoded.rejected
    assert sorted(map(repr, known(decoded.batches))) == sorted(map(repr, 2 * known(given)))


def test_what_another_encoder_wrote_of_bad_texts_is_restored(encode):
    given = batch(event("exec", comm=b"\xff\\", argv=b"\xfe\0"), event("fork", comm=b"\xfd"))
    values = [msgpack.packb(msgpack.unpackb(value)) for value in encode(given)]
    assert known(decode(values).batches) == known(given)


def test_nil_texts_that_another_encoder_left_out_are_no_fault():
    found = one()
    for name in ("cgroup", "container", "service", "app_group"):
        del found[name]
    assert len(decode([msgpack.packb(found)]).batches) == 1


# --- what is no message of ours ------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [b"", b"\xc1", b"hello, world", b"{'v': 1}", b"\x81\xa1v", b"\x82\xa1v\x01\xa4kind\xa4fork!"],
)
def test_what_is_not_messagepack_is_rejected(value):
    why([value])


@pytest.mark.parametrize("value", [None, 1, "text", [], [1], {}, {"kind": "fork"}, {"v": "1"}])
def test_messagepack_that_is_no_map_with_a_version_is_rejected(value):
    (reason,) = why([msgpack.packb(value)])
    assert reason == "not a taskstream message: no map with a version `v`"


@pytest.mark.parametrize("kind", [*KINDS, "batch", "report", "something new"])
def test_a_newer_version_is_rejected_with_both_numbers(kind):
    newest = BATCH_VERSION if kind == "batch" else VERSION
    (reason,) = why([msgpack.packb({"v": newest + 6, "kind": kind})])
    assert str(newest + 6) in reason
    assert f"up to {newest}" in reason
    assert "install a newer one" in reason


def test_a_whole_event_of_a_newer_version_is_rejected_also_by_who_knows_its_shape():
    decoder = MessageDecoder()
    decoder.decode([msgpack.packb(one())])
    newer = one() | {"v": VERSION + 1}
    assert len(decoder.decode([msgpack.packb(newer)]).rejected) == 1


@pytest.mark.parametrize("kind", ["spawn", "", None, 1, ["fork"]])
def test_an_unknown_kind_is_rejected_by_name(kind):
    (reason,) = why([msgpack.packb(one() | {"kind": kind})])
    assert repr(kind) in reason


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_without_one_of_its_members_is_rejected(kind):
    found = one(kind)
    optional = {"cgroup", "container", "service", "app_group"}
    optional |= {"status", "signal", "core"}  # exit_code says the same
    for name in set(found) - optional:
        rest = {k: v for k, v in found.items() if k != name}
        (reason,) = why([msgpack.packb(rest)])
        if name not in ("v", "kind"):
            assert name in reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pid", None),
        ("pid", -1),
        ("pid", 2**32),
        ("pid", "12"),
        ("pid", 1.5),
        ("pid", [1]),
        ("seq", None),
        ("seq", -1),
        ("flags", None),
        ("flags", 2**32),
        ("flags", 0.0),
        ("wall_ns", None),
        ("wall_ns", "now"),
        ("run_ns", None),
        ("run_ns", 2.5),
        ("host", None),
        ("host", 7),
        ("host", ["a"]),
        ("boot_id", {}),
        ("comm", None),
        ("comm", 7),
        ("comm", b"bytes"),
        ("filename", 7),
        ("filename", None),
        ("argv", None),
        ("argv", "one text"),
        ("argv", [1]),
        ("argv", {}),
    ],
)
def test_an_event_with_a_spoilt_member_is_rejected(name, value):
    (reason,) = why([msgpack.packb(one("exec") | {name: value})])
    assert "exec" in reason
    assert name in reason or "bounds" in reason


def test_a_failure_of_an_unknown_call_is_rejected():
    (reason,) = why([msgpack.packb(one("fail") | {"call": "spawn"})])
    assert "spawn" in reason


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_cut_anywhere_is_rejected_by_whoever_knows_its_shape_or_not(kind):
    (value,) = SHAPES["event"](batch(event(kind)))
    learned = MessageDecoder()
    learned.decode([value])
    for cut in range(len(value)):
        for decoder in (MessageDecoder(), learned):
            decoded = decoder.decode([value[:cut]])
            assert (len(decoded.batches), len(decoded.rejected)) == (0, 1), f"cut at byte {cut}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extra", [b"\0", b"\xa1x\x01", b"\xc1"])
def test_an_event_with_bytes_behind_it_is_rejected_by_whoever_knows_its_shape_or_not(kind, extra):
    (value,) = SHAPES["event"](batch(event(kind)))
    learned = MessageDecoder()
    learned.decode([value])
    for decoder in (MessageDecoder(), learned):
        decoded = decoder.decode([value + extra])
        assert (len(decoded.batches), len(decoded.rejected)) == (0, 1)


def test_a_rejected_message_is_named_by_its_position_and_spoils_no_other(encode):
    good = encode(lives(5))
    decoded = decode([b"bad", *good, b"worse"])
    assert [position for position, _ in decoded.rejected] == [0, len(good) + 1]
    assert known(decoded.batches) == known(lives(5))


def test_a_rejected_exec_leaves_no_arguments_to_others():
    (found,) = decode([msgpack.packb(one("exec") | {"host": 7}), msgpack.packb(one())]).batches
    assert (len(found), found.texts) == (1, {})


def test_a_flag_and_a_field_that_contradict_each_other_are_rejected_or_read_as_unknown():
    """Whether a decoder has seen a shape before may not decide what it says of a message."""
    for given, flipped in (("exit", "group_dead"), ("exit", "io_unknown"), ("fork", "thread")):
        spoilt = one(given) | {"flags": bits(flipped)}
        template = SHAPES["event"](batch(event(given)))[0]
        at = template.index(b"flags") + 6
        value = template[:at] + bits(flipped).to_bytes(4, "big") + template[at + 4 :]
        assert msgpack.unpackb(value) == spoilt
        learned = MessageDecoder()
        learned.decode([template])
        fresh, again = MessageDecoder().decode([value]), learned.decode([value])
        assert len(fresh.rejected) == len(again.rejected)
        assert known(fresh.batches) == known(again.batches)
        assert [b.records.tobytes() for b in fresh.batches] == [
            b.records.tobytes() for b in again.batches
        ]


def test_keys_that_this_version_does_not_know_are_ignored():
    event_map = one() | {"colour": "red", "more": {"a": [1]}}
    batch_map = whole(each_kind()) | {"colour": "red"}
    batch_map["groups"][0]["colour"] = [1]
    decoded = decode([msgpack.packb(event_map), msgpack.packb(batch_map)])
    assert not decoded.rejected
    assert sorted(map(len, decoded.batches)) == [1, len(KINDS)]


def test_the_first_messages_of_a_shape_are_read_as_columns_but_for_one(monkeypatch):
    read: list[int] = []
    whole = decode_module._read_event
    monkeypatch.setattr(
        decode_module, "_read_event", lambda *given: (read.append(given[1]), whole(*given))
    )
    values = EventEncoder(ORIGIN).encode(lives(100)).values
    decoder = MessageDecoder()
    assert known(decoder.decode(values).batches) == known(lives(100))
    assert len(read) == 4  # one of each kind
    assert sum(map(len, decoder._shapes.values())) == 4
