"""Batches of schema version 1 are read for ever; what is spoilt in one is rejected.

No program writes them any more: the messages are the golden ones.
"""

from pathlib import Path
from typing import Any

import msgpack
import pytest

import tests.golden
from taskstream.errors import MessageError
from taskstream.message.batch_decode import decode_batch, read_head
from taskstream.record import KINDS
from tests.synthetic import ORIGIN, bits

GOLDEN = Path(tests.golden.__path__[0], "v1")


def golden(name: str) -> dict[str, Any]:
    message: dict[str, Any] = msgpack.unpackb((GOLDEN / f"{name}.msgpack").read_bytes())
    return message


def of_kind(kind: str) -> dict[str, Any]:
    """Return a message with the first event of a kind, alone."""
    found = golden("batch")
    group = next(g for g in found["groups"] if g["kind"] == kind)
    for name in {"rows", "filename", "argv"} & group.keys():
        group[name] = group[name][:1]
    return found | {"groups": [group], "count": 1}


def why(message: dict[str, Any]) -> str:
    with pytest.raises(MessageError) as caught:
        decode_batch(msgpack.packb(message))
    return str(caught.value)


@pytest.mark.parametrize("name", ["batch", "batch-labelled", "batch-of-one"])
def test_the_head_is_that_of_the_events(name):
    (value, found) = ((GOLDEN / f"{name}.msgpack").read_bytes(), golden(name))
    head = read_head(value)
    assert (head.origin, head.count) == (ORIGIN, found["count"])
    assert head.wall_ns == found["clock"]["wall_ns"]
    assert len(decode_batch(value)) == head.count


def test_a_message_cut_anywhere_is_rejected():
    value = (GOLDEN / "batch.msgpack").read_bytes()
    for cut in range(len(value)):
        with pytest.raises(MessageError):
            decode_batch(value[:cut])


MEMBERS = ["host", "boot_id", "run_ns", "count", "clock", "strings", "groups"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_message_without_one_of_its_members_is_rejected(name):
    found = golden("batch")
    del found[name]
    why(found)


@pytest.mark.parametrize("value", [None, -1, 1.5, "x", [], {}, [None], [["a"]], {"a": None}])
@pytest.mark.parametrize("name", MEMBERS)
def test_a_message_with_a_spoilt_member_is_rejected(name, value):
    if name in ("host", "boot_id") and value == "x":
        return
    why(golden("batch") | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "spawn"),
        ("kind", None),
        ("fields", ["seq"]),
        ("fields", []),
        ("fields", None),
        ("rows", None),
        ("rows", [[]]),
        ("rows", [[1, 2, 3]]),
        ("filename", []),
        ("filename", [7]),
        ("filename", None),
        ("argv", []),
        ("argv", [[7]]),
        ("argv", ["text"]),
    ],
)
def test_a_message_with_a_spoilt_group_is_rejected(name, value):
    found = of_kind("exec")
    found["groups"][0][name] = value
    why(found)


@pytest.mark.parametrize("name", ["kind", "fields", "rows", "filename", "argv"])
def test_a_message_with_a_group_that_lacks_a_member_is_rejected(name):
    found = of_kind("exec")
    del found["groups"][0][name]
    why(found)


@pytest.mark.parametrize("index", [99, -1, None, "sh"])
def test_a_comm_that_is_not_in_the_strings_is_rejected(index):
    found = of_kind("fork")
    found["groups"][0]["rows"][0][found["groups"][0]["fields"].index("comm")] = index
    why(found)


@pytest.mark.parametrize("value", [-1, 2**32, 1.5, "7", None, [1]])
def test_a_row_with_a_spoilt_number_is_rejected(value):
    found = of_kind("fork")
    found["groups"][0]["rows"][0][found["groups"][0]["fields"].index("pid")] = value
    why(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_without_one_of_its_columns_is_rejected(kind):
    names = of_kind(kind)["groups"][0]["fields"]
    for name in set(names) - {"status", "signal", "core"}:
        found = of_kind(kind)
        at = names.index(name)
        del found["groups"][0]["fields"][at], found["groups"][0]["rows"][0][at]
        assert name in why(found)


def test_a_group_whose_rows_know_different_fields_is_rejected():
    found = golden("batch")
    (group,) = (g for g in found["groups"] if g["kind"] == "fork")
    group["rows"][1][group["fields"].index("flags")] = bits("parent_unknown")
    assert "different fields" in why(found)


def test_a_column_that_flags_hide_is_read_as_unknown():
    found = of_kind("fork")
    group = found["groups"][0]
    group["rows"][0][group["fields"].index("flags")] = bits("parent_unknown")
    assert decode_batch(msgpack.packb(found)).records["ppid"].tolist() == [0]


def test_members_that_were_not_known_are_passed_over():
    found = golden("batch") | {"colour": "red"}
    found["groups"][0]["colour"] = [1]
    assert len(decode_batch(msgpack.packb(found))) == found["count"]


def test_a_group_without_the_labels_that_others_have_is_rejected():
    found = golden("batch-labelled")
    group = found["groups"][0]
    at = group["fields"].index("label")
    del group["fields"][at]
    for row in group["rows"]:
        del row[at]
    assert "label" in why(found)


def test_a_group_without_rows_is_no_events():
    found = golden("batch")
    found["groups"].append(found["groups"][0] | {"rows": []})
    assert len(decode_batch(msgpack.packb(found))) == found["count"]
