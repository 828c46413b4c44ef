"""``taskstream schema``: the fields of an event."""

import json

import click

from taskstream.schema import field_rows, json_schema

__all__ = ["schema"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the JSON Schema of an event.")
def schema(as_json: bool) -> None:
    """Print the fields of an event: name, kinds, type, unit, and when it is present."""
    if as_json:
        click.echo(json.dumps(json_schema(), indent=2))
        return
    head = {"name": "field", "kinds": "kinds", "type": "type", "unit": "unit"}
    head |= {"present": "present", "doc": "meaning"}
    rows = [head, *field_rows()]
    widths = {column: max(len(row[column]) for row in rows) for column in head}
    for row in rows:
        cells = [row[column].ljust(widths[column]) for column in head]
        click.echo("  ".join(cells).rstrip())
