"""``taskstream capture``: this host's events to a file, without a broker."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from taskstream import clock
from taskstream.capture.reader import STANDARD_INPUT
from taskstream.cli import LOSSES
from taskstream.cli.capturing import Trouble, capture_line
from taskstream.cli.opening import open_capture
from taskstream.cli.option import (
    FILE_PATH,
    config_option,
    duration_option,
    host_option,
    load_mode_option,
    size_option,
    tracing_option,
    type_format_option,
    update_every_option,
)
from taskstream.cli.record import live_options
from taskstream.cli.saying import sayer
from taskstream.cli.stopping import Shown, stop_signals
from taskstream.config.config import OFF, Config
from taskstream.config.file import load
from taskstream.groups import Groups
from taskstream.meter import Meter
from taskstream.pipeline import Pipeline, Rhythm
from taskstream.sink.screen import JsonLines, PlainLines
from taskstream.source.live import LiveSource

__all__ = ["capture"]

_say = sayer("capture")


@click.command()
@click.argument("file", required=False, type=FILE_PATH)
@load_mode_option
@type_format_option
@tracing_option
@update_every_option
@duration_option
@host_option
@click.option(
    "--file-size",
    "capture_file_bytes",
    callback=size_option,
    metavar="SIZE",
    help="Begin a new file when one is so long, such as 256M.  [default: no bound]",
)
@click.option(
    "--file-age",
    "capture_file_s",
    type=click.IntRange(0),
    metavar="SECONDS",
    help="Begin a new file when one is so old.  [default: no bound]",
)
@click.option(
    "--total-size",
    "capture_total_bytes",
    callback=size_option,
    metavar="SIZE",
    help="Delete the oldest file while all together are longer.  [default: no bound]",
)
@config_option
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option("--quiet", "-q", is_flag=True, help="Show no rates.")
@click.option("--json", "as_json", is_flag=True, help="Print each interval as a line of JSON.")
def capture(
    file: Path | None,
    config_file: Path | None,
    duration: float | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Record this host's task events to FILE, and show the rates.

    Needs what `taskstream run` needs, and no broker. With --file-size or --file-age the files
    are FILE with a number before its suffix. Stops on Ctrl-C, SIGTERM or after --duration, with
    one line whose numbers add up; exits with 3 if events were lost. FILE may be named in
    [capture] of the configuration.
    """
    settings = load(config_file)
    settings |= {name: value for name, value in options.items() if value is not None}
    config = Config(**settings)
    path = file or (Path(config.capture_file) if config.capture_file != OFF else None)
    if path is None:
        raise click.UsageError("name a FILE, here or in [capture] of the configuration")
    if str(path) == STANDARD_INPUT:
        raise click.UsageError("a capture is written to a file, which is gone back in: name one")
    if fault := config.rotation_fault():
        raise click.UsageError(fault)
    with stop_signals() as stopped, ExitStack() as stack:
        groups = Groups(replace(config, capture_file=str(path)), _say)
        probes = replace(live_options(config), cgroup_names=True)
        source = stack.enter_context(LiveSource(probes, host=config.host_name()))
        for note in source.notes:
            _say(note)
        sink = open_capture(path, config, source.origin, replace=force)
        _say(f"writing to {sink.files.writer.path}")
        lines = JsonLines if as_json else PlainLines
        shown = Shown(lines(semantics=config.chart_semantics).interval, stopped)
        end_ns = None if duration is None else clock.boot_ns() + int(duration * 1e9)
        trouble, meter = Trouble(_say), Meter()
        pipeline = Pipeline(
            source,
            sink,
            Rhythm(window_ns=config.update_every_s * 10**9, flush_ms=config.flush_ms),
            failures_watched=source.plan.failures_watched,
            release_late=source.plan.release_late,
            on_interval=(lambda _interval: None) if quiet else shown,
            groups=groups,
            agent=lambda: meter.read(
                queued=0,
                dropped=sink.account.dropped,
                forgotten=groups.forgotten,
                uncharged=int(source.totals()["uncharged"].sum()),
            ),
        )
        totals = pipeline.run(
            lambda: stopped.asked or (end_ns is not None and clock.boot_ns() >= end_ns),
            lambda: trouble.tell(sink),
        )
        sink.close()
        trouble.tell(sink)
        _say(totals.line("written"))
        _say(f"captured: {capture_line(sink)}")
        shown.end()
        sys.exit(0 if totals.complete and sink.complete else LOSSES)
