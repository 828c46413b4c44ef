"""Options that several verbs share, and how they become settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from taskstream.config.option import FILE_SIZE, size
from taskstream.config.secret import secret
from taskstream.errors import ConfigError

__all__ = [
    "config_option",
    "duration_option",
    "host_option",
    "kafka_option",
    "kafka_settings",
    "kafka_texts",
    "listen_address",
    "size_option",
    "update_every_option",
]

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Configuration file.  [default: the one that `taskstream config` names]",
)

update_every_option = click.option(
    "--update-every",
    "update_every_s",
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    help="Length of an interval of the rates.  [default: 5]",
)

duration_option = click.option(
    "--duration", type=click.FloatRange(0), metavar="SECONDS", help="Stop after this time."
)

host_option = click.option(
    "--host", help="Name of this host in the events.  [default: the node name]"
)

kafka_option: Callable[..., Any] = click.option(
    "--kafka",
    "kafka",
    metavar="KEY=VALUE",
    multiple=True,
    help="A librdkafka setting; a VALUE ${env:NAME} or ${file:PATH} is read from there. "
    "May be given many times.",
)


def size_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read an option's size as the configuration file has it; a callback for click."""
    try:
        return None if value is None else size(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} cannot be: allowed is {FILE_SIZE}") from None


def listen_address(text: str) -> tuple[str, int]:
    """Read option ``--listen``: HOST:PORT.

    Raises:
        click.BadParameter: it is something else.
    """
    address, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal():
        raise click.BadParameter(f"{text!r} is no HOST:PORT", param_hint="--listen")
    return address.strip("[]"), int(port)


def kafka_settings(given: tuple[str, ...]) -> dict[str, str]:
    """Read ``--kafka key=value`` options.

    Raises:
        ConfigError: one has no ``=``, or names a secret that is not there.
    """
    return {name: secret(text, f"--kafka {name}") for name, text in kafka_texts(given).items()}


def kafka_texts(given: tuple[str, ...]) -> dict[str, str]:
    """Split ``--kafka key=value`` options, and leave references to secrets as they are.

    Raises:
        ConfigError: one has no ``=``.
    """
    texts = {}
    for option in given:
        name, equals, text = option.partition("=")
        if not equals or not name:
            # Not shown: it may be a secret.
            raise ConfigError("--kafka: expected KEY=VALUE, as in linger.ms=50")
        texts[name.strip()] = text.strip()
    return texts
