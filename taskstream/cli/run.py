"""``taskstream run``: the main job."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from taskstream import clock
from taskstream.broker import EmbeddedBroker
from taskstream.cli import LOSSES
from taskstream.cli.capturing import Trouble as CaptureTrouble
from taskstream.cli.capturing import capture_line, open_capture
from taskstream.cli.option import kafka_option, kafka_settings
from taskstream.cli.spooling import earlier_line, open_spool
from taskstream.cli.topics import plan_of
from taskstream.config import EMBEDDED, OFF, Config, load
from taskstream.errors import BrokerError
from taskstream.groups import Groups
from taskstream.interval import Interval
from taskstream.meter import Meter
from taskstream.pipeline import Pipeline, Rhythm, Sink
from taskstream.sink.capture import CaptureSink
from taskstream.sink.discard import Discard
from taskstream.sink.kafka import KafkaOptions, KafkaSink
from taskstream.sink.pair import Publisher, TopicAndCapture
from taskstream.sink.rates import RatesTopic
from taskstream.sink.screen import JsonLines, LiveTable, PlainLines, Screen
from taskstream.sink.spooling import SpoolingSink
from taskstream.source.live import LiveOptions, LiveSource
from taskstream.topic import judge
from taskstream.topic_admin import TopicAdmin

if TYPE_CHECKING:
    from taskstream.sink.prometheus import Metrics

__all__ = ["Stop", "live_options", "record", "run", "stop_signals"]


@click.command()
@click.option("--bootstrap", metavar="HOST:PORT", help="Kafka broker, or off.  [default: embedded]")
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
    "--type-format",
    type=click.Choice(["auto", "co-re", "legacy"]),
    help="Which probes: compiled once (co-re), or at the start (legacy).  [default: auto]",
)
@click.option(
    "--tracing",
    type=click.Choice(["trampoline", "probe", "tracepoint"]),
    help="How co-re probes attach.  [default: trampoline]",
)
@click.option("--apps/--no-apps", default=None, help="Charts per app group.  [default: no]")
@click.option(
    "--cgroups/--no-cgroups", default=None, help="Charts per cgroup and service.  [default: no]"
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
    help="Configuration file.  [default: the one that `taskstream config` names]",
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
        sys.exit(
            record(config, stopped, lambda c: _screen(c, as_json), duration=duration, force=force)
        )


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


@contextmanager
def _reload_signal(groups: Groups) -> Iterator[None]:
    """Take SIGHUP as the wish to read apps_groups.conf again; a thread gets no signals."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda _signal, _frame: groups.reload())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


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
        type_format=config.type_format,
        tracing=config.tracing,
        load_mode=config.load_mode,
        buffer=config.buffer,
        without=config.without,
        pid_table_size=config.pid_table_size,
        maps_per_core=config.maps_per_core,
        cgroup_names=config.cgroups or config.capture_file != OFF,
        charge_losses=config.apps or config.cgroups,
        window_ns=config.update_every_s * 10**9,
        ring_bytes=config.ring_bytes,
        args_ring_bytes=config.args_ring_bytes,
        args_max=config.args_max,
    )


def _screen(config: Config, as_json: bool) -> Screen:
    semantics = config.chart_semantics
    if as_json:
        return JsonLines(semantics=semantics)
    if sys.stdout.isatty():
        head = f"taskstream on {config.host_name()} to {config.bootstrap}, topic {config.topic}"
        return LiveTable(head, clock.boot_ns, semantics=semantics)
    return PlainLines(semantics=semantics)


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

    def tell(self, sink: KafkaSink | Discard, spooling: SpoolingSink | None) -> None:
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


@contextmanager
def _metrics(config: Config) -> Iterator["Metrics | None"]:
    """Serve metrics, if that is wanted."""
    if config.metrics_listen == OFF:
        yield None
        return
    from taskstream.sink.prometheus import Metrics, MetricsServer  # takes its time

    address, _, port = config.metrics_listen.rpartition(":")
    metrics = Metrics(config.host_name())
    with MetricsServer(metrics, address.strip("[]"), int(port)) as server:
        _say(f"metrics at http://{address}:{server.port}/metrics")
        yield metrics


