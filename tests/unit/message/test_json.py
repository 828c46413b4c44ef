"""Events as JSON: what the MessagePack map says, for any library that reads JSON."""

import json
from typing import Any

import msgpack
import pytest
from jsonschema import Draft202012Validator

from taskstream import resource
from taskstream.batch import Batch
from taskstream.message.columns import pack
from taskstream.message.decode import MessageDecoder
from taskstream.message.encode import EventEncoder
from taskstream.message.json import JsonEncoder, dump
from taskstream.record import COUNTS, FLAGS, KINDS, VERSION
from taskstream.report import CpuReport, Report
from tests.synthetic import ORIGIN, batch, bits, each_kind, event, labelled, lives

VALIDATOR = Draft202012Validator(json.loads(resource.schema("task_event.json").read_text()))


def read(given: Batch) -> list[dict[str, Any]]:
    """Return the events of JSON messages; a member that stands twice is an error."""

    def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(members)) == len(members)
        return dict(members)

    values = JsonEncoder(given.origin).encode(given).values
    return [json.loads(value, object_pairs_hook=once) for value in values]


def as_event(given: Batch) -> list[dict[str, Any]]:
    return [msgpack.unpackb(value) for value in EventEncoder(given.origin).encode(given).values]


@pytest.mark.parametrize("flag", FLAGS.values(), ids=lambda f: f.name)
@pytest.mark.parametrize("kind", KINDS)
def test_an_event_of_every_kind_with_any_flag_is_valid_and_says_what_messagepack_says(kind, flag):
    given = batch(event(kind, flags=flag.mask))
    (found,) = read(given)
    VALIDATOR.validate(found)
    assert [found] == as_event(given)


def test_events_of_every_kind_come_in_the_order_of_the_batch():
    given = labelled(batch(*(event(kind) for kind in (*KINDS, *reversed(KINDS)))))
    assert [e["kind"] for e in read(given)] == [*KINDS, *reversed(KINDS)]
    assert read(given) == as_event(given)


def test_a_label_is_in_every_event():
    given = labelled(lives(5))
    assert {e["app_group"] for e in read(given)} > {None}
    assert read(given) == as_event(given)


@pytest.mark.parametrize("number", [0, 1, 2**53 + 1, 2**63 - 1, 2**64 - 1])
def test_a_number_is_whole_however_great(number):
    (found,) = read(batch(event("fork", clone_flags=number, seq=number)))
    assert (found["clone_flags"], found["seq"]) == (number, number)


@pytest.mark.parametrize("code", [0, 1, 0x8B, 0xFF00, -1, -(2**31), 2**31 - 1])
def test_an_exit_code_has_its_sign(code):
    (found,) = read(batch(event("exit", exit_code=code)))
    assert found["exit_code"] == code
    assert type(found["core"]) is bool


@pytest.mark.parametrize(
    "argv",
    [
        b"",
        b"\0",
        b"ls\0-l\0",
        b"cut in the mids",
        b'say "hi"\0\\\0',
        b"tab\there\0new\nline\0\x01\x1f\x7f\0",
        "grün ☃ 😀\0".encode(),
        b"\xff\0half \xc3\0",
        b"\0\0\0",
        b" { } [ ] , : \0",
    ],
)
def test_arguments_are_what_messagepack_says_whatever_is_in_them(argv):
    given = batch(event("exec", argv=argv, filename=b'/bin/a"b'), event("exec", argv=argv))
    assert read(given) == as_event(given)


def test_a_filename_with_a_nul_is_still_json():
    given = batch(event("exec", filename=b"a\0b"))
    assert read(given) == as_event(given)


@pytest.mark.parametrize("comm", [b"", b'"', b"\\", b"a b", b"\n", "grün".encode(), b"caf\xe9"])
def test_a_name_is_what_messagepack_says_whatever_is_in_it(comm):
    given = batch(*(event(kind, comm=comm) for kind in KINDS))
    assert read(given) == as_event(given)


def test_keys_and_stamps_are_those_of_the_event_shape():
    given = lives(20)
    written, packed = JsonEncoder(ORIGIN).encode(given), EventEncoder(ORIGIN).encode(given)
    assert (written.keys, written.stamps_ms) == (packed.keys, packed.stamps_ms)
    assert written.events is None


# --- read again ----------------------------------------------------------------------------------


def test_members_in_another_order_and_with_other_spaces_are_the_same_event():
    value = JsonEncoder(ORIGIN).encode(batch(event("fork"))).values[0]
    other = json.dumps(dict(reversed(json.loads(value).items())), indent=1).encode()
    first, second = (MessageDecoder().decode([v]).batches for v in (value, other))
    assert [bytes(b.records.tobytes()) for b in first] == [b.records.tobytes() for b in second]


def test_json_and_messagepack_are_read_from_one_topic():
    none = (0,) * len(COUNTS)
    report = Report(ORIGIN, 1, 2, (CpuReport(0, ORIGIN.run_ns, none, none, none, 0),))
    written = JsonEncoder(ORIGIN).encode(each_kind()).values
    packed = EventEncoder(ORIGIN).encode(lives(3)).values
    values = [*written, *packed, dump(report.to_map()), pack(report.to_map()), *written]
    decoded = MessageDecoder().decode(values)
    assert not decoded.rejected
    assert sum(map(len, decoded.batches)) == 2 * len(KINDS) + 12
    assert decoded.reports == [report, report]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"{", "not JSON"),
        (b'{"v":1,"kind":"fork"', "not JSON"),
        (b'{"v":1,"kind":"\xff"}', "not JSON"),
        (b"{}", "no map with a version"),
        (b'{"v":%d,"kind":"fork"}' % (VERSION + 1), f"schema version {VERSION + 1}"),
        (b'{"v":1,"kind":"spoon"}', "unknown kind 'spoon'"),
        (b'{"v":1,"kind":"batch"}', "a batch as JSON"),
        (b'{"v":1,"kind":"fork"}', "lacks or spoils a member"),
        (b'{"v":1,"kind":"fork","x":' + b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_message_is_rejected_with_its_reason(value, said):
    ((_, error),) = MessageDecoder().decode([value]).rejected
    assert said in str(error)


@pytest.mark.parametrize(
    ("old", "new"), [(b'"fork-0"', b'"\\ud800"'), (b'"pid":', b'"pid":0.5,"x":')]
)
def test_a_text_that_no_utf_8_holds_and_a_number_that_is_none_are_rejected(old, new):
    value = JsonEncoder(ORIGIN).encode(batch(event("fork"))).values[0]
    assert old in value
    assert len(MessageDecoder().decode([value.replace(old, new)]).rejected) == 1


def test_the_flag_of_escaped_texts_is_for_messages_alone():
    given = batch(event("exec", comm=b"\xff", argv=b"\xfe\0"))
    (found,) = read(given)
    assert found["flags"] & bits("text_escaped")
    (back,) = MessageDecoder().decode(JsonEncoder(ORIGIN).encode(given).values).batches
    assert back.texts == given.texts
    assert not back.records["flags"][0] & bits("text_escaped")
