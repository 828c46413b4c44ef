"""What a user may set: one INI file in Netdata's syntax, and the command line over it.

Joint. Every value is checked where it stands: an error names the file, the line, what was
found and what is allowed.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskstream.errors import ConfigError

__all__ = ["EMBEDDED", "FILE_SIZE", "Config", "load", "redacted", "secret", "size"]

EMBEDDED = "embedded"
"""The value of ``bootstrap`` that stands for the broker inside the agent."""

DEFAULT_FILE = Path("/etc/taskstream/process.conf")
_SECRET = re.compile(
    r"pass(word|phrase)|secret|\.key\.pem|oauthbearer\.config|sasl\.jaas", re.IGNORECASE
)
_REFERENCE = re.compile(r"^\$\{(env|file):([^}]+)\}$")
_DIGITS = re.compile(r"^[0-9]+$")
_SIZE = re.compile(r"^([0-9]+) *([KMG]i?B?)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Option:
    """One option: where it goes in `Config`, how its text is read, what is allowed."""

    name: str
    read: Callable[[str], Any]
    allowed: str


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not _DIGITS.match(text):
            raise ValueError(text)
        value = int(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return read


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return read


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _ring_size(text: str) -> int:
    found = _SIZE.match(text)
    if not found:
        raise ValueError(text)
    number = int(found[1]) << _SHIFTS[(found[2] or "")[:1].lower()]
    if number < 4096 or number > 1 << 30 or number & (number - 1):
        raise ValueError(text)
    return number


def size(text: str) -> int:
    """Read a size of a file; 0 is for no bound.

    Raises:
        ValueError: it is no size, or a very small one.
    """
    found = _SIZE.match(text)
    number = int(found[1]) << _SHIFTS[(found[2] or "")[:1].lower()] if found else -1
    if number != 0 and not 65_536 <= number <= 1 << 60:
        raise ValueError(text)
    return number


FILE_SIZE = "64K or more, such as 256M, or 0 for no bound"
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30}
_RING = "a power of two from 4 KiB to 1 GiB, such as 8M"

OPTIONS: dict[str, dict[str, _Option]] = {
    "global": {
        "update every": _Option("update_every_s", _whole(1, 3600), "1 to 3600 seconds"),
        "ebpf load mode": _Option("load_mode", _one_of("entry", "return"), "entry or return"),
    },
    "stream": {
        "host": _Option("host", _text, "a name"),
        "topic": _Option("topic", _text, "the name of a topic"),
        "message": _Option("message", _one_of("event", "batch"), "event or batch"),
        "shards": _Option("shard_count", _whole(1, 1024), "1 to 1024"),
        "flush ms": _Option("flush_ms", _whole(1, 1000), "1 to 1000 milliseconds"),
        "queue wait ms": _Option("queue_wait_ms", _whole(0, 60_000), "0 to 60000 milliseconds"),
        "drain timeout": _Option("drain_timeout_s", _whole(0, 3600), "0 to 3600 seconds"),
    },
    "topic": {
        "partitions": _Option("topic_partitions", _whole(1, 10_000), "1 to 10000"),
        "replication": _Option("topic_copies", _whole(0, 100), "0 (by the cluster) to 100"),
        "min insync": _Option("topic_in_sync", _whole(0, 100), "0 (by the replication) to 100"),
        "retention hours": _Option(
            "topic_retention_h", _whole(0, 1_000_000), "0 (for ever) to 1000000"
        ),
        "retention size": _Option("topic_retention_bytes", size, FILE_SIZE),
        "compression": _Option(
            "topic_compression",
            _one_of("producer", "uncompressed", "gzip", "lz4", "snappy", "zstd"),
            "producer, uncompressed, gzip, lz4, snappy or zstd",
        ),
    },
    "ring": {
        "size": _Option("ring_bytes", _ring_size, _RING),
        "arguments size": _Option("args_ring_bytes", _ring_size, _RING),
        "arguments kept": _Option("args_max", _whole(0, 16_384), "0 to 16384 bytes"),
    },
    "spool": {
        "mode": _Option(
            "spool_mode", _one_of("overflow", "always", "off"), "overflow, always or off"
        ),
        "directory": _Option("spool_directory", _text, "the path of a directory"),
        "size": _Option("spool_bytes", size, FILE_SIZE),
        "age": _Option("spool_age_s", _whole(0, 31_536_000), "seconds, or 0 for no bound"),
        "rate": _Option("spool_rate", _whole(100, 10_000_000), "100 to 10000000 events per second"),
    },
    "capture": {
        "file": _Option("capture_file", _text, "the path of a file"),
        "file size": _Option("capture_file_bytes", size, FILE_SIZE),
        "file age": _Option("capture_file_s", _whole(0, 31_536_000), "seconds, or 0 for no bound"),
        "total size": _Option("capture_total_bytes", size, FILE_SIZE),
        "flush ms": _Option("capture_flush_ms", _whole(0, 60_000), "0 to 60000 milliseconds"),
    },
}
"""Every option of the file but those of ``[kafka]``, which go to librdkafka as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The effective settings of a run; names carry the units."""

    bootstrap: str = EMBEDDED
    update_every_s: int = 5
    load_mode: str = "entry"
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
    spool_mode: str = ""
    spool_directory: str = ""
    spool_bytes: int = 2 << 30
    spool_age_s: int = 0
    spool_rate: int = 50_000
    capture_file: str = ""
    capture_file_bytes: int = 0
    capture_file_s: int = 0
    capture_total_bytes: int = 0
    capture_flush_ms: int = 1000
    kafka: Mapping[str, str] = field(default_factory=dict)

    def spool(self) -> str:
        """Return the mode of the spool: naming a directory is the wish to have one.

        Raises:
            ConfigError: a mode needs a directory, and there is none.
        """
        if self.spool_mode in ("overflow", "always") and not self.spool_directory:
            raise ConfigError(f"[spool] mode = {self.spool_mode} needs a directory: name one there")
        return self.spool_mode or ("overflow" if self.spool_directory else "off")

    def host_name(self) -> str:
        """Return the host's name in messages: the one set, or the node name."""
        return self.host or os.uname().nodename


