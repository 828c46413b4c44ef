"""Events as Arrow tables, for pandas, polars, DuckDB and whatever else reads Arrow.

Rim: touches nothing but pyarrow, which is an extra: ``taskstream[arrow]``.
"""

from functools import cache
from typing import Any

from taskstream.batch import Batch
from taskstream.errors import ConfigError
from taskstream.table import TABLE_COLUMNS, columns

__all__ = ["arrow_schema", "record_batch"]


@cache
def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ConfigError("Arrow needs pyarrow: pip install 'taskstream[arrow]'") from None
    return pyarrow


@cache
def arrow_schema() -> Any:
    """Return the ``pyarrow.Schema`` of events: the members of an `event` message, in its order.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    arrow = _pyarrow()
    types = {
        "u8": arrow.uint8(),
        "u16": arrow.uint16(),
        "u32": arrow.uint32(),
        "u64": arrow.uint64(),
        "i32": arrow.int32(),
        "bool": arrow.bool_(),
        "str": arrow.string(),
        "list": arrow.list_(arrow.string()),
    }
    return arrow.schema([(column.name, types[column.type]) for column in TABLE_COLUMNS])


def record_batch(batch: Batch) -> Any:
    """Return a batch as a ``pyarrow.RecordBatch``; what is not known is null.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    schema, arrow = arrow_schema(), _pyarrow()
    arrays = [
        arrow.array(
            values,
            type=schema.field(column.name).type,
            mask=None if isinstance(values, list) else ~known,
        )
        for column, (values, known) in columns(batch)
    ]
    return arrow.RecordBatch.from_arrays(arrays, schema=schema)
