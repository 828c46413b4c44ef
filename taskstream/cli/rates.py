"""``taskstream rates``: the charts recomputed from the raw events."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from taskstream.capture.reader import CaptureFile
from taskstream.chart.chart import DOCUMENTED, NETDATA
from taskstream.cli import LOSSES
from taskstream.cli.option import (
    BROKER_TEXT,
    FILE_PATH,
    kafka_option,
    kafka_settings,
    limit_option,
    listen_option,
    topic_option,
)
from taskstream.cli.saying import sayer
from taskstream.cli.stopping import Stop, stop_signals
from taskstream.config.file import read_app_groups
from taskstream.consumer.reader import Reader
from taskstream.fleet import FleetMember, FleetOptions
from taskstream.group_topics import make_topics
from taskstream.grouping.choice import Choice
from taskstream.message.columns import pack
from taskstream.message.json import dump
from taskstream.recount import Recounter
from taskstream.reducer import Outlet, RecountTotals
from taskstream.sink.outlet import HostJson, HostLines
from taskstream.sink.rates import RatesRecords

__all__ = ["rates"]

_say = sayer("rates")

BY = ("system", "app", "cgroup", "service", "comm", "user", "host")


@click.command()
@click.argument("paths", metavar="[FILE]...", nargs=-1, type=FILE_PATH)
@click.option(
    "--bootstrap", type=BROKER_TEXT, metavar="HOST:PORT,...", help="Kafka brokers, instead of FILE."
)
@topic_option()
@click.option(
    "--by",
    multiple=True,
    type=click.Choice(BY),
    help="Charts of groups beside those of each host; may be given many times.",
)
@click.option(
    "--apps-groups",
    type=FILE_PATH,
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
@click.option(
    "--window",
    "window_s",
    type=click.IntRange(0, 86_400),
    default=0,
    metavar="SECONDS",
    help="Join the intervals to windows of this length since boot.  [default: the agents' own]",
)
@click.option(
    "--group",
    type=BROKER_TEXT,
    metavar="NAME",
    help="Share the work with all that are started with this name, and go on where it was left.",
)
@click.option(
    "--instance",
    type=BROKER_TEXT,
    metavar="NAME",
    help="--group: name of this process, which finds its partitions again after a restart.",
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON per host and interval.")
@click.option(
    "--to",
    type=click.Choice(["kafka", "prometheus"]),
    help="Write to a topic, each interval exactly once; or serve metrics.",
)
@click.option(
    "--output-topic",
    type=BROKER_TEXT,
    metavar="TOPIC",
    help="kafka: topic of the rates.  [default: GROUP-rates]",
)
@click.option(
    "--message",
    type=click.Choice(["msgpack", "json"]),
    default="msgpack",
    show_default=True,
    help="kafka: format of the messages.",
)
@listen_option("prometheus: where to serve them.", "127.0.0.1:9467")
@click.option(
    "--late",
    "late_s",
    type=click.FloatRange(0, 3600),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="How far events may come behind others, or behind the report that counts them.",
)
@limit_option
@click.option("--exit-at-end", "-e", is_flag=True, help="Stop where the topic ends now.")
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
    window_s: int,
    group: str | None,
    instance: str | None,
    as_json: bool,
    to: str | None,
    output_topic: str | None,
    message: str,
    listen: tuple[str, int],
    late_s: float,
    limit: int,
    exit_at_end: bool,
    from_end: bool,
    skip_damaged: bool,
    kafka: tuple[str, ...],
) -> None:
    """Recompute the charts of one host or many from their raw events, of captures or a topic.

    The intervals are those of the agents; with all events of a host there, its charts are those
    that its agent drew. Copies of events count once. With --group, any number of processes share
    the work, and any of them may be killed: see docs/fleet.md. Exits with 3 if events are missing
    or were not understood.
    """
    if bool(paths) == (bootstrap is not None):
        raise click.UsageError("give either FILE or --bootstrap")
    if to is not None and as_json:
        raise click.UsageError(f"--to {to} and --json exclude each other")
    if group is None and (instance is not None or to == "kafka"):
        given = "--instance" if instance is not None else "--to kafka"
        raise click.UsageError(f"{given} needs --group, the name under which progress is kept")
    if "/" in (instance or ""):
        raise click.BadParameter("a name without a slash is wanted", param_hint="--instance")
    if group is not None and bootstrap is None:
        raise click.UsageError("--group needs --bootstrap: files are read alone")
    if group is not None and apps_groups is not None:
        raise click.UsageError(
            "--apps-groups and --group exclude each other: a process is in its parent's group "
            "where no rule says otherwise, and a member of a group sees a part of a host only"
        )
    if (output_topic is not None or message != "msgpack") and to != "kafka":
        raise click.UsageError("--output-topic and --message belong to --to kafka")
    choice = Choice(
        apps="app" in by or apps_groups is not None,
        cgroups=bool({"cgroup", "service"} & set(by)),
        commands="comm" in by,
        users="user" in by,
        limit=limit,
    )
    output = output_topic or f"{group}-rates"
    with (
        stop_signals() as stopped,
        _outlet(to, listen, semantics, output, message, as_json=as_json) as outlet,
    ):
        if bootstrap is not None and group is not None:
            options = FleetOptions(
                bootstrap=bootstrap,
                topic=topic,
                group=group,
                instance=instance,
                choice=choice,
                output=f"{output} {message} {semantics}" if to == "kafka" else to or "lines",
                late_s=late_s,
                window_s=window_s,
                from_end=from_end,
                exit_at_end=exit_at_end,
                settings=kafka_settings(kafka),
            )
            totals = _in_group(options, outlet, output, stopped)
            sys.exit(0 if totals.complete else LOSSES)
        rules = read_app_groups(apps_groups) if apps_groups is not None else None
        recount = Recounter(choice, outlet, rules=rules, late_s=late_s, window_s=window_s)
        with _closing_line(recount.totals), ExitStack() as stack:
            if bootstrap is None:
                files = [stack.enter_context(CaptureFile(path)) for path in paths]
                recount.captures(files, lambda: stopped.asked, skip_damaged=skip_damaged)
            else:
                settings = kafka_settings(kafka)
                reader = stack.enter_context(
                    Reader(
                        bootstrap,
                        [topic],
                        from_end=from_end,
                        to_end=exit_at_end,
                        settings=settings,
                    )
                )
                recount.topic(reader, _stop(reader, stopped), exit_at_end=exit_at_end)
    sys.exit(0 if recount.totals.complete else LOSSES)


def _in_group(options: FleetOptions, outlet: Outlet, output: str, stopped: Stop) -> RecountTotals:
    """Work as a member of a group; return what its part amounts to."""
    if isinstance(outlet, RatesRecords):
        member = FleetMember(options, make_topics(options, output, _say), outlet, outlet.take)
        _say(f"rates go to topic {output}")
    else:
        member = FleetMember(options, make_topics(options, None, _say), outlet)
    with member:
        with _closing_line(member.totals):
            member.run(_stop(member, stopped))
        return member.totals


@contextmanager
def _closing_line(totals: RecountTotals) -> Iterator[None]:
    """Say at the end what it amounts to, also where it ends with an error after it began."""
    try:
        yield
    except BaseException:
        if totals.hosts:
            _say(totals.line())
        raise
    _say(totals.line())


@contextmanager
def _outlet(
    to: str | None,
    listen: tuple[str, int],
    semantics: str,
    output: str,
    message: str,
    *,
    as_json: bool,
) -> Iterator[Outlet]:
    """Return where the intervals go."""
    if to is None:
        yield HostJson(semantics=semantics) if as_json else HostLines(semantics=semantics)
        return
    if to == "kafka":
        yield RatesRecords(output, semantics, dump if message == "json" else pack)
        return
    from taskstream.sink.outlet import FleetMetrics
    from taskstream.sink.prometheus import MetricsServer

    metrics = FleetMetrics()
    with MetricsServer(metrics, *listen) as server:
        _say(f"metrics at {server.url}")
        yield metrics


def _stop(source: Reader | FleetMember, stopped: Stop) -> Callable[[], bool]:
    """Return what tells when to stop, and says meanwhile why nothing comes."""
    trouble = share = ""

    def stop() -> bool:
        nonlocal trouble, share
        if source.trouble != trouble:
            trouble = source.trouble
            _say(trouble or "the broker answers again")
        if isinstance(source, FleetMember) and source.share != share:
            share = source.share
            _say(share)
        return stopped.asked

    return stop