def load(path: Path | None) -> dict[str, Any]:
    """Read a configuration file.

    Args:
        path: The file; None for the default one, which may be missing.

    Returns:
        Members of `Config` that the file sets.

    Raises:
        ConfigError: the file cannot be read, or holds what it may not.
    """
    if path is None and not DEFAULT_FILE.exists():
        return {}
    path = path or DEFAULT_FILE
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"configuration {path} cannot be read: {reason}") from None
    return _parse(lines, path)


def _parse(lines: list[str], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"kafka": {}}
    section = None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        where = f"{path}, line {number}"
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1].strip()
            if section not in (*OPTIONS, "kafka"):
                allowed = ", ".join(f"[{name}]" for name in (*OPTIONS, "kafka"))
                raise ConfigError(f"{where}: unknown section [{section}]: there are {allowed}")
            continue
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals and section == "kafka":  # what was found may be a secret
            raise ConfigError(f"{where}: no `=` in it, expected `setting = value`")
        if not equals:
            raise ConfigError(f"{where}: found `{text}`, expected `option = value`")
        if section is None:
            raise ConfigError(f"{where}: `{name}` stands before any section: put [global] above it")
        if section == "kafka":
            found["kafka"][name] = secret(value, where)
        else:
            option = OPTIONS[section].get(name)
            if option is None:
                allowed = ", ".join(f"`{known}`" for known in OPTIONS[section])
                raise ConfigError(
                    f"{where}: unknown option `{name}` in [{section}]: there are {allowed}"
                )
            try:
                found[option.name] = option.read(value)
            except ValueError:
                raise ConfigError(
                    f"{where}: `{name} = {value}` cannot be: allowed is {option.allowed}"
                ) from None
    if "bootstrap.servers" in found["kafka"]:
        found["bootstrap"] = found["kafka"].pop("bootstrap.servers")
    return found


def secret(value: str, where: str) -> str:
    """Resolve ``${env:NAME}`` and ``${file:PATH}``, so that no secret need stand in the open.

    Raises:
        ConfigError: the variable is not set, or the file cannot be read.
    """
    reference = _REFERENCE.match(value)
    if not reference:
        return value
    kind, name = reference[1], reference[2]
    if kind == "env":
        if name not in os.environ:
            raise ConfigError(f"{where}: the environment has no variable {name}")
        return os.environ[name]
    try:
        return Path(name).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: {name} cannot be read: {error}") from None


def redacted(settings: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka settings fit to be shown: without passwords and keys."""
    return {k: "(secret)" if _SECRET.search(k) else v for k, v in settings.items()}
