"""``taskstream replay``: a capture through the pipeline again."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from taskstream.batch import Batch
from taskstream.capture.content import Loss, Names
from taskstream.capture.frame import Frame
from taskstream.capture.reader import STANDARD_INPUT, CaptureFile
from taskstream.capture.rotation import CaptureFiles, Rotation
from taskstream.chart.chart import NETDATA
from taskstream.cli import INTERRUPTED, LOSSES
from taskstream.cli.capturing import capture_line
from taskstream.cli.drawing import drawing_config, drawing_options, group_target
from taskstream.cli.event_choice import FILES, choice_options, selection_of
from taskstream.cli.event_line import event_maps
from taskstream.cli.exporting import netdata_charts, serving
from taskstream.cli.option import (
    BROKER_TEXT,
    FILE_PATH,
    kafka_option,
    kafka_settings,
    listen_option,
    topic_option,
)
from taskstream.cli.progress import progress_of
from taskstream.cli.saying import sayer
from taskstream.config.config import Config
from taskstream.errors import CaptureError, MessageError
from taskstream.replay import Replay, Target
from taskstream.report import Report
from taskstream.sink.capture import CaptureSink
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.sink.screen import JsonLines, PlainLines
from taskstream.stats import Account
from taskstream.target import WAIT_MS, CaptureTarget, ChartTarget, KafkaTarget

__all__ = ["replay", "speed_of"]

_say = sayer("replay")

TARGETS = ("kafka", "charts", "json", "netdata", "prometheus", "capture")


def speed_of(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Read ``max`` as 0, or a number greater than 0; None is not given."""
    if value is None:
        return None
    if value == "max":
        return 0.0
    try:
        speed = float(value)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise click.BadParameter(f"{value!r} is neither max nor a number greater than 0")
    return speed


@click.command()
@FILES
@click.option("--to", "to", required=True, type=click.Choice(TARGETS), help="Where to.")
@click.option(
    "--speed",
    callback=speed_of,
    default="max",
    show_default=True,
    metavar="max|N",
    help="As fast as it goes, or N times as fast as it happened.",
)
@choice_options
@click.option("--skip-damaged", is_flag=True, help="Go on behind damaged frames.")
@click.option("--bootstrap", type=BROKER_TEXT, metavar="HOST:PORT,...", help="kafka: the brokers.")
@topic_option("kafka: topic of the events.")
@click.option(
    "--message",
    type=click.Choice(["event", "batch", "json"]),
    default="event",
    show_default=True,
    help="kafka: a message per event, or per batch, or per event as JSON.",
)
@kafka_option
@click.option("--json", "as_json", is_flag=True, help="charts: a line of JSON per interval.")
@listen_option("prometheus: serve /metrics until Ctrl-C.  [default: print them at the end]")
@drawing_options
@click.option(
    "--output",
    "-o",
    type=FILE_PATH,
    metavar="FILE",
    help="capture: the new file.",
)
@click.option("--force", is_flag=True, help="capture: write over a file that is there.")
def replay(
    paths: tuple[Path, ...],
    to: str,
    speed: float,
    skip_damaged: bool,
    bootstrap: str | None,
    topic: str,
    message: str,
    kafka: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    force: bool,
    listen: tuple[str, int] | None,
    apps: bool | None,
    cgroups_too: bool | None,
    apps_groups: Path | None,
    config_file: Path | None,
    **choice: Any,
) -> None:
    """Replay captures, in the order given; FILE - is standard input.

    Needs no privilege, no eBPF, and not the machine of the capture. Charts are those of the
    live run, to the byte with the same choice of groups; of a part chosen by --kind, --comm,
    --cgroup or --uid they are counted from its events. Exits with 3 if something was damaged,
    cut off or not delivered.
    """
    if [str(path) for path in paths].count(STANDARD_INPUT) > 1:
        raise click.UsageError("standard input can be read once only")
    _check_options(to, bootstrap=bootstrap, kafka=kafka, output=output, as_json=as_json)
    if listen and to != "prometheus":
        raise click.UsageError("--listen is for --to prometheus")
    with ExitStack() as stack:
        files = [stack.enter_context(CaptureFile(path)) for path in paths]
        selection = selection_of(files, **choice)
        target: Target
        account: Account | None = None
        if to == "kafka":
            sink = _topic(bootstrap, topic, message, kafka_settings(kafka))
            target, account = KafkaTarget(sink), sink.account
        elif to == "capture":
            assert output is not None
            written = _capture(files, output, replace=force)
            target, account = CaptureTarget(written), written.account
        elif to == "charts":
            config = drawing_config(config_file, apps, cgroups_too)
            target = _charts(config, apps_groups, as_json=as_json)
        elif to == "netdata":
            config = drawing_config(config_file, apps, cgroups_too)
            shown = netdata_charts(files[0], config.chart_semantics)
            target = group_target(config, apps_groups, shown)
        elif to == "prometheus":
            from taskstream.sink.prometheus import Metrics  # takes its time

            host = files[0].header.origin.host if files[0].header else ""
            metrics = Metrics(host)
            config = drawing_config(config_file, apps, cgroups_too)
            target = group_target(config, apps_groups, metrics)
        else:
            target = _JsonTarget()
        stopped = stack.enter_context(_interruptible())
        server = serving(metrics, listen, stopped, _say) if to == "prometheus" else nullcontext()
        progress = progress_of(files, data_on_stdout=to not in ("kafka", "capture"))
        failure: CaptureError | MessageError | None = None
        with server, progress as on_progress:
            job = Replay(
                files,
                target,
                selection=selection,
                speed=speed,
                skip_damaged=skip_damaged,
                on_progress=on_progress,
            )
            try:
                job.run(stopped)
            except (CaptureError, MessageError) as error:
                failure = error
        _finish(target, stopped)
        totals = job.totals
        for name, damage in totals.damages:
            _say(f"{name}: {damage}")
        if to == "charts" and totals.unreported:
            _say(f"{totals.unreported:,} events came after the last report: no interval has them")
        word = "written" if to == "capture" else "delivered"
        _say(totals.line() + (f"; replayed {account.sum(delivered=word)}" if account else ""))
        if failure is not None:
            raise failure
        if stopped() and not listen:
            sys.exit(INTERRUPTED)
        delivered = account is None or account.delivered == account.received
        if isinstance(target, CaptureTarget):
            delivered = target.sink.complete
            if not delivered:
                _say(capture_line(target.sink))
        sys.exit(0 if totals.complete and delivered else LOSSES)


