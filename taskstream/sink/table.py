"""Files of events for other tools: Parquet, CSV, JSON lines.

Rim: touches a file. pyarrow, which writes Parquet, is an extra: ``taskstream[parquet]``.
"""

import csv
import json
from typing import Any, BinaryIO, Protocol

from taskstream.arrow import arrow_schema, record_batch
from taskstream.batch import Batch
from taskstream.table import TABLE_COLUMNS, columns

__all__ = ["CsvTable", "JsonTable", "ParquetTable", "Table"]

_ROW_GROUP_EVENTS = 65_536


class Table(Protocol):
    """A file that takes events."""

    def write(self, batch: Batch) -> None:
        """Add events."""

    def close(self) -> None:
        """End the file; what it was written to stays open."""


def _rows(batch: Batch) -> list[dict[str, Any]]:
    """Return events as maps; what is not known is None."""
    listed: dict[str, list[Any]] = {}
    for column, (values, known) in columns(batch):
        plain = values if isinstance(values, list) else values.tolist()
        pairs = zip(plain, known.tolist(), strict=True)
        listed[column.name] = [value if is_known else None for value, is_known in pairs]
    return [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]


class JsonTable:
    """An object per line; what is not known is absent."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, batch: Batch) -> None:
        """Add events."""
        for row in _rows(batch):
            told = {name: value for name, value in row.items() if value is not None}
            self._out.write(json.dumps(told).encode() + b"\n")

    def close(self) -> None:
        """Put all on its way."""
        self._out.flush()


class _Lines:
    """Text for a binary file."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        return self._out.write(text.encode())


class CsvTable:
    """A head line, then a line per event; what is not known is empty, argv is a JSON array."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        names = [column.name for column in TABLE_COLUMNS]
        self._csv = csv.DictWriter(_Lines(out), names, lineterminator="\n")
        self._csv.writeheader()

    def write(self, batch: Batch) -> None:
        """Add events."""
        for row in _rows(batch):
            if row["argv"] is not None:
                row["argv"] = json.dumps(row["argv"])
            self._csv.writerow(row)

    def close(self) -> None:
        """Put all on its way."""
        self._out.flush()


class ParquetTable:
    """A Parquet file, a row group per 65,536 events or more, zstd.

    Raises:
        ConfigError: pyarrow is not installed.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._schema = arrow_schema()
        import pyarrow.parquet  # takes its time

        self._arrow = pyarrow
        self._writer = pyarrow.parquet.ParquetWriter(out, self._schema, compression="zstd")
        self._batches: list[Any] = []
        self._events = 0

    def write(self, batch: Batch) -> None:
        """Add events."""
        self._batches.append(record_batch(batch))
        self._events += len(batch)
        if self._events >= _ROW_GROUP_EVENTS:
            self._flush()

    def _flush(self) -> None:
        if self._batches:
            table = self._arrow.Table.from_batches(self._batches, self._schema)
            self._writer.write_table(table.combine_chunks())
        self._batches, self._events = [], 0

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        self._flush()
        self._writer.close()
