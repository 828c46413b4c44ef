"""``taskstream enable``: collect more in a running agent, for a time."""

from pathlib import Path

import click

from taskstream.cli.controlling import agent_option, config_option, request
from taskstream.cli.saying import show
from taskstream.collection import NAMES

__all__ = ["enable"]


@click.command()
@click.argument("what", nargs=-1, required=True, type=click.Choice(NAMES))
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0, 31_536_000, min_open=True),
    metavar="SECONDS",
    help="For how long.  [default: option `lifetime` of the agent, 300]",
)
@agent_option
@config_option
def enable(
    what: tuple[str, ...], seconds: float | None, agent: str | None, config_file: Path | None
) -> None:
    """Let a running agent draw the charts of app groups, or of cgroups, for a time.

    They end by themselves; what the agent's configuration has on does not. Asking again gives
    another time. When this returns, every event from now on is counted. Needs root.
    """
    for name in what:
        reply = request(config_file, agent, {"do": "enable", "what": name, "seconds": seconds})
        show(reply["said"])
