"""``taskstream disable``: collect less in a running agent."""

from pathlib import Path

import click

from taskstream.cli.controlling import agent_option, config_option, request
from taskstream.cli.saying import show
from taskstream.collection import NAMES

__all__ = ["disable"]


@click.command()
@click.argument("what", nargs=-1, required=True, type=click.Choice(NAMES))
@agent_option
@config_option
def disable(what: tuple[str, ...], agent: str | None, config_file: Path | None) -> None:
    """End the charts of app groups, or of cgroups, in a running agent.

    Also those that its configuration has on, until it starts again. When they are enabled again,
    their counters go on from where they were. Needs root.
    """
    for name in what:
        show(request(config_file, agent, {"do": "disable", "what": name})["said"])
