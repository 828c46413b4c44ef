"""A bar on the terminal while captures are read."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from taskstream.capture.reader import CaptureFile

__all__ = ["progress_of"]


@contextmanager
def progress_of(
    files: Sequence[CaptureFile], *, data_on_stdout: bool
) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error, if it is a terminal and nothing else is written there."""
    sizes = [file.size for file in files]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    shown = sys.stderr.isatty() and not (data_on_stdout and sys.stdout.isatty())
    if not shown or total is None:
        yield lambda _bytes: None
        return
    with click.progressbar(length=total, file=sys.stderr, update_min_steps=1 << 20) as bar:
        yield bar.update
