"""``taskstream config``: what is in force, where it came from, and whether it is right."""

import json
from pathlib import Path
from typing import Any

import click

from taskstream import place
from taskstream.cli.option import FILE_PATH, kafka_option, kafka_settings, kafka_texts
from taskstream.cli.run import run
from taskstream.config.file import read
from taskstream.config.option import OPTIONS
from taskstream.effective import Effective, effective

__all__ = ["config"]

_MEMBERS = {option.name for options in OPTIONS.values() for option in options.values()}


@click.command()
@click.option(
    "--config",
    "config_file",
    type=FILE_PATH,
    metavar="FILE",
    help="Configuration file.  [default: the one in force]",
)
@click.option("--check", is_flag=True, help="Say whether the file is right.  [default]")
@click.option("--show", is_flag=True, help="Print every option, and where its value came from.")
@click.option("--json", "as_json", is_flag=True, help="Show it as JSON.")
@kafka_option
def config(
    config_file: Path | None,
    check: bool,
    show: bool,
    as_json: bool,
    kafka: tuple[str, ...],
    **given: Any,
) -> None:
    """Check the configuration, or show what is in force.

    Takes the options of `taskstream run` too, and says what a run with them would use. Exits
    with 1 if something is wrong, and says where and what is allowed.
    """
    if check and (show or as_json):
        raise click.UsageError("--check and --show exclude each other: --show checks as well")
    path = config_file or place.find(place.PROCESS)
    settings = read(path)
    kafka_settings(kafka)
    rows = list(effective(settings, given, kafka_texts(kafka)))
    if as_json:
        click.echo(json.dumps({"file": str(path), "options": list(map(_as_map, rows))}, indent=2))
    elif show:
        _print(path, rows)
    else:
        click.echo(f"{path}: {len(settings)} options set, all right")


config.params.extend(p for p in run.params if p.name in _MEMBERS or p.name == "bootstrap")


def _as_map(row: Effective) -> dict[str, str]:
    return {
        "section": row.section,
        "option": row.option,
        "value": row.value,
        "from": row.origin,
    }


def _print(path: Path, rows: list[Effective]) -> None:
    click.echo(f"# {path}")
    width = max(len(f"{row.option} = {row.value}") for row in rows)
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            click.echo(f"\n[{section}]")
        click.echo(f"    {f'{row.option} = {row.value}':{width}}  # {row.origin}")
