"""How a configuration becomes a capture or a spool; a run without them does without this."""

from pathlib import Path

from taskstream import clock
from taskstream.batch import Origin
from taskstream.capture.content import Names
from taskstream.capture.rotation import CaptureFiles, Rotation, own_about
from taskstream.config.config import Config
from taskstream.sink.capture import CaptureSink
from taskstream.sink.kafka import KafkaSink
from taskstream.sink.spooling import SpoolingSink
from taskstream.source import cgroup_tree
from taskstream.spool.spool import Spool, SpoolBounds

__all__ = ["open_capture", "open_spool"]


def open_capture(path: Path, config: Config, origin: Origin, *, replace: bool) -> CaptureSink:
    """Begin a capture of a run.

    Raises:
        CaptureError: the file cannot be made.
    """
    rotation = Rotation(
        file_bytes=config.capture_file_bytes,
        file_s=config.capture_file_s,
        total_bytes=config.capture_total_bytes,
    )
    about = own_about(config.update_every_s * 10**9, failures_watched=config.load_mode == "return")
    files = CaptureFiles(path, origin, about, rotation, clocks=clock.read_pair, replace=replace)
    sink = CaptureSink(files, flush_ms=config.capture_flush_ms)
    existing = dict(cgroup_tree.scan(cgroup_tree.mounted()))
    if existing:
        sink.names(Names(boot_ns=clock.boot_ns(), cgroups=existing))
    return sink


def open_spool(config: Config, topic: KafkaSink, origin: Origin, *, always: bool) -> SpoolingSink:
    """Put a spool before a topic.

    Raises:
        ConfigError: the directory cannot be used or is for others, too, or another agent uses it.
    """
    bounds = SpoolBounds(total_bytes=config.spool_bytes or 1 << 60, age_s=config.spool_age_s)
    about = own_about(config.update_every_s * 10**9, failures_watched=config.load_mode == "return")
    return SpoolingSink(
        topic,
        lambda on_drop, on_damage: Spool(
            Path(config.spool_directory),
            origin,
            about,
            bounds,
            clocks=clock.read_pair,
            on_drop=on_drop,
            on_damage=on_damage,
        ),
        always=always,
        rate=config.spool_rate,
    )
