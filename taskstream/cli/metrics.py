"""``taskstream metrics``: the rates that many hosts publish, served to Prometheus."""

import sys

import click

from taskstream.board.gatherer import unpack_rates
from taskstream.cli import LOSSES
from taskstream.cli.option import (
    BROKER_TEXT,
    kafka_option,
    kafka_settings,
    limit_option,
    listen_option,
    topic_option,
)
from taskstream.cli.saying import sayer
from taskstream.cli.stopping import stop_signals
from taskstream.consumer import TopicSource
from taskstream.errors import MessageError
from taskstream.sink.prometheus import MetricsServer
from taskstream.sink.rates_metrics import MetricBounds, RatesMetrics

__all__ = ["metrics"]

_say = sayer("metrics")


@click.command()
@click.option(
    "--bootstrap", required=True, type=BROKER_TEXT, metavar="HOST:PORT,...", help="Kafka brokers."
)
@topic_option(default="taskstream.rates")
@listen_option("Where to serve them.", "127.0.0.1:9468")
@click.option(
    "--silent",
    "silent_s",
    type=click.FloatRange(1, 86_400),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long a host may publish nothing before its metrics end.",
)
@click.option(
    "--hosts",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    metavar="N",
    help="How many hosts have metrics.",
)
@limit_option
@kafka_option
def metrics(
    bootstrap: str,
    topic: str,
    listen: tuple[str, int],
    silent_s: float,
    hosts: int,
    limit: int,
    kafka: tuple[str, ...],
) -> None:
    """Serve the charts of every host that publishes its rates, from now on, at /metrics.

    Reads what agents have drawn, not the events: a few messages per host and interval. Every
    metric has label `host`. Exits with 3 if messages were not understood.
    """
    bounds = MetricBounds(hosts=hosts, groups=limit, silent_s=silent_s)
    found, refused = RatesMetrics(bounds), 0
    settings = kafka_settings(kafka)
    with (
        stop_signals() as stopped,
        TopicSource(bootstrap, topic, from_end=True, settings=settings) as source,
        MetricsServer(found, *listen) as server,
    ):
        _say(f"metrics of {topic} at {server.url}")
        told = ""
        while not stopped.asked:
            for value in source.values(0.5):
                try:
                    found.take(unpack_rates(value))
                except MessageError as error:
                    if not refused:
                        _say(f"a message was not understood: {error}")
                    refused += 1
            if source.trouble != told:
                told = source.trouble
                _say(told or "the broker answers again")
    _say(_closing_line(found, refused))
    sys.exit(LOSSES if refused else 0)


def _closing_line(found: RatesMetrics, refused: int) -> str:
    text = f"{found.messages:,} messages of {found.hosts:,} hosts"
    if found.left_out:
        text += f"; {found.left_out:,} of more hosts than --hosts left out"
    if refused:
        text += f"; {refused:,} messages were not understood"
    return text
