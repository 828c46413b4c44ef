"""Rows are MessagePack to any reader, and columns to ours."""

import msgpack
import numpy as np
import pytest

from taskstream.message.columns import SHORT_TEXT, Column, RowTemplate, pack, slices

NUMBERS = np.array(
    [(0, 0, 0, 0, 0), (255, 65535, 2**32 - 1, 2**64 - 1, -(2**31)), (1, 2, 3, 4, -5)],
    [("a", "u1"), ("b", "<u2"), ("c", "<u4"), ("d", "<u8"), ("e", "<i4")],
)
COLUMNS = [
    Column("a", "u8"),
    Column("fixed", constant="always"),
    Column("b", "u16"),
    Column("c", "u32"),
    Column("flag", "bool"),
    Column("d", "u64"),
    Column("e", "i32"),
    Column("nothing"),
]
FLAG = np.array([(True,), (False,), (True,)], [("flag", "?")])
PLAIN = [
    {
        "a": int(row["a"]),
        "fixed": "always",
        "b": int(row["b"]),
        "c": int(row["c"]),
        "flag": flag,
        "d": int(row["d"]),
        "e": int(row["e"]),
        "nothing": None,
    }
    for row, flag in zip(NUMBERS, (True, False, True), strict=True)
]


@pytest.fixture
def template() -> RowTemplate:
    return RowTemplate(COLUMNS)


def test_keyed_rows_are_maps_to_any_reader(template):
    rows = template.encode(NUMBERS, FLAG)
    assert [msgpack.unpackb(row.tobytes()) for row in rows] == PLAIN


def test_members_keep_the_order_of_the_columns(template):
    row = template.encode(NUMBERS[:1], FLAG[:1])[0]
    assert list(msgpack.unpackb(row.tobytes())) == [c.name for c in COLUMNS]


@pytest.mark.parametrize("count", [1, 15, 16, 40])
def test_a_row_has_any_number_of_members(count):
    columns = [Column(f"n{i}", "u32") for i in range(count)]
    values = np.zeros(1, [(c.name, "<u4") for c in columns])
    values[:] = tuple(range(count))
    row = msgpack.unpackb(RowTemplate(columns).encode(values)[0].tobytes())
    assert list(row.values()) == list(range(count))


def test_the_header_counts_members_that_the_caller_appends():
    row = RowTemplate([Column("a", "u8")], more=1).encode(NUMBERS[1:2])[0]
    assert msgpack.unpackb(row.tobytes() + pack("b") + pack("c")) == {"a": 255, "b": "c"}


def test_no_records_are_no_rows(template):
    rows = template.encode(NUMBERS[:0], FLAG[:0])
    assert rows.shape == (0, template.width)
    assert slices(rows) == []


def test_a_later_source_goes_before_an_earlier_one(template):
    other = np.array([(7,), (8,), (9,)], [("a", "u1")])
    rows = template.encode(NUMBERS, FLAG, other)
    assert [msgpack.unpackb(row.tobytes())["a"] for row in rows] == [7, 8, 9]


def test_a_constant_stands_where_no_source_has_a_value():
    template = RowTemplate([Column("a", "u8"), Column("run", "u64", constant=2**63)])
    rows = template.encode(NUMBERS)
    assert {msgpack.unpackb(row.tobytes())["run"] for row in rows} == {2**63}


def test_rows_are_read_back_as_columns(template):
    view = template.view(template.encode(NUMBERS, FLAG))
    for name in NUMBERS.dtype.names:
        assert view[name].tolist() == NUMBERS[name].tolist()
    assert view["flag"].tolist() == [0xC3, 0xC2, 0xC3]


def test_a_view_shares_the_memory_of_its_rows(template):
    rows = template.encode(NUMBERS, FLAG)
    assert np.shares_memory(template.view(rows), rows)


def test_rows_of_an_equal_template_match_and_of_another_do_not(template):
    rows = template.encode(NUMBERS, FLAG)
    assert RowTemplate(COLUMNS).matches(rows).all()
    renamed = [Column("A", "u8"), *COLUMNS[1:]]
    assert not RowTemplate(renamed).matches(rows).any()


def test_a_row_matches_if_and_only_if_all_but_its_values_is_the_template(template):
    rows = template.encode(NUMBERS[:1], FLAG[:1])
    plain = msgpack.unpackb(rows[0].tobytes())
    for position in range(template.width):
        spoilt = rows.copy()
        spoilt[0, position] ^= 0x55
        try:
            read = msgpack.unpackb(spoilt[0].tobytes())
        except (ValueError, msgpack.UnpackException):
            read = None
        same_form = (
            isinstance(read, dict)
            and list(read) == list(plain)
            and read["fixed"] == "always"
            and read["nothing"] is None
            and all(type(read[name]) is type(plain[name]) for name in plain)
        )
        assert template.matches(spoilt)[0] == same_form, f"byte {position}"


def test_a_short_text_ends_a_row_and_is_cut_to_its_length():
    template = RowTemplate([Column("a", "u8"), Column("name", SHORT_TEXT)])
    records = np.zeros(4, [("a", "u1"), ("name", "S16")])
    records["name"] = [b"", b"sh", b"sixteen-bytes-ok", "Ω".encode()]
    messages = slices(template.encode(records))
    assert [msgpack.unpackb(m)["name"] for m in messages] == ["", "sh", "sixteen-bytes-ok", "Ω"]
    assert [len(m) for m in messages] == [len(messages[0]) + n for n in (0, 2, 16, 2)]


def test_a_text_ends_at_its_first_nul_whatever_lies_behind():
    template = RowTemplate([Column("name", SHORT_TEXT)])
    records = np.zeros(5, [("name", "S16")])
    records["name"] = [b"sh\0ell", b"\0old", b"whole", b"", b"a\0b\0c"]
    messages = slices(template.encode(records))
    names = [msgpack.unpackb(message)["name"] for message in messages]
    assert names == ["sh", "", "whole", "", "a"]
