"""``taskstream export``: the events of captures as a file for other tools."""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import click

from taskstream.batch import Batch
from taskstream.capture.content import Loss, Names
from taskstream.capture.frame import Frame
from taskstream.capture.reader import CaptureFile
from taskstream.cli import LOSSES
from taskstream.cli.event_choice import FILES, choice_options, selection_of
from taskstream.cli.option import FILE_PATH
from taskstream.cli.progress import progress_of
from taskstream.cli.saying import sayer, show_data
from taskstream.errors import CaptureError, MessageError
from taskstream.replay import Replay
from taskstream.report import Report
from taskstream.sink.table import CsvTable, JsonTable, ParquetTable, Table

__all__ = ["export"]

_say = sayer("export")

TABLES: dict[str, Callable[[BinaryIO], Table]] = {
    "parquet": ParquetTable,
    "csv": CsvTable,
    "jsonl": JsonTable,
}


class _TableTarget:
    """Writes the events of a replay to a table; the rest has no place there."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def frame(self, _frame: Frame) -> bool:
        return False

    def write(self, batch: Batch) -> None:
        self._table.write(batch)

    def report(self, report: Report) -> None:
        """A table has no place for it."""

    def names(self, names: Names) -> None:
        """A table has no place for them."""

    def loss(self, loss: Loss) -> None:
        """A table has no place for it."""

    def wait(self, stop: Callable[[], bool]) -> None:
        """Return at once."""


class _Terminal(BytesIO):
    """Standard output, where it is a terminal; lines are written whole."""

    def write(self, data: Any) -> int:
        show_data(bytes(data).decode())
        return len(data)


@click.command()
@FILES
@click.option("--to", "to", required=True, type=click.Choice(list(TABLES)), help="The format.")
@click.option(
    "--output",
    "-o",
    type=FILE_PATH,
    metavar="FILE",
    help="The new file.  [default: standard output]",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@choice_options
@click.option("--skip-damaged", is_flag=True, help="Go on behind damaged frames.")
def export(
    paths: tuple[Path, ...],
    to: str,
    output: Path | None,
    force: bool,
    skip_damaged: bool,
    **choice: Any,
) -> None:
    """Write the events of captures as Parquet, CSV or JSON lines.

    The columns are those of `taskstream schema`. The new file is for its owner alone, as
    argument lists may hold secrets. Parquet needs pyarrow: the extra `parquet`.
    """
    if output is None and to == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is not for a terminal: give --output FILE")
    with ExitStack() as stack:
        files = [stack.enter_context(CaptureFile(path)) for path in paths]
        selection = selection_of(files, **choice)
        if output is not None:
            out = stack.enter_context(_create(output, force))
        else:
            out = _Terminal() if sys.stdout.isatty() else sys.stdout.buffer
        table = TABLES[to](out)
        failure: CaptureError | MessageError | None = None
        with progress_of(files, data_on_stdout=output is None) as on_progress:
            job = Replay(
                files,
                _TableTarget(table),
                selection=selection,
                skip_damaged=skip_damaged,
                on_progress=on_progress,
            )
            try:
                job.run(lambda: False)
            except (CaptureError, MessageError) as error:
                failure = error
        table.close()
    for name, damage in job.totals.damages:
        _say(f"{name}: {damage}")
    _say(job.totals.line().replace("replayed", "exported"))
    if failure is not None:
        raise type(failure)(str(failure).replace("were replayed", "were exported"))
    sys.exit(0 if job.totals.complete else LOSSES)


def _create(path: Path, force: bool) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if force else os.O_EXCL)
    try:
        return os.fdopen(os.open(path, flags, 0o600), "wb")
    except FileExistsError:
        raise CaptureError(f"{path} is there already: --force writes it anew") from None
    except OSError as error:
        raise CaptureError(f"{path} cannot be made: {error.strerror}") from None
