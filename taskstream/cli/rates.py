"""``taskstream rates``: the charts recomputed from the raw events."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from taskstream.capture.reader import CaptureFile
from taskstream.chart import DOCUMENTED, NETDATA
from taskstream.cli import LOSSES
from taskstream.cli.option import kafka_option, kafka_settings, listen_address
from taskstream.cli.stopping import stop_signals
from taskstream.config import read_app_groups
from taskstream.consumer.reader import Reader
from taskstream.grouping.tally import Choice
from taskstream.recount import Recounter
from taskstream.reducer import Outlet
from taskstream.sink.outlet import HostJson, HostLines

__all__ = ["rates"]

BY = ("system", "app", "cgroup", "service", "comm", "user", "host")


@click.command()
@click.argument("paths", metavar="[FILE...]", nargs=-1, type=click.Path(path_type=Path))
@click.option("--bootstrap", metavar="HOST:PORT", help="Kafka broker, instead of FILE.")
@click.option("--topic", default="taskstream.events", show_default=True, help="Topic to read.")
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(BY),
    help="Charts of groups beside those of each host; may be given many times.",
)
@click.option(
    "--apps-groups",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Decide on app groups by these rules.  [default: as the agents did]",
)
@click.option(
    "--semantics",
    type=click.Choice([DOCUMENTED, NETDATA]),
    default=DOCUMENTED,
    show_default=True,
    help="Whose formulas.",
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON per host and interval.")
@click.option("--to", type=click.Choice(["prometheus"]), help="Serve metrics instead.")
@click.option(
    "--listen",
    default="127.0.0.1:9467",
    show_default=True,
    metavar="HOST:PORT",
    help="prometheus: where to serve them.",
)
@click.option(
    "--late",
    "late_s",
    type=click.FloatRange(0, 3600),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="How far events may come behind others, or behind the report that counts them.",
)
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True,
              help="How many groups of each kind are charted, per host.")  # fmt: skip
@click.option("--exit-at-end", "-e", is_flag=True, help="Stop at the end of the topic.")
@click.option("--from-end", is_flag=True, help="Read only what comes from now on.")
@click.option("--skip-damaged", is_flag=True, help="FILE: go on behind damaged frames.")
@kafka_option
def rates(
    paths: tuple[Path, ...],
    bootstrap: str | None,
    topic: str,
    by: tuple[str, ...],
    apps_groups: Path | None,
    semantics: str,
    as_json: bool,
    to: str | None,
    listen: str,
    late_s: float,
    limit: int,
    exit_at_end: bool,
    from_end: bool,
    skip_damaged: bool,
    kafka: tuple[str, ...],
) -> None:
    """Recompute the charts of one host or many from their raw events, of captures or a topic.

    The intervals are those of the agents; with all events of a host there, its charts are those
    that its agent drew. Copies of events count once. Exits with 3 if events are missing or were
    not understood.
    """
    if bool(paths) == (bootstrap is not None):
        raise click.UsageError("give either FILE or --bootstrap")
    if to is not None and as_json:
        raise click.UsageError(f"--to {to} and --json exclude each other")
    choice = Choice(
        apps="app" in by or apps_groups is not None,
        cgroups=bool({"cgroup", "service"} & set(by)),
        commands="comm" in by,
        users="user" in by,
        limit=limit,
    )
    rules = read_app_groups(apps_groups) if apps_groups is not None else None
    with ExitStack() as stack:
        outlet = stack.enter_context(_outlet(to, listen, semantics, as_json=as_json))
        recount = Recounter(choice, outlet, rules=rules, late_s=late_s)
        stopped = stack.enter_context(stop_signals())
        try:
            if bootstrap is None:
                files = [stack.enter_context(CaptureFile(path)) for path in paths]
                recount.captures(files, lambda: stopped.asked, skip_damaged=skip_damaged)
            else:
                reader = stack.enter_context(
                    Reader(bootstrap, [topic], from_end=from_end, settings=kafka_settings(kafka))
                )
                recount.topic(reader, _stop(reader, lambda: stopped.asked), exit_at_end=exit_at_end)
        finally:
            _say(recount.totals.line())
    sys.exit(0 if recount.totals.complete else LOSSES)


@contextmanager
def _outlet(to: str | None, listen: str, semantics: str, *, as_json: bool) -> Iterator[Outlet]:
    """Return where the intervals go."""
    if to is None:
        yield HostJson(semantics=semantics) if as_json else HostLines(semantics=semantics)
        return
    from taskstream.sink.outlet import FleetMetrics
    from taskstream.sink.prometheus import MetricsServer

    address, port = listen_address(listen)
    metrics = FleetMetrics()
    with MetricsServer(metrics, address, port) as server:
        _say(f"metrics at http://{address}:{server.port}/metrics")
        yield metrics


def _stop(reader: Reader, asked: Callable[[], bool]) -> Callable[[], bool]:
    """Return what tells when to stop, and says meanwhile why nothing comes."""
    told = ""

    def stop() -> bool:
        nonlocal told
        if reader.trouble != told:
            told = reader.trouble
            _say(told or "the broker answers again")
        return asked()

    return stop


def _say(text: str) -> None:
    click.echo(f"taskstream rates: {text}", err=True)
