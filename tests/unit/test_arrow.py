"""Arrow tables, and what pandas and polars make of them: the events that messages have."""

from datetime import UTC, datetime
from typing import Any

import msgpack
import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest

from taskstream.batch import Batch
from taskstream.message.encode import EventEncoder
from taskstream.table import TABLE_COLUMNS
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, bits, each_kind, event, labelled

LARGE = 2**63 + 12345
"""No double has it."""

GIVEN = {
    "each kind": each_kind(),
    "labels": labelled(each_kind()),
    "odd texts and hidden fields": batch(
        event("exec", comm="größe".encode(), argv=b"a\\b\0\xfe\0"),
        event("exec", flags=bits("args_lost")),
        event("exit", exit_code=-1, flags=bits("io_unknown")),
        event("task", flags=bits("parent_unknown", "cgroup_unknown")),
        event("fork", pid=2**32 - 1, clone_flags=LARGE),
        event("exec", argv=b""),
    ),
    "nothing": batch(),
}
each_batch = pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)


def told(given: Batch) -> list[dict[str, Any]]:
    """Return the events as their messages have them, None for what these do not say."""
    nothing = dict.fromkeys(column.name for column in TABLE_COLUMNS)
    values = EventEncoder(given.origin).encode(given).values if len(given) else []
    return [nothing | msgpack.unpackb(value) for value in values]


def in_pandas(given: Batch) -> pd.DataFrame:
    return given.to_arrow().to_pandas(types_mapper=pd.ArrowDtype)


@each_batch
def test_a_record_batch_has_the_events_of_messages_and_null_for_the_rest(given):
    assert given.to_arrow().to_pylist() == told(given)


@each_batch
def test_polars_has_the_events_of_messages_and_null_for_the_rest(given):
    frame = polars.from_arrow(given.to_arrow())
    assert frame.to_dicts() == told(given)
    assert frame.columns == [column.name for column in TABLE_COLUMNS]


@each_batch
def test_pandas_has_the_events_of_messages_and_null_for_the_rest(given):
    frame = in_pandas(given)
    assert list(frame.columns) == [column.name for column in TABLE_COLUMNS]
    rows = [
        {name: _plain(value) for name, value in row.items()} for row in frame.to_dict("records")
    ]
    assert rows == told(given)


def _plain(value: Any) -> Any:
    """Return a cell as Python has it."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if value is pd.NA else value


def test_numbers_keep_the_width_and_the_sign_of_the_schema_wherever_they_go():
    given = GIVEN["odd texts and hidden fields"]
    wanted = {
        "boot_ns": "uint64", "wall_ns": "uint64", "pid": "uint32", "cpu": "uint16",
        "exit_code": "int32", "clone_flags": "uint64", "comm": "string",
        "argv": "list<item: string>",
    }  # fmt: skip
    schema = given.to_arrow().schema
    assert {name: str(schema.field(name).type) for name in wanted} == wanted
    frame = polars.from_arrow(given.to_arrow())
    assert frame.schema["boot_ns"] == polars.UInt64
    assert frame.schema["exit_code"] == polars.Int32
    assert frame.schema["argv"] == polars.List(polars.String)
    types = in_pandas(given).dtypes
    assert str(types["boot_ns"]) == "uint64[pyarrow]"
    assert str(types["exit_code"]) == "int32[pyarrow]"
    assert types["argv"] == pd.ArrowDtype(pyarrow.list_(pyarrow.string()))


def test_a_number_that_others_lack_stays_exact_in_pandas_with_types_of_arrow_alone():
    given = GIVEN["odd texts and hidden fields"]
    assert in_pandas(given)["clone_flags"].dropna().tolist() == [LARGE]
    plain = given.to_arrow().to_pandas()["clone_flags"]  # a double, since some have none
    assert plain.dropna().astype(object).map(int).tolist() != [LARGE]


def test_moments_become_those_of_the_wall_clock():
    at = datetime(2026, 11, 28, 12, 30, 15, 250_000, UTC)
    wall_ns = int(at.timestamp()) * 10**9 + 250_000_000
    given = batch(event("fork", boot_ns=wall_ns - WALL_OFFSET_NS), origin=ORIGIN)
    frame = polars.from_arrow(given.to_arrow())
    moments = frame.select(polars.from_epoch("wall_ns", "ns").dt.replace_time_zone("UTC"))
    assert moments["wall_ns"].to_list() == [at]
    assert pd.to_datetime(in_pandas(given)["wall_ns"], unit="ns", utc=True).tolist() == [at]
