"""What the verbs that draw a recorded stream share: options, and who counts its groups."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from taskstream.cli.option import FILE_PATH, config_option
from taskstream.config.config import Config
from taskstream.config.file import load, read_app_groups
from taskstream.grouping.apps import AppGroups
from taskstream.grouping.choice import Choice
from taskstream.grouping.names import CgroupNames
from taskstream.grouping.tally import Tally
from taskstream.target import WINDOW_NS, GroupTarget, Shows

__all__ = ["drawing_config", "drawing_options", "group_target"]

_OPTIONS = (
    click.option("--apps/--no-apps", default=None, help="Charts per app group.  [default: no]"),
    click.option(
        "--cgroups/--no-cgroups",
        "cgroups_too",
        default=None,
        help="Charts per cgroup and service.  [default: no]",
    ),
    click.option(
        "--apps-groups",
        type=FILE_PATH,
        metavar="FILE",
        help="Decide on app groups by these rules.  [default: as the agent did]",
    ),
    config_option,
)


def drawing_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def drawing_config(config_file: Path | None, apps: bool | None, cgroups: bool | None) -> Config:
    """Return what is to be drawn: the configuration's choice, the command line over it.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    given = {"apps": apps, "cgroups": cgroups}
    return Config(
        **load(config_file) | {n: value for n, value in given.items() if value is not None}
    )


def group_target(config: Config, rules_file: Path | None, *shows: Shows) -> GroupTarget:
    """Return what counts the groups of a recorded stream, and shows its intervals.

    Args:
        config: What to count, and how many groups.
        rules_file: Rules of the app groups; None for what the stream says, or, where it says
            nothing, for the rules in force on this host.
        shows: Each is given every interval.

    Raises:
        ConfigError: the rules cannot be used.
    """
    cgroups = CgroupNames()
    choice = Choice(
        apps=config.apps,
        cgroups=config.cgroups,
        commands=config.chart_commands,
        users=config.chart_users,
        limit=config.chart_names,
    )
    rules = read_app_groups(rules_file) if config.apps else AppGroups([])
    tally = Tally(WINDOW_NS, choice, rules=rules, cgroups=cgroups, table_size=config.pid_table_size)
    return GroupTarget(tally, cgroups, *shows, by_rules=rules_file is not None)
