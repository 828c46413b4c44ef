"""What a verb tells people: no text can command the terminal that shows it.

Talk goes to standard error, with the verb's name before it; data for people to standard output.
JSON does not come by here: it has its own escapes.
"""

import sys
from collections.abc import Callable

import click

from taskstream.text import printable, printable_lines

__all__ = ["Say", "sayer", "show", "show_data"]

Say = Callable[[str], None]
"""Takes a line for people."""


def show(text: str) -> None:
    """Print data for people."""
    click.echo(printable_lines(text))


def show_data(text: str) -> None:
    """Print whole lines for machines: to the letter, but where a terminal would obey them."""
    if sys.stdout.isatty():
        text = "\n".join(map(printable, text.split("\n")))
    sys.stdout.write(text)  # click would take escape sequences out
    sys.stdout.flush()


def sayer(verb: str) -> Say:
    """Return what talks for a verb; without one, for the program."""
    head = " ".join(filter(None, ("taskstream", verb)))
    return lambda text: click.echo(printable_lines(f"{head}: {text}"), err=True)
