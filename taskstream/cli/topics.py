"""``taskstream topics``: the topic of the events, made and checked."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from taskstream.cli.option import (
    BROKER_TEXT,
    config_option,
    kafka_option,
    kafka_settings,
    size_option,
)
from taskstream.cli.saying import show
from taskstream.config.config import EMBEDDED, Config
from taskstream.config.file import load
from taskstream.topic import Misfit, TopicPlan, judge
from taskstream.topic_admin import TopicAdmin

__all__ = ["misfits", "topics"]


def misfits(config: Config) -> list[Misfit]:
    """Return where the topic of a run does not fit; of one that is not there, nothing."""
    state = TopicAdmin(config.bootstrap, config.kafka).describe(config.topic)
    return [] if state is None else judge(_plan_of(config), state)


def _plan_of(config: Config) -> TopicPlan:
    """Return the topic that a configuration wants."""
    return TopicPlan(
        partitions=config.topic_partitions,
        copies=config.topic_copies,
        in_sync=config.topic_in_sync,
        retention_ms=config.topic_retention_h * 3_600_000 or -1,
        retention_bytes=config.topic_retention_bytes or -1,
        compression=config.topic_compression,
        message_bytes=int(config.kafka.get("message.max.bytes", TopicPlan().message_bytes)),
    )


_OPTIONS = (
    click.option("--bootstrap", type=BROKER_TEXT, metavar="HOST:PORT,...", help="Kafka brokers."),
    click.option(
        "--topic",
        type=BROKER_TEXT,
        metavar="TOPIC",
        help="The topic.  [default: taskstream.events]",
    ),
    click.option(
        "--partitions",
        "topic_partitions",
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="Into how many parts it is split.  [default: 4]",
    ),
    click.option(
        "--replication",
        "topic_copies",
        type=click.IntRange(0, 100),
        metavar="N",
        help="Copies of each partition.  [default: one per broker, up to 3]",
    ),
    click.option(
        "--min-insync",
        "topic_in_sync",
        type=click.IntRange(0, 100),
        metavar="N",
        help="Copies that an acknowledged event has.  [default: one less than --replication]",
    ),
    click.option(
        "--retention-hours",
        "topic_retention_h",
        type=click.IntRange(0, 1_000_000),
        metavar="HOURS",
        help="How long events are kept; 0 for ever.  [default: 168]",
    ),
    click.option(
        "--retention-size",
        "topic_retention_bytes",
        callback=size_option,
        metavar="SIZE",
        help="How much of a partition is kept, such as 10G; 0 for all.  [default: 0]",
    ),
    click.option(
        "--compression",
        "topic_compression",
        type=click.Choice(["producer", "uncompressed", "gzip", "lz4", "snappy", "zstd"]),
        help="How the broker stores messages; producer: as they come.  [default: producer]",
    ),
    kafka_option,
    config_option,
)


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _config(config_file: Path | None, kafka: tuple[str, ...], options: dict[str, Any]) -> Config:
    settings = load(config_file)
    settings |= {name: value for name, value in options.items() if value is not None}
    settings["kafka"] = {**settings.get("kafka", {}), **kafka_settings(kafka)}
    if (named := settings["kafka"].pop("bootstrap.servers", None)) is not None:
        settings["bootstrap"] = named
    config = Config(**settings)
    if config.bootstrap == EMBEDDED:
        raise click.UsageError("name a broker: --bootstrap HOST:PORT")
    return config


@click.group()
def topics() -> None:
    """Make the topic of the events, or check one that is there."""


@topics.command()
@_with_options
def create(config_file: Path | None, kafka: tuple[str, ...], **options: Any) -> None:
    """Make the topic; if it is there already, check it.

    Exits with 1 if it cannot be made, or is there and does not fit.
    """
    config = _config(config_file, kafka, options)
    admin = TopicAdmin(config.bootstrap, config.kafka)
    if admin.create(config.topic, _plan_of(config)):
        show(f"topic {config.topic} was made on {config.bootstrap}")
        return
    show(f"topic {config.topic} is there already")
    sys.exit(_check(config, admin, as_json=False))


@topics.command()
@_with_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config_file: Path | None, kafka: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Say whether the topic fits, and what to do where it does not.

    Exits with 1 if there is none, or it does not fit.
    """
    config = _config(config_file, kafka, options)
    sys.exit(_check(config, TopicAdmin(config.bootstrap, config.kafka), as_json=as_json))


def _check(config: Config, admin: TopicAdmin, *, as_json: bool) -> int:
    state = admin.describe(config.topic)
    found = [] if state is None else judge(_plan_of(config), state)
    if as_json:
        topic = None if state is None else asdict(state)
        rows = [asdict(misfit) for misfit in found]
        click.echo(json.dumps({"topic": config.topic, "found": topic, "misfits": rows}))
    elif state is None:
        show(f"topic {config.topic} is not there: `taskstream topics create` makes it")
    else:
        for misfit in found:
            show(f"topic {config.topic}: {misfit.line()}")
        if not state.config:
            show(f"topic {config.topic}: its settings may not be read; they were not checked")
        elif not found:
            partitions, copies = len(state.copies), min(state.copies)
            show(f"topic {config.topic} fits: {partitions} partitions, {copies} copies")
    return 1 if state is None or found else 0
