"""Messages as anybody with a MessagePack library reads them."""

import json
from typing import Any

import msgpack
import pytest
from jsonschema import Draft202012Validator

from taskstream import record, resource
from taskstream.batch import Batch, Label, Origin
from taskstream.message import encode as encode_module
from taskstream.message.batch_encode import encode_batch
from taskstream.message.encode import EventEncoder
from taskstream.record import CALLS, FLAGS, KINDS
from tests.plain import events_of
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, bits, each_kind, event, labelled, lives

VALIDATOR = Draft202012Validator(json.loads(resource.schema("task_event.json").read_text()))


def encoded(given: Batch) -> list[dict[str, Any]]:
    """Return the maps of `event` messages, read by msgpack alone."""
    return [msgpack.unpackb(value) for value in EventEncoder(given.origin).encode(given).values]


def by_number(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(events, key=lambda e: (e["cpu"], e["seq"]))


def crowd(count: int, *more: dict[str, Any]) -> Batch:
    """Return a batch of so many execs, and as many forks between them."""
    events = []
    for number in range(count):
        argv = b"cc\0" + b"x" * (number % 70) + b"\0" + b"-v\0" * (number % 20)
        values = {"filename": b"/bin/%d" % number, "argv": argv, "comm": b"cc-%d" % (number % 40)}
        events.append(event("exec", **values | (more[number] if number < len(more) else {})))
        events.append(event("fork"))
    return batch(*events)


# --- many together and one by one ----------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        (),
        ({"comm": "ü".encode()}, {"argv": "ü\0".encode()}, {"filename": "/ü".encode()}),
        ({"argv": b"\xff\0"}, {"filename": b"/\xff"}, {"comm": b"\xff\\"}),
        ({"argv": b""}, {"argv": b"\0"}, {"argv": b"a\0cu"}),
    ],
    ids=["ascii", "utf8", "bytes", "cut"],
)
def test_many_events_are_encoded_as_few_are(monkeypatch, more):
    given = crowd(12 * encode_module.MANY_EXECS, *more)
    together = EventEncoder(given.origin).encode(given).values
    monkeypatch.setattr(encode_module, "MANY_EXECS", 1 << 30)
    assert EventEncoder(given.origin).encode(given).values == together


# --- one message per event -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_of_every_kind_is_valid_by_the_json_schema(kind):
    (found,) = encoded(batch(event(kind)))
    VALIDATOR.validate(found)


@pytest.mark.parametrize("flag", FLAGS.values(), ids=lambda f: f.name)
@pytest.mark.parametrize("kind", KINDS)
def test_an_event_with_any_flag_is_valid_by_the_json_schema(kind, flag):
    (found,) = encoded(batch(event(kind, flags=flag.mask)))
    VALIDATOR.validate(found)


def test_an_event_says_what_its_record_says():
    given = each_kind()
    for record_, found in zip(given.records, encoded(given), strict=True):
        numbers = {
            f.wire: record_[f.name].item()
            for f in record.wire_fields(found["kind"])
            if f.name not in ("kind", "call", "max_rss_bytes", "reaper_tgid")
        }
        assert numbers.items() <= found.items()
        assert KINDS[found["kind"]] == record_["kind"]
        assert found["comm"] == record_["comm"].decode()


def test_an_event_says_whose_it_is_and_when_it_was():
    (found,) = encoded(batch(event("fork", boot_ns=4_000_000_000_000)))
    assert found["host"] == ORIGIN.host
    assert found["boot_id"] == ORIGIN.boot_id
    assert found["run_ns"] == ORIGIN.run_ns
    assert found["wall_ns"] == 4_000_000_000_000 + WALL_OFFSET_NS


def test_events_keep_the_order_of_the_batch_whatever_their_kinds():
    kinds = [list(KINDS)[i] for i in (3, 0, 5, 0, 2, 1, 4, 2, 3, 1)]
    given = batch(*(event(kind) for kind in kinds))
    found = encoded(given)
    assert [e["kind"] for e in found] == kinds
    assert [e["seq"] for e in found] == given.records["seq"].tolist()


