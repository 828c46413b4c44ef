"""Tables: the same events as messages have, in every format, unknown as unknown."""

import csv
import io
import json
from typing import Any

import msgpack
import pyarrow.parquet
import pytest

from taskstream.message.encode import EventEncoder
from taskstream.sink.table import CsvTable, JsonTable, ParquetTable
from taskstream.table import TABLE_COLUMNS, columns
from tests.synthetic import ORIGIN, batch, bits, each_kind, event, labelled

GIVEN = [
    each_kind(),
    labelled(each_kind()),
    batch(
        event("exec", comm=b"\xff", argv=b"a\\b\0\xfe\0"),
        event("exec", comm=b"a\\b", argv="größe\0".encode()),
        event("exec", flags=bits("args_lost")),
        event("exit", exit_code=-1, flags=bits("io_unknown")),
        event("free", flags=bits("reaper_known", "pidns_unknown")),
        event("task", flags=bits("parent_unknown", "cgroup_unknown")),
        event("fork", pid=2**32 - 1, clone_flags=2**64 - 1),
    ),
]


def expected() -> list[dict[str, Any]]:
    """Return the events as messages have them, without what is not known."""
    maps = [msgpack.unpackb(v) for b in GIVEN for v in EventEncoder(ORIGIN).encode(b).values]
    return [{k: v for k, v in map_.items() if v is not None} for map_ in maps]


def write(kind: type) -> bytes:
    out = io.BytesIO()
    table = kind(out)
    for one in GIVEN:
        table.write(one)
    table.close()
    return out.getvalue()


def test_every_member_of_an_event_has_a_column():
    names = {column.name for column in TABLE_COLUMNS}
    assert names >= {name for map_ in expected() for name in map_}


def test_json_lines_are_the_events_of_messages():
    assert [json.loads(line) for line in write(JsonTable).splitlines()] == expected()


def test_parquet_has_the_events_of_messages():
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(write(ParquetTable)))
    rows = [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]
    assert rows == expected()
    assert str(table.schema.field("boot_ns").type) == "uint64"
    assert str(table.schema.field("argv").type) == "list<element: string>"


def test_csv_has_the_events_of_messages():
    rows = list(csv.DictReader(io.StringIO(write(CsvTable).decode())))
    for row, event_map in zip(rows, expected(), strict=True):
        known = {name: text for name, text in row.items() if text}
        told = {k: v for k, v in event_map.items() if v != ""}
        assert known.keys() == told.keys()
        for name, value in told.items():
            assert known[name] == (json.dumps(value) if name == "argv" else str(value))


@pytest.mark.parametrize("kind", [CsvTable, JsonTable, ParquetTable])
def test_a_table_of_nothing_is_whole(kind):
    out = io.BytesIO()
    kind(out).close()
    if kind is ParquetTable:
        assert pyarrow.parquet.read_table(pyarrow.BufferReader(out.getvalue())).num_rows == 0
    assert out.getvalue().count(b"\n") == (kind is CsvTable) or kind is ParquetTable


def test_a_batch_of_nothing_has_all_columns():
    assert len(list(columns(batch()))) == len(TABLE_COLUMNS)
