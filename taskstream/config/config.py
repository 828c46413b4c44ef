"""The effective settings of a run, with their defaults."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from taskstream.errors import ConfigError
from taskstream.text import readable

__all__ = ["EMBEDDED", "OFF", "Config"]

EMBEDDED = "embedded"
"""The value of ``bootstrap`` that stands for the broker inside the agent."""

OFF = "off"
"""The value of a topic or an address that stands for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The effective settings of a run; names carry the units."""

    bootstrap: str = EMBEDDED
    update_every_s: int = 5
    load_mode: str = "entry"
    apps: bool = False
    cgroups: bool = False
    pid_table_size: int = 32_768
    type_format: str = "auto"
    tracing: str = "trampoline"
    maps_per_core: bool = True
    buffer: str = "auto"
    without: tuple[str, ...] = ()
    lifetime_s: int = 300
    chart_semantics: str = "documented"
    chart_commands: bool = False
    chart_users: bool = False
    chart_names: int = 1000
    rates_topic: str = "taskstream.rates"
    metrics_listen: str = OFF
    control_directory: str = "/run/taskstream"
    host: str = ""
    topic: str = "taskstream.events"
    message: str = "event"
    shard_count: int = 1
    flush_ms: int = 25
    queue_wait_ms: int = 1000
    drain_timeout_s: int = 10
    ring_bytes: int = 8 << 20
    args_ring_bytes: int = 2 << 20
    args_max: int = 4096
    topic_partitions: int = 4
    topic_copies: int = 0
    topic_in_sync: int = 0
    topic_retention_h: int = 168
    topic_retention_bytes: int = 0
    topic_compression: str = "producer"
    spool_mode: str = "auto"
    spool_directory: str = OFF
    spool_bytes: int = 2 << 30
    spool_age_s: int = 0
    spool_rate: int = 50_000
    capture_file: str = OFF
    capture_file_bytes: int = 0
    capture_file_s: int = 0
    capture_total_bytes: int = 0
    capture_flush_ms: int = 1000
    kafka: Mapping[str, str] = field(default_factory=dict)

    def spool(self) -> str:
        """Return the mode of the spool: ``overflow``, ``always`` or ``off``.

        Raises:
            ConfigError: a mode needs a directory, and there is none.
        """
        named = self.spool_directory != OFF
        if self.spool_mode in ("overflow", "always") and not named:
            raise ConfigError(f"[spool] mode = {self.spool_mode} needs a directory: name one there")
        if self.spool_mode == "auto":  # naming a directory is the wish to have one
            return "overflow" if named else "off"
        return self.spool_mode

    def rotation_fault(self) -> str:
        """Say why the bounds of a capture make no sense together; empty if they do."""
        total_bytes, file_bytes = self.capture_total_bytes, self.capture_file_bytes
        if total_bytes and not (file_bytes or self.capture_file_s):
            return "a total size is for files that are rotated: give a file size or a file age, too"
        if 0 < total_bytes <= file_bytes:
            return (
                f"a total size of {total_bytes:,} bytes for files of {file_bytes:,}: each would be "
                "deleted as soon as it is full; give a total size of several files"
            )
        return ""

    @property
    def publishes(self) -> bool:
        """Tell whether events go to a topic or to a file."""
        return (self.bootstrap, self.capture_file) != (OFF, OFF)

    def host_name(self) -> str:
        """Return the host's name in messages: the one set, or the node name.

        The kernel takes any bytes for a node name; those that are no UTF-8 are escaped, as in
        every name of a task, so that whoever reads messages, files or metrics can take it.
        """
        return readable(os.fsencode(self.host or os.uname().nodename))
