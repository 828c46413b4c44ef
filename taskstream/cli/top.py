"""``taskstream top``: the rates on a live screen, or one interval as JSON."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from taskstream.board.choice import Choice
from taskstream.board.reading import VIEWS, Reading
from taskstream.capture.reader import CaptureFile
from taskstream.cli.job import Job, recording, replaying
from taskstream.cli.option import (
    BROKER_TEXT,
    FILE_PATH,
    config_option,
    kafka_option,
    kafka_settings,
    load_mode_option,
    topic_option,
    tracing_option,
    type_format_option,
)
from taskstream.cli.replay import speed_of
from taskstream.cli.saying import sayer
from taskstream.cli.stopping import Stop, stop_signals
from taskstream.config.config import OFF, Config
from taskstream.config.file import load
from taskstream.consumer import TopicSource
from taskstream.errors import ConfigError
from taskstream.feed import Feed, RatesFeed

__all__ = ["top"]

_say = sayer("top")

LOOK_S = 0.1
"""How often the feed is looked at, where no screen does."""

PAST_S = 300
"""How much of the topic is read at the start, so that there is a past at once."""

_LIVE = ("update_every_s", "load_mode", "type_format", "tracing", "apps", "cgroups", "config_file")


@click.command()
@click.argument("captures", metavar="[FILE]...", nargs=-1, type=FILE_PATH)
@click.option(
    "--speed", callback=speed_of, metavar="max|N", help="FILE: N times as fast.  [default: 1]"
)
@click.option(
    "--bootstrap",
    type=BROKER_TEXT,
    metavar="HOST:PORT,...",
    help="Show the hosts of the topic of rates there.",
)
@topic_option("That topic.", "taskstream.rates")
@click.option("--host", "host", default="", metavar="NAME", help="Show this host alone.")
@click.option(
    "--view",
    type=click.Choice(VIEWS),
    default="command",
    show_default=True,
    help="What to show first.",
)
@click.option("--once", is_flag=True, help="Print one whole interval of each host as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print each interval as a line of JSON.")
@click.option(
    "--update-every",
    "update_every_s",
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    help="Length of an interval.  [default: 1]",
)
@load_mode_option
@type_format_option
@tracing_option
@click.option("--apps/--no-apps", default=None, help="Count by app group.  [default: yes]")
@click.option(
    "--cgroups/--no-cgroups", default=None, help="Count by cgroup and service.  [default: yes]"
)
@config_option
@kafka_option
def top(
    captures: tuple[Path, ...],
    speed: float | None,
    bootstrap: str | None,
    topic: str,
    host: str,
    view: str,
    once: bool,
    as_json: bool,
    kafka: tuple[str, ...],
    **live: Any,
) -> None:
    """Show the rates of this host live: by system, app, cgroup, service, command and user.

    Records for itself, as `taskstream run` does and with the same rights and configuration, but
    publishes nothing. With --bootstrap it records nothing, and shows the hosts whose agents
    publish their rates there, side by side; with FILE it replays captures of one host. Keys are
    explained by `?`.
    """
    _check(captures, bootstrap, live, {"--kafka": kafka, "--host": host})
    if speed is not None and not captures:
        raise click.UsageError("--speed is for FILE")
    if not (once or as_json):
        _check_terminal()
    with stop_signals() as stopped:
        if captures:
            with ExitStack() as stack:
                files = [stack.enter_context(CaptureFile(path)) for path in captures]
                show = _shower(Choice(view=view, side_by_side=False), once, as_json)
                _show_job(replaying(files, 1 if speed is None else speed), stopped, show)
        elif bootstrap is None:
            config = _config(**live)
            choice = Choice(view=view, side_by_side=False)
            show = _shower(choice, once, as_json, config.update_every_s)
            _show_job(recording(config), stopped, show, live=True)
        else:
            show = _shower(Choice(view=view, host=host), once, as_json)
            _show_topic(bootstrap, topic, kafka_settings(kafka), stopped, show)


def _check(
    captures: tuple[Path, ...], bootstrap: str | None, live: dict[str, Any], remote: dict[str, Any]
) -> None:
    """Refuse options of the one kind of source together with the other."""
    if bootstrap is None:
        for name, value in remote.items():
            if value:
                raise click.UsageError(f"{name} needs --bootstrap: without it no broker is asked")
        if not captures:
            return
    elif captures:
        raise click.UsageError("--bootstrap and FILE exclude each other")
    source = "FILE" if captures else "--bootstrap"
    for name in _LIVE:
        if live[name] is not None:
            option = name.removesuffix("_s").removesuffix("_file").replace("_", "-")
            raise click.UsageError(
                f"{source} and --{option} exclude each other: that is for this host alone"
            )


def _check_terminal() -> None:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        found = "standard input and output are no terminal"
    elif os.environ.get("TERM", "dumb") == "dumb":
        found = "this terminal cannot place text (TERM is dumb)"
    else:
        return
    raise ConfigError(
        f"{found}: `taskstream top --json` prints each interval by group, `taskstream run --json` "
        "each interval with its charts"
    )


# --- where the readings come from ---

Show = Callable[[Feed, Callable[[], bool]], None]
"""Shows a feed until told to stop, or until it is left."""


def _config(**live: Any) -> Config:
    """Return the settings of the run behind the screen: all groups, and nowhere to publish."""
    settings = load(live.pop("config_file"))
    settings |= {"apps": True, "cgroups": True, "chart_commands": True, "chart_users": True}
    settings |= {
        "update_every_s": 1,
        "bootstrap": OFF,
        "metrics_listen": OFF,
        "capture_file": OFF,
        "kafka": {},
    }
    settings |= {name: value for name, value in live.items() if value is not None}
    return Config(**settings)


def _show_job(job: Job, stopped: Stop, show: Show, *, live: bool = False) -> None:
    """Show what a job fills; the end of a live one closes the screen, that of a replay does not."""
    job.wait()
    try:
        show(job.feed, lambda: stopped.asked or job.failed or (live and job.over))
    finally:
        job.finish()
    for line in job.lines:
        _say(line)
    sys.exit(job.code)


def _show_topic(
    bootstrap: str, topic: str, settings: dict[str, str], stopped: Stop, show: Show
) -> None:
    since_ms = int((time.time() - PAST_S) * 1000)
    with TopicSource(bootstrap, topic, since_ms=since_ms, settings=settings) as source:
        show(RatesFeed(source, f"{topic} at {bootstrap}"), lambda: stopped.asked)


# --- how they are shown ---


def _shower(choice: Choice, once: bool, as_json: bool, length_s: int = 0) -> Show:
    if once or as_json:
        lines = _JsonLines(choice.host, length_s if once else 0)
        return lambda feed, stop: lines.show(feed, stop, once=once)
    return lambda feed, stop: _show_screen(feed, choice, stop)


def _show_screen(feed: Feed, choice: Choice, stop: Callable[[], bool]) -> None:
    from taskstream.sink.top import Top  # takes its time, and memory

    app = Top(feed, choice, now_wall_ns=time.time_ns if feed.live else None, stop=stop)
    app.run()
    if app.failure is not None:
        raise app.failure


class _JsonLines:
    """Prints readings as lines of JSON.

    Args:
        host: The one host that is wanted; empty for all.
        length_s: Shorter intervals, such as the first of a run, are left out.
    """

    def __init__(self, host: str, length_s: int) -> None:
        self._host, self._length_s = host, length_s

    def show(self, feed: Feed, stop: Callable[[], bool], *, once: bool) -> None:
        while not stop():
            over = feed.over  # nothing comes after what is taken now
            readings = [reading for reading in feed.take() if self._is_wanted(reading)]
            if once:
                readings = list({reading.host: reading for reading in readings}.values())
            for reading in readings:
                click.echo(json.dumps(reading.to_map()))
            if (once and readings) or over:
                return
            time.sleep(LOOK_S)

    def _is_wanted(self, reading: Reading) -> bool:
        return self._host in ("", reading.host) and reading.seconds >= 0.99 * self._length_s
