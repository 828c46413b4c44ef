"""``taskstream run``: the main job."""

import sys
from pathlib import Path
from typing import Any

import click

from taskstream import clock
from taskstream.cli.option import (
    BROKER_TEXT,
    config_option,
    duration_option,
    host_option,
    kafka_option,
    kafka_settings,
    load_mode_option,
    tracing_option,
    type_format_option,
    update_every_option,
)
from taskstream.cli.record import record
from taskstream.cli.saying import sayer
from taskstream.cli.stopping import stop_signals
from taskstream.config.config import OFF, Config
from taskstream.config.file import load
from taskstream.sink.screen import JsonLines, LiveTable, PlainLines, Screen

__all__ = ["run"]

_say = sayer("run")


@click.command()
@click.option(
    "--bootstrap",
    type=BROKER_TEXT,
    metavar="HOST:PORT,...",
    help="Kafka brokers; embedded for one inside the agent, off for none.  [default: embedded]",
)
@click.option(
    "--topic",
    type=BROKER_TEXT,
    metavar="TOPIC",
    help="Topic of the events.  [default: taskstream.events]",
)
@click.option(
    "--message",
    type=click.Choice(["event", "batch", "json"]),
    help="A Kafka message per event, or per batch, or per event as JSON.  [default: event]",
)
@load_mode_option
@type_format_option
@tracing_option
@click.option("--apps/--no-apps", default=None, help="Charts per app group.  [default: no]")
@click.option(
    "--cgroups/--no-cgroups", default=None, help="Charts per cgroup and service.  [default: no]"
)
@update_every_option
@duration_option
@click.option(
    "--drain-timeout",
    "drain_timeout_s",
    type=click.IntRange(0, 3600),
    metavar="SECONDS",
    help="How long the end may wait for the broker.  [default: 10]",
)
@host_option
@config_option
@click.option(
    "--capture",
    "capture_file",
    metavar="FILE",
    help="Write the stream to a capture file, too; [capture] of the configuration has bounds.",
)
@click.option("--force", is_flag=True, help="Write over a capture that is there.")
@kafka_option
@click.option("--json", "as_json", is_flag=True, help="Print each interval as a line of JSON.")
def run(
    config_file: Path | None,
    duration: float | None,
    kafka: tuple[str, ...],
    as_json: bool,
    force: bool,
    **options: Any,
) -> None:
    """Record this host's task events: publish them to Kafka and show the rates.

    Needs root, or CAP_BPF and CAP_PERFMON (load mode `return` also CAP_DAC_READ_SEARCH).
    Stops on Ctrl-C, SIGTERM or after --duration, with one line whose numbers add up; exits
    with 3 if events were lost.
    """
    settings = load(config_file)
    settings |= {name: value for name, value in options.items() if value is not None}
    settings["kafka"] = {**settings.get("kafka", {}), **kafka_settings(kafka)}
    address = settings["kafka"].pop("bootstrap.servers", None)
    if address is not None:
        if options["bootstrap"] is not None:
            raise click.UsageError("--bootstrap and --kafka bootstrap.servers exclude each other")
        settings["bootstrap"] = address
    config = Config(**settings)
    with stop_signals() as stopped:
        sys.exit(
            record(
                config,
                stopped,
                lambda c: _screen(c, as_json),
                say=_say,
                duration=duration,
                force=force,
            )
        )


def _screen(config: Config, as_json: bool) -> Screen:
    semantics = config.chart_semantics
    if as_json:
        return JsonLines(semantics=semantics)
    if sys.stdout.isatty():
        to = f" to {config.bootstrap}, topic {config.topic}" if config.bootstrap != OFF else ""
        head = f"taskstream on {config.host_name()}{to}"
        return LiveTable(head, clock.boot_ns, semantics=semantics)
    return PlainLines(semantics=semantics)