def _check_options(
    to: str, *, bootstrap: str | None, kafka: tuple[str, ...], output: Path | None, as_json: bool
) -> None:
    if to == "kafka" and not (bootstrap or any(k.startswith("bootstrap.servers=") for k in kafka)):
        raise click.UsageError("--to kafka needs --bootstrap HOST:PORT")
    if to != "kafka" and (bootstrap or kafka):
        raise click.UsageError(f"--bootstrap and --kafka are for --to kafka, not for --to {to}")
    if (to == "capture") != (output is not None):
        raise click.UsageError("--to capture and --output FILE go together")
    if as_json and to != "charts":
        raise click.UsageError("--json is for --to charts")


def _topic(bootstrap: str | None, topic: str, message: str, settings: dict[str, str]) -> KafkaSink:
    named = settings.pop("bootstrap.servers", None)
    if named is not None and bootstrap is not None:
        raise click.UsageError("--bootstrap and --kafka bootstrap.servers exclude each other")
    return KafkaSink(
        KafkaOptions(
            bootstrap=bootstrap or named or "",
            topic=topic,
            message=message,
            queue_wait_ms=WAIT_MS,
            settings=settings,
        )
    )


def _capture(sources: list[CaptureFile], path: Path, *, replace: bool) -> CaptureSink:
    """Open a new capture that says of its making what the first file says; one run fits into it."""
    first, header = sources[0], sources[0].header
    if header is None:
        raise CaptureError(f"{first.name}: the header is damaged: it cannot become a new capture")
    for other in sources[1:]:
        if other.header is not None and other.header.origin != header.origin:
            raise CaptureError(
                f"{other.name} is of another run than {first.name}, and a capture holds one: "
                "replay each into a file of its own"
            )
    files = CaptureFiles(
        path, header.origin, header.about, Rotation(), clocks=lambda: header.clock, replace=replace
    )
    return CaptureSink(files, flush_ms=0)


def _charts(config: Config, apps_groups: Path | None, *, as_json: bool) -> Target:
    """Return what draws; events are unpacked only for what the reports do not tell."""
    semantics = config.chart_semantics
    if as_json:
        return group_target(config, apps_groups, JsonLines(semantics=semantics))
    if semantics == NETDATA:  # it takes forks of task 1, which the reports do not count
        return group_target(Config(), None, PlainLines(semantics=semantics))
    return ChartTarget(PlainLines())


class _JsonTarget:
    """Prints events and reports, a line of JSON each."""

    def frame(self, _frame: Frame) -> bool:
        return False

    def write(self, batch: Batch) -> None:
        text = "\n".join(json.dumps(event) for event in event_maps(batch))
        if text:
            click.echo(text)

    def report(self, report: Report) -> None:
        click.echo(json.dumps(report.to_map()))

    def names(self, names: Names) -> None:
        """Events carry their names."""

    def loss(self, loss: Loss) -> None:
        """Reports have what was lost."""

    def wait(self, stop: Callable[[], bool]) -> None:
        """Return at once: standard output makes its writer wait."""


def _finish(target: Target, stopped: Callable[[], bool]) -> None:
    """Wait for what is under way; for long only while nobody wants to stop."""
    if isinstance(target, KafkaTarget):
        while target.sink.in_queue() and not stopped():
            target.sink.settle(0.1)
            target.sink.tick()
        target.sink.drain(0 if stopped() else 1)
    elif isinstance(target, CaptureTarget):
        target.sink.close()


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Take SIGINT and SIGTERM as the wish to stop."""
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda number, _frame: asked.append(number)) for n in numbers}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
