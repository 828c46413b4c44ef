"""``taskstream run``: the main job."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import click

from taskstream import clock
from taskstream.broker import EmbeddedBroker
from taskstream.cli import LOSSES
from taskstream.cli.capturing import Trouble as CaptureTrouble
from taskstream.cli.capturing import capture_line, open_capture
from taskstream.cli.option import kafka_option, kafka_settings
from taskstream.cli.spooling import earlier_line, open_spool
from taskstream.cli.topics import plan_of
from taskstream.config import EMBEDDED, Config, load
from taskstream.errors import BrokerError
from taskstream.pipeline import Pipeline, Rhythm, Sink
from taskstream.sink.capture import CaptureSink
from taskstream.sink.kafka import KafkaOptions, KafkaSink
from taskstream.sink.pair import Publisher, TopicAndCapture
from taskstream.sink.screen import JsonLines, LiveTable, PlainLines, Screen
from taskstream.sink.spooling import SpoolingSink
from taskstream.source.live import LiveOptions, LiveSource
from taskstream.topic import judge
from taskstream.topic_admin import TopicAdmin

__all__ = ["Stop", "live_options", "run", "stop_signals"]


@click.command()
@click.option("--bootstrap", metavar="HOST:PORT", help="Kafka broker; default: an embedded one.")
@click.option("--topic", help="Topic of the events.  [default: taskstream.events]")
@click.option(
    "--message",
    type=click.Choice(["event", "batch"]),
    help="A Kafka message per event, or per batch.  [default: event]",
)
@click.option(
    "--load-mode",
    type=click.Choice(["entry", "return"]),
    help="`return` also watches for failed calls (and slows every system call a little).  "
    "[default: entry]",
)
@click.option(
    "--update-every",
    "update_every_s",
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    help="Length of an interval of the rates.  [default: 5]",
)
@click.option(
    "--duration", type=click.FloatRange(0), metavar="SECONDS", help="Stop after this time."
)
@click.option(
    "--drain-timeout",
    "drain_timeout_s",
    type=click.IntRange(0, 3600),
    metavar="SECONDS",
    help="How long the end may wait for the broker.  [default: 10]",
)
@click.option("--host", help="Name of this host in the events.  [default: the node name]")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="Configuration file.  [default: /etc/taskstream/process.conf, if it is there]",
)
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
        sys.exit(_run(config, duration, as_json, stopped, force=force))


class Stop:
    """Set by a signal."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        """Take note of a signal."""
        self.asked = True


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Take SIGINT and SIGTERM as the wish to stop in good order."""
    stop = Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kafka_options(config: Config, *, spooled: bool) -> KafkaOptions:
    """Return where to publish; with a spool, librdkafka keeps trying for ever."""
    endless = {"delivery.timeout.ms": "0"} if spooled else {}
    if "message.timeout.ms" in config.kafka:  # the same setting by its other name
        endless = {}
    return KafkaOptions(
        bootstrap=config.bootstrap,
        topic=config.topic,
        message=config.message,
        shard_count=config.shard_count,
        queue_wait_ms=config.queue_wait_ms,
        patient=spooled,
        settings={**endless, **config.kafka},
    )


def live_options(config: Config) -> LiveOptions:
    """Return how to load the probes."""
    return LiveOptions(
        load_mode=config.load_mode,
        window_ns=config.update_every_s * 10**9,
        ring_bytes=config.ring_bytes,
        args_ring_bytes=config.args_ring_bytes,
        args_max=config.args_max,
    )


def _screen(config: Config, as_json: bool) -> Screen:
    if as_json:
        return JsonLines()
    if sys.stdout.isatty():
        head = f"taskstream on {config.host_name()} to {config.bootstrap}, topic {config.topic}"
        return LiveTable(head, clock.boot_ns)
    return PlainLines()


