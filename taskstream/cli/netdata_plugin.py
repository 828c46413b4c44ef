"""``taskstream netdata-plugin``: the agent as an external plugin of Netdata."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from taskstream import clock
from taskstream.cli.option import config_option
from taskstream.cli.record import record
from taskstream.cli.saying import sayer
from taskstream.cli.stopping import stop_signals
from taskstream.config.config import EMBEDDED, OFF, Config
from taskstream.config.file import load
from taskstream.control.function import NetdataFunction
from taskstream.sink.netdata import NetdataCharts

__all__ = ["netdata_plugin", "script"]

_say = sayer("netdata-plugin")


@click.command()
@click.argument("seconds", type=click.IntRange(1, 3600), default=1)
@config_option
def netdata_plugin(seconds: int, config_file: Path | None) -> None:
    """Record this host's task events, and draw their charts in Netdata.

    Netdata starts it, as taskstream.plugin in its directory of plugins, with the shortest
    interval in SECONDS that it takes; `update every` may be longer. Options come from Netdata's
    ebpf.d/process.conf. Events are published only if [kafka] bootstrap.servers says where.
    """
    config = Config(**load(config_file))
    config = replace(config, update_every_s=max(seconds, config.update_every_s))
    if config.bootstrap == EMBEDDED:
        config = replace(config, bootstrap=OFF)
    with stop_signals() as stopped:
        sys.exit(
            record(
                config,
                stopped,
                _charts,
                say=_say,
                doors=lambda answer: [NetdataFunction(answer)],
            )
        )


def _charts(config: Config) -> NetdataCharts:
    return NetdataCharts(config.update_every_s, clock.boot_ns, semantics=config.chart_semantics)


def script() -> None:
    """Run as taskstream.plugin, which Netdata calls without naming a verb."""
    from taskstream.cli import main

    sys.argv.insert(1, "netdata-plugin")
    main()