class _Intervals:
    """Hands each interval, with what the agent costs, to all who show or publish it."""

    def __init__(
        self,
        config: Config,
        source: LiveSource,
        sink: KafkaSink | Discard,
        groups: Groups,
        screen: Screen,
        metrics: "Metrics | None",
    ) -> None:
        self._meter = Meter()
        self._source = source
        self._sink = sink
        self._groups = groups
        self._outlets = [screen.interval]
        if OFF not in (config.rates_topic, config.bootstrap):
            rates = RatesTopic(sink, config.rates_topic, source.origin, config.chart_semantics)
            self._outlets.append(rates.interval)
        if metrics is not None:
            self._outlets.append(metrics.interval)

    def __call__(self, interval: Interval) -> None:
        agent = self._meter.read(
            queued=self._sink.in_queue(),
            dropped=self._sink.account.dropped,
            forgotten=self._groups.forgotten,
            uncharged=int(self._source.totals()["uncharged"].sum()),
        )
        for outlet in self._outlets:
            outlet(replace(interval, agent=agent))


def _say(text: str) -> None:
    click.echo(f"taskstream run: {text}", err=True)


def record(
    config: Config,
    stop: Stop,
    screen_of: Callable[[Config], Screen],
    *,
    duration: float | None = None,
    force: bool = False,
    say: Callable[[str], None] = _say,
) -> int:
    """Record until told to stop; return the exit code.

    Args:
        config: The effective settings.
        stop: Tells when.
        screen_of: Makes what shows the run, of the settings with the broker's address.
        duration: Seconds after which to stop by itself.
        force: Write over a capture that is there.
        say: Takes what is for people beside the screen.
    """
    with ExitStack() as stack:
        groups = Groups(config, say)
        stack.enter_context(_reload_signal(groups))
        embedded, published = config.bootstrap == EMBEDDED, config.bootstrap != OFF
        if embedded:
            broker = stack.enter_context(EmbeddedBroker())
            config = replace(config, bootstrap=broker.address)
        spool_mode = config.spool() if published and not embedded else "off"
        sink = (
            KafkaSink(_kafka_options(config, spooled=spool_mode != "off"))
            if published
            else Discard()
        )
        source = stack.enter_context(LiveSource(live_options(config), host=config.host_name()))
        for note in source.notes:
            say(note)
        publisher: Publisher = sink
        spooling: SpoolingSink | None = None
        if isinstance(sink, KafkaSink) and spool_mode != "off":
            spooling = open_spool(config, sink, source.origin, always=spool_mode == "always")
            stack.callback(spooling.close)
            publisher = spooling
            if spooling.earlier.received:
                say(f"{spooling.earlier.received:,} events of earlier runs are in the spool")
        both: Sink = publisher
        capture: CaptureSink | None = None
        if config.capture_file != OFF:
            path = Path(config.capture_file)
            capture = open_capture(path, config, source.origin, replace=force)
            both = TopicAndCapture(publisher, capture)
        if published:
            say(f"publishing to {config.bootstrap}, topic {config.topic}")
            say(f"look at it: kcat -b {config.bootstrap} -C -t {config.topic}")
        metrics = stack.enter_context(_metrics(config))
        screen = screen_of(config)
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
            failures_watched=source.plan.failures_watched,
            release_late=source.plan.release_late,
            on_interval=_Intervals(config, source, sink, groups, screen, metrics),
            groups=groups,
        )
        topic_check = _TopicCheck(config) if published and not embedded else None
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
            say(f"{events:,} events: {reason}")
        if source.late:
            say(f"{source.late:,} events came out of a perf buffer too late to be in order")
        if spooling is not None and spooling.earlier.received:
            say(earlier_line(spooling))
        say(totals.line())
        captured = True
        if capture is not None:
            capture.close()
            capture_trouble.tell(capture)
            say(f"captured: {capture_line(capture)}")
            captured = not capture.account.dropped
        return 0 if totals.complete and captured else LOSSES
