"""The control socket, as the verbs use it: a run that has one, and those who talk to it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from taskstream.cli.option import FILE_PATH
from taskstream.config.config import OFF, Config
from taskstream.config.file import load
from taskstream.control import Answer, Door
from taskstream.control.client import ask, find
from taskstream.control.server import ControlSocket
from taskstream.errors import ControlError

__all__ = ["agent_option", "agents", "config_option", "open_socket", "request"]

config_option = click.option(
    "--config",
    "config_file",
    type=FILE_PATH,
    metavar="FILE",
    help="Configuration of the agent, which says where it listens.  [default: the one in force]",
)

agent_option = click.option(
    "--agent", metavar="PID", help="Which agent, if several run.  [default: the one that runs]"
)


def open_socket(config: Config, answer: Answer, say: Callable[[str], None]) -> list[Door]:
    """Return the control socket of a run; none where that is not wanted, or not possible."""
    if config.control_directory == OFF:
        return []
    try:
        return [ControlSocket(Path(config.control_directory), answer)]
    except ControlError as error:
        say(str(error))
        return []


def agents(config_file: Path | None, agent: str | None) -> list[Path]:
    """Return the sockets of the agents that run, or of the one that is named.

    Raises:
        ControlError: there is none.
        ConfigError: the configuration cannot be read.
    """
    directory = Config(**load(config_file)).control_directory
    if directory == OFF:
        raise ControlError(
            "the configuration says [control] directory = off: agents listen nowhere"
        )
    alive = find(Path(directory))
    if agent is None:
        return alive
    named = [path for path in alive if path.stem == agent]
    if not named:
        raise ControlError(f"no agent {agent} runs: there is {_names(alive)}")
    return named


def request(config_file: Path | None, agent: str | None, what: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the agent that runs, or that is named; return its reply.

    Raises:
        ControlError: there is none, or more than one, or it will not do it.
        ConfigError: the configuration cannot be read.
    """
    alive = agents(config_file, agent)
    if len(alive) > 1:
        raise ControlError(f"{len(alive)} agents run, {_names(alive)}: name one with --agent")
    return ask(alive[0], what)


def _names(paths: list[Path]) -> str:
    return ", ".join(path.stem for path in paths)