def test_a_batch_without_events_is_no_messages():
    messages = EventEncoder(ORIGIN).encode(batch())
    assert (messages.values, messages.keys, messages.stamps_ms) == ([], [], [])
    assert encode_batch(batch()).values == []
    assert encode_batch(batch(), shard_count=3).values == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "flag", [f for f in FLAGS.values() if f.hides or f.shows], ids=lambda f: f.name
)
def test_a_field_hidden_by_a_flag_is_absent_in_both_shapes_never_zero(kind, flag):
    own = {f.name for f in (*record.wire_fields(kind), *record.text_fields(kind))}
    for flags in (0, flag.mask):
        given = batch(event(kind, flags=flags))
        values = EventEncoder(ORIGIN).encode(given).values + encode_batch(given).values
        for value in values:
            (found,) = events_of(value)
            hidden = set(flag.hides if flags else flag.shows) & own
            shown = set(flag.shows if flags else flag.hides) & own
            assert not hidden & set(found)
            assert shown <= set(found)


@pytest.mark.parametrize("call", CALLS)
def test_a_failed_call_is_named(call):
    (found,) = encoded(batch(event("fail", call=CALLS[call], errno=11)))
    assert (found["call"], found["errno"]) == (call, 11)


def test_filename_and_argv_of_an_exec_are_text():
    given = batch(
        event("exec", filename=b"/bin/sh", argv=b"sh\0-c\0\0echo \xc3\xbc\0"),
        event("exec", filename=b"", argv=b""),
        event("exec", flags=bits("args_truncated"), argv=b"cut\0sho"),
    )
    first, empty, cut = encoded(given)
    assert (first["filename"], first["argv"]) == ("/bin/sh", ["sh", "-c", "", "echo ü"])
    assert (empty["filename"], empty["argv"]) == ("", [])
    assert cut["argv"] == ["cut", "sho"]


def test_labels_are_nil_where_nobody_looked():
    for found in encoded(each_kind()):
        assert [found[n] for n in Label._fields] == [None] * 4


def test_an_event_has_the_members_of_its_label():
    given = labelled(each_kind())
    for found, row in zip(encoded(given), given.labels.rows, strict=True):
        assert [found[n] for n in Label._fields] == list(given.labels.table[row])


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "text", "escaped"),
    [
        (b"kworker/0:1", "kworker/0:1", False),
        ("Ångström".encode(), "Ångström", False),
        (b"back\\slash", "back\\slash", False),
        (b"sixteen-bytes-16", "sixteen-bytes-16", False),
        (b"", "", False),
        (b"sh\0garbage", "sh", False),
        (b"sh\0\xff\xfe", "sh", False),
        (b"\0all behind", "", False),
        (b"caf\xe9", "caf\\xe9", True),
        (b"\xffa\\b", "\\xffa\\x5cb", True),
        ("fourteen-long-ü".encode()[:15], "fourteen-long-\\xc3", True),
        (b"\xff" * 16, "\\xff" * 16, True),
    ],
)
def test_comm_is_cut_at_its_first_nul_and_escaped_only_if_it_is_not_utf8(raw, text, escaped):
    given = batch(event("fork", comm=b"before"), event("fork", comm=raw), event("exit"))
    values = EventEncoder(ORIGIN).encode(given).values
    whole = [e for v in encode_batch(given).values for e in events_of(v)]
    for found in (events_of(values[1])[0], by_number(whole)[1]):
        assert found["comm"] == text
        assert bool(found["flags"] & bits("text_escaped")) == escaped


