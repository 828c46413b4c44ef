"""Options that several verbs share, and how they become settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from taskstream.config.config import OFF
from taskstream.config.option import FILE_SIZE, OPTIONS, host_port, size
from taskstream.config.secret import secret
from taskstream.errors import ConfigError

__all__ = [
    "BROKER_TEXT",
    "FILE_PATH",
    "config_option",
    "duration_option",
    "host_option",
    "kafka_option",
    "kafka_settings",
    "kafka_texts",
    "limit_option",
    "listen_option",
    "load_mode_option",
    "size_option",
    "topic_option",
    "tracing_option",
    "type_format_option",
    "update_every_option",
]

FILE_PATH = click.Path(path_type=Path, readable=False)
"""A file; one that cannot be read is no wrong usage, and is told by whoever opens it."""


class _BrokerText(click.types.StringParamType):
    """A text for brokers, which take UTF-8 alone; a file name may be of any bytes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text: str = super().convert(value, param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            # Not shown: it may be a secret.
            self.fail("it has bytes that are no UTF-8, which brokers do not take", param, ctx)
        return text


BROKER_TEXT = _BrokerText()
"""A name, an address or a setting that goes to a broker."""

config_option = click.option(
    "--config",
    "config_file",
    type=FILE_PATH,
    metavar="FILE",
    help="Configuration file.  [default: the one that `taskstream config` names]",
)

update_every_option = click.option(
    "--update-every",
    "update_every_s",
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    help="Length of an interval of the rates.  [default: 5]",
)

load_mode_option = click.option(
    "--load-mode",
    type=click.Choice(["entry", "return"]),
    help="`return` also watches for failed calls (with tracing `tracepoint` that slows every "
    "system call a little).  [default: entry]",
)

type_format_option = click.option(
    "--type-format",
    type=click.Choice(["auto", "co-re", "legacy"]),
    help="Which probes: compiled once (co-re), or at the start (legacy).  [default: auto]",
)

tracing_option = click.option(
    "--tracing",
    type=click.Choice(["trampoline", "probe", "tracepoint"]),
    help="How co-re probes attach.  [default: trampoline]",
)

limit_option = click.option(
    "--limit",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="How many groups of each kind are told apart, per host; the others are in `other`.",
)

duration_option = click.option(
    "--duration", type=click.FloatRange(0), metavar="SECONDS", help="Stop after this time."
)

host_option = click.option(
    "--host", metavar="NAME", help="Name of this host in the events.  [default: the node name]"
)

kafka_option: Callable[..., Any] = click.option(
    "--kafka",
    "kafka",
    type=BROKER_TEXT,
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


def _address(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[str, int] | None:
    """Read an address as [prometheus] of the configuration has it; a callback for click."""
    if value is None:
        return None
    try:
        text = OPTIONS["prometheus"]["listen"].read(value)
    except ValueError:
        text = OFF
    if text == OFF:
        raise click.BadParameter(f"{value!r} cannot be: allowed is HOST:PORT, or PORT")
    return host_port(text)


def topic_option(
    help_: str = "Topic to read.", default: str = "taskstream.events"
) -> Callable[..., Any]:
    """Return option ``--topic`` of a verb that has no configuration file.

    Args:
        help_: What of the topic.
        default: Which, unless it is given.
    """
    return click.option(
        "--topic",
        default=default,
        show_default=True,
        type=BROKER_TEXT,
        metavar="TOPIC",
        help=help_,
    )


def listen_option(help_: str, default: str | None = None) -> Callable[..., Any]:
    """Return option ``--listen``, of which a verb gets host and port; None if it is not given.

    Args:
        help_: What is served, and when.
        default: Where, unless it is given.
    """
    return click.option(
        "--listen",
        callback=_address,
        default=default,
        show_default=default is not None,
        metavar="[HOST:]PORT",
        help=help_,
    )


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