class _TopicCheck:
    """Looks at the topic in a thread of its own, for the loop may not wait for a broker."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lines: list[str] = []
        self._thread: Thread | None = Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        with suppress(BrokerError):  # the sink tells of a broker that went away
            state = TopicAdmin(self._config.bootstrap, self._config.kafka).describe(
                self._config.topic
            )
            if state is not None:
                self._lines = [misfit.line() for misfit in judge(plan_of(self._config), state)]

    def tell(self) -> None:
        """Say once what does not fit, when the answer is there."""
        if self._thread is None or self._thread.is_alive():
            return
        self._thread = None
        for line in self._lines:
            _say(f"topic {self._config.topic}: {line}")


class _Trouble:
    """Tells of a broker that went away, and of its return, once each."""

    def __init__(self) -> None:
        self._told = self._told_of_spool = ""

    def tell(self, sink: KafkaSink, spooling: SpoolingSink | None) -> None:
        """Say what is new of the broker, and of the disk before it."""
        if spooling is not None and spooling.spool.trouble != self._told_of_spool:
            self._told_of_spool = spooling.spool.trouble
            _say(self._told_of_spool or "the spool is written again")
        if sink.trouble == self._told:
            return
        self._told = sink.trouble
        if not sink.trouble:
            _say("the broker answers again")
        elif spooling is not None:
            _say(f"{sink.trouble}: events go to the spool, publishing goes on when it is back")
        else:
            _say(
                f"{sink.trouble}: {sink.in_queue():,} messages wait, those without room are dropped"
            )


def _say(text: str) -> None:
    click.echo(f"taskstream run: {text}", err=True)


def _run(config: Config, duration: float | None, as_json: bool, stop: Stop, *, force: bool) -> int:
    with ExitStack() as stack:
        embedded = config.bootstrap == EMBEDDED
        if embedded:
            broker = stack.enter_context(EmbeddedBroker())
            config = replace(config, bootstrap=broker.address)
        spool_mode = "off" if embedded else config.spool()
        sink = KafkaSink(_kafka_options(config, spooled=spool_mode != "off"))
        source = stack.enter_context(LiveSource(live_options(config), host=config.host_name()))
        for note in source.notes:
            _say(note)
        publisher: Publisher = sink
        spooling: SpoolingSink | None = None
        if spool_mode != "off":
            spooling = open_spool(config, sink, source.origin, always=spool_mode == "always")
            stack.callback(spooling.close)
            publisher = spooling
            if spooling.earlier.received:
                _say(f"{spooling.earlier.received:,} events of earlier runs are in the spool")
        both: Sink = publisher
        capture: CaptureSink | None = None
        if config.capture_file:
            path = Path(config.capture_file)
            capture = open_capture(path, config, source.origin, replace=force)
            both = TopicAndCapture(publisher, capture)
        _say(f"publishing to {config.bootstrap}, topic {config.topic}")
        _say(f"look at it: kcat -b {config.bootstrap} -C -t {config.topic}")
        screen = _screen(config, as_json)
        stack.callback(screen.close)
        end_ns = None if duration is None else clock.boot_ns() + int(duration * 1e9)
        pipeline = Pipeline(
            source,
            both,
            Rhythm(
                window_ns=config.update_every_s * 10**9,
                flush_ms=config.flush_ms,
                drain_timeout_s=config.drain_timeout_s,
            ),
            failures_watched=config.load_mode == "return",
            on_interval=screen.interval,
        )
        topic_check = None if embedded else _TopicCheck(config)
        trouble, capture_trouble = _Trouble(), CaptureTrouble("run")

        def watch() -> None:
            trouble.tell(sink, spooling)
            if topic_check is not None:
                topic_check.tell()
            if capture is not None:
                capture_trouble.tell(capture)
            screen.progress(pipeline.totals, sink.in_queue())

        totals = pipeline.run(
            lambda: stop.asked or (end_ns is not None and clock.boot_ns() >= end_ns), watch
        )
        screen.close()
        for reason, events in sink.errors.most_common(5):
            _say(f"{events:,} events: {reason}")
        if spooling is not None and spooling.earlier.received:
            _say(earlier_line(spooling))
        _say(totals.line())
        captured = True
        if capture is not None:
            capture.close()
            capture_trouble.tell(capture)
            _say(f"captured: {capture_line(capture)}")
            captured = not capture.account.dropped
        return 0 if totals.complete and captured else LOSSES