def test_one_bad_text_of_an_event_escapes_all_texts_of_that_event_and_of_no_other():
    given = batch(
        event("exec", comm=b"a\\b", filename=b"/bin/\xff", argv=b"c\\d\0e\0"),
        event("exec", comm=b"a\\b", filename=b"/bin/f", argv=b"c\\d\0"),
    )
    bad, good = encoded(given)
    assert (bad["comm"], bad["filename"]) == ("a\\x5cb", "/bin/\\xff")
    assert bad["argv"] == ["c\\x5cd", "e"]
    assert (good["comm"], good["filename"], good["argv"]) == ("a\\b", "/bin/f", ["c\\d"])
    assert [e["flags"] for e in (bad, good)] == [bits("text_escaped"), 0]


def test_encoding_changes_nothing_in_the_batch():
    given = batch(event("exec", comm=b"\xff", argv=b"\xfe\0"), event("fork", comm=b"a\0b"))
    before = given.records.tobytes()
    EventEncoder(ORIGIN).encode(given)
    encode_batch(given)
    assert given.records.tobytes() == before


def test_texts_of_any_length_are_whole():
    long = b"x" * 16384
    (found,) = encoded(batch(event("exec", filename=long[:4095], argv=long + b"\0")))
    assert len(found["filename"]) == 4095
    assert found["argv"] == [long.decode()]


# --- keys, stamps --------------------------------------------------------------------------------


def test_the_key_of_an_event_is_host_tgid_and_start_of_the_process():
    given = batch(
        event("fork", tgid=1, process_start_ns=2),
        event("exit", tgid=4194304, process_start_ns=2**63 + 5),
    )
    assert EventEncoder(ORIGIN).encode(given).keys == [
        b"build-7/00000001-0000000000000002",
        b"build-7/00400000-8000000000000005",
    ]


@pytest.mark.parametrize("host", ["", "h", "a.very.long.name.example", "rechner-ü"])
def test_the_key_begins_with_any_host_name(host):
    origin = Origin(host, "b", 1)
    given = batch(event("fork", tgid=0, process_start_ns=0), origin=origin)
    key = f"{host}/00000000-0000000000000000".encode()
    assert EventEncoder(origin).encode(given).keys == [key]
    assert encode_batch(given).keys == [f"{host}/0".encode()]


def test_all_events_of_a_process_have_one_key_and_processes_differ():
    given = lives(20)
    keys = EventEncoder(ORIGIN).encode(given).keys
    by_process = {(pid, key) for pid, key in zip(given.records["pid"], keys, strict=True)}
    assert len(by_process) == 20


def test_a_thread_has_the_key_of_its_process():
    given = batch(
        event("fork", pid=10, tgid=10, start_ns=5, process_start_ns=5),
        event("fork", pid=11, tgid=10, start_ns=9, process_start_ns=5, flags=bits("thread")),
    )
    first, second = EventEncoder(ORIGIN).encode(given).keys
    assert first == second


def test_the_stamp_is_the_wall_time_of_the_event_in_milliseconds():
    given = batch(
        event("fork", boot_ns=1_999_999), event("fork", boot_ns=2_000_000), wall_offset_ns=10**15
    )
    assert EventEncoder(ORIGIN).encode(given).stamps_ms == [10**9 + 1, 10**9 + 2]
    assert encode_batch(given).stamps_ms == [10**9 + 1]


def test_values_keys_and_stamps_are_what_the_producer_takes():
    for messages in (EventEncoder(ORIGIN).encode(each_kind()), encode_batch(each_kind())):
        assert {type(value) for value in messages.values} == {bytes}
        assert {type(key) for key in messages.keys} == {bytes}
        assert {type(stamp) for stamp in messages.stamps_ms} == {int}


def test_records_from_returns_what_was_not_sent_in_either_shape():
    given = lives(10)
    one_each = EventEncoder(ORIGIN).encode(given)
    assert [r["seq"].tolist() for r in one_each.records_from(33)] == [
        given.records["seq"][33:].tolist()
    ]
    in_batches = encode_batch(given, most_events=10)
    assert sum(map(len, in_batches.records_from(3))) == 10
