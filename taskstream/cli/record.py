"""The main job, for every verb that records: source, sinks and screens put together."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

from taskstream import clock
from taskstream.batch import Origin
from taskstream.broker import EmbeddedBroker
from taskstream.cli import LOSSES
from taskstream.cli.capturing import Trouble as CaptureTrouble
from taskstream.cli.capturing import capture_line
from taskstream.cli.controlling import open_socket
from taskstream.cli.saying import Say
from taskstream.cli.state import State
from taskstream.cli.stopping import Shown, Stop
from taskstream.cli.watching import TopicCheck, Trouble, earlier_line, error_lines, idle_spool_line
from taskstream.config.config import EMBEDDED, OFF, Config
from taskstream.config.option import host_port
from taskstream.control import Answer, Door
from taskstream.errors import ConfigError
from taskstream.groups import Groups
from taskstream.interval import Agent, Interval
from taskstream.meter import Meter
from taskstream.pipeline import Pipeline, Rhythm
from taskstream.sink import Sink
from taskstream.sink.discard import Discard
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.kafka_options import KafkaOptions
from taskstream.sink.rates import RatesTopic
from taskstream.sink.screen import Screen
from taskstream.source.live import LiveOptions, LiveSource
from taskstream.steering import Steering

if TYPE_CHECKING:
    from taskstream.sink.capture import CaptureSink
    from taskstream.sink.prometheus import Metrics
    from taskstream.sink.spooling import SpoolingSink

__all__ = ["live_options", "record"]

SWITCHED_TABLE_SIZE = 4096
"""Entries of the table of losses where nothing needs it yet: some 1 MB, however many the CPUs."""


def record(
    config: Config,
    stop: Stop,
    screen_of: Callable[[Config], Screen],
    *,
    duration: float | None = None,
    force: bool = False,
    say: Say,
    doors: Callable[[Answer], list[Door]] = lambda _answer: [],
) -> int:
    """Record until told to stop; return the exit code.

    Args:
        config: The effective settings.
        stop: Tells when.
        screen_of: Makes what shows the run, of the settings with the broker's address.
        duration: Seconds after which to stop by itself.
        force: Write over a capture that is there.
        say: Takes what is for people beside the screen.
        doors: Opens where requests come in, beside the control socket.
    """
    if config.capture_file != OFF and (fault := config.rotation_fault()):
        raise ConfigError(f"[capture]: {fault}")
    with ExitStack() as stack:
        groups = Groups(config, say)
        stack.enter_context(_reload_signal(groups))
        embedded, published = config.bootstrap == EMBEDDED, config.bootstrap != OFF
        idle_spool = idle_spool_line(config)
        if embedded:
            broker = stack.enter_context(EmbeddedBroker())
            config = replace(config, bootstrap=broker.address)
        spool_mode = config.spool() if published and not embedded else "off"
        sink = (
            KafkaSink(_kafka_options(config, spooled=spool_mode != "off"))
            if published
            else Discard()
        )
        probes = live_options(config, switched=config.control_directory != OFF)
        source = stack.enter_context(LiveSource(probes, host=config.host_name()))
        for note in source.notes:
            say(note)
        if idle_spool:
            say(idle_spool)
        publisher: Sink = sink
        spooling: SpoolingSink | None = None
        if isinstance(sink, KafkaSink) and spool_mode != "off":
            from taskstream.cli.opening import open_spool  # takes its time

            spooling = open_spool(config, sink, source.origin, always=spool_mode == "always")
            stack.callback(spooling.close)
            publisher = spooling
            if spooling.earlier.received:
                say(f"{spooling.earlier.received:,} events of earlier runs are in the spool")
        both: Sink = publisher
        capture: CaptureSink | None = None
        if config.capture_file != OFF:
            from taskstream.cli.opening import open_capture  # takes its time
            from taskstream.sink.pair import TopicAndCapture

            path = Path(config.capture_file)
            capture = open_capture(path, config, source.origin, replace=force)
            both = TopicAndCapture(publisher, capture)
        metrics = stack.enter_context(_metrics(config, say))
        screen = screen_of(config)
        stack.callback(screen.close)
        end_ns = None if duration is None else clock.boot_ns() + int(duration * 1e9)
        shown = Shown(screen.interval, stop)
        intervals = _Intervals(config, source.origin, sink, shown, metrics)
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
            on_interval=intervals,
            groups=groups,
            agent=_cost_of(source, sink, spooling, groups),
        )
        state = State(config, source, sink, pipeline)
        intervals.outlets.append(state.interval)
        steering = Steering(config, groups, pipeline.settle_losses, state, say=say)
        open_doors = [*open_socket(config, steering.answer, say), *doors(steering.answer)]
        for door in open_doors:
            stack.callback(door.close)
        if published:
            say(f"publishing to {config.bootstrap}, topic {config.topic}")
            say(
                f"look at it: taskstream consume --bootstrap {config.bootstrap} "
                f"--topic {config.topic}"
            )
        topic_check = TopicCheck(config, say) if published and not embedded else None
        trouble, capture_trouble = Trouble(say), CaptureTrouble(say)

        def watch() -> None:
            trouble.tell(sink, spooling)
            if topic_check is not None:
                topic_check.tell()
            if capture is not None:
                capture_trouble.tell(capture)
            screen.progress(pipeline.totals, sink.in_queue())
            steering.turn()
            for door in open_doors:
                door.turn()

        totals = pipeline.run(
            lambda: stop.asked or (end_ns is not None and clock.boot_ns() >= end_ns), watch
        )
        screen.close()
        for line in error_lines(sink):
            say(line)
        if source.late:
            say(f"{source.late:,} events came out of a perf buffer too late to be in order")
        if source.invalid:
            say(f"{source.invalid:,} records of the rings were not as the probes write them")
        if spooling is not None and spooling.earlier.received:
            say(earlier_line(spooling))
        say(totals.line())
        captured = True
        if capture is not None:
            capture.close()
            capture_trouble.tell(capture)
            say(f"captured: {capture_line(capture)}")
            captured = capture.complete
        shown.end()
        return 0 if totals.complete and captured else LOSSES


def live_options(config: Config, *, switched: bool = False) -> LiveOptions:
    """Return how to load the probes.

    Args:
        config: The effective settings.
        switched: Charts of groups may be switched on later.
    """
    grouped = config.apps or config.cgroups
    size = config.pid_table_size
    return LiveOptions(
        type_format=config.type_format,
        tracing=config.tracing,
        load_mode=config.load_mode,
        buffer=config.buffer,
        without=config.without,
        pid_table_size=size if grouped else min(size, SWITCHED_TABLE_SIZE),
        maps_per_core=config.maps_per_core and grouped,
        cgroup_names=config.cgroups or config.publishes or switched,
        charge_losses=grouped or switched,
        window_ns=config.update_every_s * 10**9,
        ring_bytes=config.ring_bytes,
        args_ring_bytes=config.args_ring_bytes,
        args_max=config.args_max,
    )


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


@contextmanager
def _metrics(config: Config, say: Say) -> Iterator["Metrics | None"]:
    """Serve metrics, if that is wanted."""
    if config.metrics_listen == OFF:
        yield None
        return
    from taskstream.sink.prometheus import Metrics, MetricsServer  # takes its time

    metrics = Metrics(config.host_name())
    with MetricsServer(metrics, *host_port(config.metrics_listen)) as server:
        say(f"metrics at {server.url}")
        yield metrics


class _Intervals:
    """Hands each interval to all who show or publish it.

    Attributes:
        outlets: Those.
    """

    def __init__(
        self,
        config: Config,
        origin: Origin,
        sink: KafkaSink | Discard,
        shown: Shown,
        metrics: "Metrics | None",
    ) -> None:
        self.outlets: list[Callable[[Interval], None]] = [shown]
        if OFF not in (config.rates_topic, config.bootstrap):
            rates = RatesTopic(sink, config.rates_topic, origin, config.chart_semantics)
            self.outlets.append(rates.interval)
        if metrics is not None:
            self.outlets.append(metrics.interval)

    def __call__(self, interval: Interval) -> None:
        for outlet in self.outlets:
            outlet(interval)


def _cost_of(
    source: LiveSource, sink: KafkaSink | Discard, spooling: "SpoolingSink | None", groups: Groups
) -> Callable[[], Agent]:
    """Return what tells the cost of the agent at a moment."""
    meter = Meter()
    return lambda: meter.read(
        queued=sink.in_queue(),
        dropped=(spooling or sink).account.dropped,
        forgotten=groups.forgotten,
        uncharged=int(source.totals()["uncharged"].sum()),
        ring_fill=source.fullest(),
        spool_fill=spooling.spool.fill if spooling else None,
        spool_dropped=spooling.given_up if spooling else 0,
        spool_damaged=spooling.damaged if spooling else 0,
    )


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
