"""``taskstream inspect``: all that can be said about a capture."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from taskstream.batch import Batch
from taskstream.capture.content import content_of
from taskstream.capture.frame import FORMAT, Damage, Frame, FrameKind, kind_name
from taskstream.capture.reader import CaptureFile
from taskstream.capture.survey import Survey
from taskstream.cli.event_line import event_line, event_maps
from taskstream.cli.option import FILE_PATH
from taskstream.cli.saying import sayer, show

__all__ = ["inspect"]

_say = sayer("inspect")


@click.command()
@click.argument("file", type=FILE_PATH)
@click.option("--frames", is_flag=True, help="List the frames.")
@click.option("--events", is_flag=True, help="List the events.")
@click.option("--names", is_flag=True, help="List the cgroups that have a name: id, path, group.")
@click.option("--verify", is_flag=True, help="Unpack and decode everything, and compare the sums.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object per line.")
def inspect(
    file: Path, frames: bool, events: bool, names: bool, verify: bool, as_json: bool
) -> None:
    """Say what is in a capture: where it is from, its events, its losses, its damage.

    FILE - is standard input. --json has all of it, the names and the schema's tables included.
    With --verify exits with 1 if anything is not as it should be: a
    damaged frame, a file that was never closed, sums that differ.
    """
    survey = Survey(verify=verify)
    with CaptureFile(file) as capture:
        for item in capture.items():
            survey.add(item)
            if frames:
                row = _row(item)
                _print(row, _frame_line, as_json=as_json)
            if events and isinstance(item, Frame):
                for map_ in _events(item):
                    _print(map_, event_line, as_json=as_json)
        survey.finish()
        if as_json:
            summary = {"kind": "capture", "file": capture.name, "format": FORMAT}
            click.echo(json.dumps(summary | {"bytes": capture.size} | survey.to_map()))
        elif names:
            for id_, path in survey.cgroups.items():
                show(f"{id_:>20}  {path}  {survey.groups.get(id_, '')}".rstrip())
        elif not events and not frames:
            for name, text in _description(capture, survey):
                show(f"{name:12}{text}")
    if verify and not as_json:
        for fault in survey.faults:
            _say(fault)
        frames_text = f"{survey.frames.total():,} frames, {survey.events:,} events"
        found = f"{len(survey.faults):,} faults" if survey.faults else "all as it should be"
        _say(f"{frames_text}: {found}")
    sys.exit(1 if verify and survey.faults else 0)


def _print(row: dict[str, Any], line: Callable[[dict[str, Any]], str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(row))
    else:
        show(line(row))


def _events(frame: Frame) -> Iterator[dict[str, Any]]:
    if frame.kind in (FrameKind.BATCH, FrameKind.SNAPSHOT):
        batch = content_of(frame)
        assert isinstance(batch, Batch)
        yield from event_maps(batch)


def _row(item: Frame | Damage) -> dict[str, Any]:
    if isinstance(item, Damage):
        return {
            "offset": item.offset,
            "bytes": item.size_bytes,
            "frame": "cut" if item.cut else "damaged",
            "reason": item.reason,
        }
    return {
        "offset": item.offset,
        "bytes": item.size_bytes,
        "frame": kind_name(item.kind),
        "number": item.number,
        "payload_bytes": item.payload_bytes,
        "events": item.events,
        "first_ns": item.first_ns,
        "last_ns": item.last_ns,
    }


def _frame_line(row: dict[str, Any]) -> str:
    head = f"{row['offset']:>12}  {row['bytes']:>9}  {row['frame']:<8}"
    if "reason" in row:
        return f"{head}  {row['reason']}"
    span_ms = (row["last_ns"] - row["first_ns"]) / 1e6
    return f"{head}  {row['events']:>7} events  from {row['first_ns']}  {span_ms:.3f} ms"


def _description(capture: CaptureFile, survey: Survey) -> Iterator[tuple[str, str]]:
    """Yield what people want to know, name and text of each line."""
    size = "from a pipe" if capture.size is None else f"{capture.size:,} bytes"
    closed = "closed in good order" if survey.trailer else "not closed"
    yield "file", f"{capture.name}, {size}, format {FORMAT}, {closed}"
    header = survey.header
    if header is not None:
        part = f", part {header.part}" if header.part > 1 else ""
        yield "written by", f"{header.program}, schema version {header.version}{part}"
        tables = header.tables.items()
        yield "schema", ", ".join(f"{len(table):,} {name}" for name, table in tables)
        origin = header.origin
        yield "run", f"{origin.run_ns} of boot {origin.boot_id} of {origin.host}"
        yield "kernel", f"{header.about.kernel} {header.about.machine}"
        yield "begun", _when(header.clock.wall_ns)
        window_s = header.about.window_ns / 1e9
        failures = "" if header.about.failures_watched else ", failed calls not watched"
        yield "intervals", f"{survey.frames['report']:,} reported, of {window_s:g} s{failures}"
        if survey.first_ns is not None and survey.last_ns is not None:
            begin, end = (t + header.clock.offset_ns for t in (survey.first_ns, survey.last_ns))
            span_s = (survey.last_ns - survey.first_ns) / 1e9
            yield "events from", f"{_when(begin)} to {_when(end)}, {span_s:,.3f} s"
    listed = ", ".join(f"{name} {count:,}" for name, count in survey.frames.items())
    yield "frames", f"{survey.frames.total():,}: {listed}"
    kinds = ", ".join(f"{name} {count:,}" for name, count in survey.by_kind.items())
    each = f", {survey.event_bytes / survey.events:.1f} bytes each" if survey.events else ""
    yield "events", f"{survey.events:,}{each}" + (f": {kinds}" if kinds else "")
    if survey.last_report is not None:
        ring = survey.to_map()["ring"]
        yield (
            "ring",
            f"counted {ring['counted']:,}, of which lost {ring['lost']:,}"
            + ("" if ring["final"] else " (so far: no final report)"),
        )
    if survey.cgroups or survey.groups:
        yield "names", f"of {len(survey.cgroups):,} cgroups, {len(survey.groups):,} with a group"
    if survey.index is not None:
        yield "time index", f"{len(survey.index.stretches):,} stretches"
    for loss in survey.losses:
        moment = loss.boot_ns + (header.clock.offset_ns if header else 0)
        yield "dropped", f"{loss.events:,} until {_when(moment)}: {loss.reason}"
        for cpu, counts in loss.cpus.items():
            yield "", f"CPU {cpu}: " + ", ".join(f"{name} {n:,}" for name, n in counts.items())
    for damage in survey.damages:
        yield "cut off" if damage.cut else "damaged", str(damage)


def _when(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns / 1e9).astimezone().isoformat(timespec="milliseconds")
