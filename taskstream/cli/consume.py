"""``taskstream consume``: the events of a topic, and what is missing in it."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

from taskstream import clock
from taskstream.batch import Batch
from taskstream.cli import LOSSES
from taskstream.cli.drawing import drawing_config, drawing_options, group_target
from taskstream.cli.event_line import event_line, event_maps
from taskstream.cli.option import (
    BROKER_TEXT,
    duration_option,
    kafka_option,
    kafka_settings,
    topic_option,
)
from taskstream.cli.saying import sayer
from taskstream.cli.topic_charts import TopicCharts
from taskstream.consumer import TopicSource
from taskstream.message.decode import Decoded
from taskstream.record import NO_CPU
from taskstream.sequence import CpuSummary, StreamBooks
from taskstream.sink.screen import JsonLines, PlainLines
from taskstream.vocabulary import VOCABULARIES, Vocabulary

__all__ = ["consume"]

_say = sayer("consume")

Line = Callable[[dict[str, Any]], str]


def _translated(vocabulary: Vocabulary) -> Line:
    return lambda event: json.dumps(vocabulary.translate(event))


_LINES: dict[str, Line] = {
    "text": event_line,
    "json": json.dumps,
    **{name: _translated(vocabulary) for name, vocabulary in VOCABULARIES.items()},
}
"""How an event is printed, by the name of the format."""


@click.command()
@click.option(
    "--bootstrap", required=True, type=BROKER_TEXT, metavar="HOST:PORT,...", help="Kafka brokers."
)
@topic_option()
@click.option(
    "--count", type=click.IntRange(1), metavar="EVENTS", help="Stop after this many events."
)
@duration_option
@click.option("--exit-at-end", "-e", is_flag=True, help="Stop where the topic ends now.")
@click.option("--from-end", is_flag=True, help="Read only what comes from now on.")
@click.option("--quiet", "-q", is_flag=True, help="Print no events, only the summary.")
@click.option("--json", "as_json", is_flag=True, help="Print events, then the summary, as JSON.")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_LINES)),
    help="How to print events: text (the default), json, or JSON with the names of ocsf, ecs or "
    "otel (docs/formats.md); the summary is for people.",
)
@click.option("--charts", is_flag=True, help="Print the intervals of one host instead.")
@click.option(
    "--host", default="", metavar="NAME", help="--charts: which host.  [default: the only one]"
)
@drawing_options
@kafka_option
def consume(
    bootstrap: str,
    topic: str,
    count: int | None,
    duration: float | None,
    exit_at_end: bool,
    from_end: bool,
    quiet: bool,
    as_json: bool,
    form: str | None,
    charts: bool,
    host: str,
    apps: bool | None,
    cgroups_too: bool | None,
    apps_groups: Path | None,
    config_file: Path | None,
    kafka: tuple[str, ...],
) -> None:
    """Print the events of a topic, of every shape, and report gaps and duplicates.

    With --charts, draw the charts of a host from its events and reports: those that its agent
    draws, to the byte, with the same choice of groups.

    Stops after --count, after --duration, at the end with --exit-at-end, or on Ctrl-C. Then,
    if the end of the topic was reached, says for each CPU of each run of an agent how many
    events were read and how many are missing. Exits with 3 if any are.
    """
    if as_json and form is not None:
        raise click.UsageError("--json and --format exclude each other")
    if charts and (count or quiet or form):
        raise click.UsageError("--charts goes with none of --count, --quiet, --format")
    if host and not charts:
        raise click.UsageError("--host is for --charts")
    drawing = None
    if charts:
        config = drawing_config(config_file, apps, cgroups_too)
        screen = (JsonLines if as_json else PlainLines)(semantics=config.chart_semantics)
        drawing = TopicCharts(lambda: group_target(config, apps_groups, screen), host)
    line = None if quiet or charts else _LINES[form or ("json" if as_json else "text")]
    books = StreamBooks(from_start=not from_end)
    reader = _Reader(books, count, line=line, as_json=as_json and not charts, drawing=drawing)
    end_ns = None if duration is None else clock.boot_ns() + int(duration * 1e9)
    told = ""
    with (
        TopicSource(
            bootstrap,
            topic,
            from_end=from_end,
            to_end=exit_at_end,
            settings=kafka_settings(kafka),
        ) as source,
        suppress(KeyboardInterrupt),
    ):
        while not reader.done and (end_ns is None or clock.boot_ns() < end_ns):
            reader.take(source.read(0.2))
            if source.trouble != told:
                told = source.trouble
                _say(told or "the broker answers again")
            if exit_at_end and source.at_end:
                break
    sys.exit(reader.summarize(at_end=source.at_end and not reader.cut))


class _Reader:
    """Prints events, or has charts drawn of them, and keeps the books."""

    def __init__(
        self,
        books: StreamBooks,
        count: int | None,
        *,
        line: Line | None,
        as_json: bool,
        drawing: TopicCharts | None = None,
    ) -> None:
        self._books = books
        self._drawing = drawing
        self._left = count
        self._line = line
        self._as_json = as_json
        self._rejected = 0
        self._events = 0
        self.cut = False

    @property
    def done(self) -> bool:
        return self._left == 0

    def take(self, decoded: Decoded) -> None:
        for position, error in decoded.rejected:
            self._rejected += 1
            if self._rejected <= 5:
                _say(f"message {position} of a read: {error}")
        for report in decoded.reports:
            self._books.report(report)
        once: list[Batch] = []
        for batch in decoded.batches:
            part = batch
            if self._left is not None:
                part = batch.part(slice(self._left))
                self._left -= len(part)
                self.cut |= len(part) < len(batch)
            fresh = self._books.add(part)
            self._events += len(part)
            if self._drawing is not None:
                once.append(part.part(np.flatnonzero(fresh)))
            elif self._line is not None and len(part):
                click.echo("\n".join(map(self._line, event_maps(part))))
        if self._drawing is not None:
            self._drawing.take(once, decoded.reports, clock.boot_ns())

    def summarize(self, *, at_end: bool) -> int:
        """Print the summary; return the exit code.

        Args:
            at_end: The topic was read to its end; else a gap may be what was left unread.
        """
        if self._drawing is not None and (late := self._drawing.finish()):
            _say(f"{late:,} events came behind the report that counts them")
        summaries = self._books.summaries() if at_end else []
        missing = sum(s.missing for s in summaries)
        duplicates = self._books.duplicates
        if self._as_json:
            click.echo(json.dumps(self._as_map(summaries, at_end=at_end)))
        else:
            for summary in summaries:
                if summary.missing or summary.duplicates or self._line is None:
                    _say(_summary_line(summary))
            _say(
                f"read {self._events:,} events = "
                f"{self._events - duplicates:,} once + {duplicates:,} again; "
                f"{f'missing {missing:,}' if at_end else 'missing unknown, before the end'}; "
                f"not understood {self._rejected:,} messages"
            )
        return LOSSES if missing or self._rejected else 0

    def _as_map(self, summaries: list[CpuSummary], *, at_end: bool) -> dict[str, Any]:
        return {
            "kind": "summary",
            "at_end": at_end,
            "events": self._events,
            "duplicates": self._books.duplicates,
            "missing": sum(s.missing for s in summaries) if at_end else None,
            "rejected": self._rejected,
            "cpus": [
                {
                    "host": s.origin.host,
                    "boot_id": s.origin.boot_id,
                    "run_ns": s.origin.run_ns,
                    "cpu": None if s.cpu == NO_CPU else s.cpu,
                    "events": s.events,
                    "duplicates": s.duplicates,
                    "missing": s.missing,
                    "lost": s.lost,
                    "dropped": s.dropped,
                    "unexplained": s.unexplained,
                    "reported": s.reported,
                }
                for s in summaries
            ],
        }


def _summary_line(summary: CpuSummary) -> str:
    where = "snapshot" if summary.cpu == NO_CPU else f"cpu {summary.cpu}"
    text = (
        f"{summary.origin.host} run {summary.origin.run_ns} {where}: {summary.events:,} events, "
        f"{summary.duplicates:,} again, missing {summary.missing:,}"
    )
    for name, counts in (("lost in the ring", summary.lost), ("dropped", summary.dropped)):
        if counts:
            listed = ", ".join(f"{kind} {number:,}" for kind, number in counts.items())
            text += f"; {name}: {listed}"
    if summary.missing and summary.unexplained:
        text += f"; unexplained {summary.unexplained:,}"
    return text
