"""``taskstream status``: what the agents of this host are doing."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from taskstream.cli.controlling import agent_option, agents, config_option
from taskstream.cli.saying import show
from taskstream.control.client import ask

__all__ = ["status"]


@click.command()
@agent_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, a line per agent.")
def status(agent: str | None, config_file: Path | None, as_json: bool) -> None:
    """Say what the agents of this host are doing: hooks, charts, losses, options.

    Needs root.
    """
    for path in agents(config_file, agent):
        found = {"agent": path.stem, **ask(path, {"do": "status"})}
        if as_json:
            click.echo(json.dumps(found))
        else:
            show(_text(found))


def _text(found: dict[str, Any]) -> str:
    to, hooks = found["publishing"], found["hooks"]
    target = f"publishing to {to['bootstrap']}, topic {to['topic']}, {to['queued']:,} messages wait"
    lines = [
        f"agent {found['agent']} on {found['host']}, taskstream {found['version']}, runs for "
        f"{timedelta(seconds=int(found['running_s']))}",
        f"    {target if to['topic'] else 'publishing nothing'}",
        *([f"    {to['trouble']}"] if to["trouble"] else []),
        *(f"    {name}: {_state(state)}" for name, state in found["collections"].items()),
        f"    {found['closing_line']}",
        f"    {_interval(found['last_interval'])}",
        f"    hooks ({found['type_format']}, {found['buffer']} buffer): "
        + ", ".join(hook["place"] for hook in hooks),
        *(f"    note: {note}" for note in found["notes"]),
        "    options: "
        + (", ".join(_options(found["options"])) or "all as in the stock configuration"),
    ]
    return "\n".join(lines)


def _state(state: dict[str, Any]) -> str:
    if not state["on"]:
        return "off"
    return "on" if state["left_s"] is None else f"on, ends in {state['left_s']:.0f} s"


def _interval(last: dict[str, Any] | None) -> str:
    if last is None:
        return "the first interval is not over"
    lost = ", ".join(f"{cause} {rate:,.1f}" for cause, rate in last["lost_per_second"].items())
    return f"last interval: {last['events_per_second']:,.1f} events/s; lost/s: {lost}"


def _options(options: list[dict[str, Any]]) -> list[str]:
    return [
        f"[{option['section']}] {option['option']} = {option['value']}"
        for option in options
        if not option["default"]
    ]
