"""Every option that a file may hold: how its text is read, and what is allowed.

Pure. The readers raise ``ValueError``; who knows the file and the line says the rest.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskstream.config.config import OFF
from taskstream.hook import CAPABILITIES

__all__ = ["FILE_SIZE", "NONE", "OPTIONS", "Option", "host_port", "size"]

NONE = "none"
"""The value of a list that stands for an empty one."""

FILE_SIZE = "64K or more, such as 256M, or 0 for no bound"
"""What `size` allows, in words."""

_LOOPBACK = "127.0.0.1"
_DIGITS = re.compile(r"^[0-9]+$")
_SIZE = re.compile(r"^([0-9]+) *([KMG]i?B?)?$", re.IGNORECASE)
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30}
_ADDRESS = re.compile(r"^(?:(?P<host>[^\s:\[\]]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>[0-9]{1,5})$")
_YES = ("yes", "true", "on")
_NO = ("no", "false", "off")


@dataclass(frozen=True, slots=True)
class Option:
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


def _yes_or_no(text: str) -> bool:
    word = text.lower()
    if word not in _YES + _NO:
        raise ValueError(text)
    return word in _YES


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def host_port(address: str) -> tuple[str, int]:
    """Split an address as `OPTIONS` reads it; that of IPv6 loses its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listen(text: str) -> str:
    found = _ADDRESS.match(text)
    if text == OFF:
        return text
    if not found or int(found["port"]) > 65_535:
        raise ValueError(text)
    return text if found["host"] else f"{_LOOPBACK}:{text}"


def _bytes(text: str) -> int:
    found = _SIZE.match(text)
    if not found:
        raise ValueError(text)
    return int(found[1]) << _SHIFTS[(found[2] or "")[:1].lower()]


def _ring_size(text: str) -> int:
    number = _bytes(text)
    if number < 4096 or number > 1 << 30 or number & (number - 1):
        raise ValueError(text)
    return number


def _capabilities(text: str) -> tuple[str, ...]:
    if text == NONE:
        return ()
    names = tuple(part.strip() for part in text.split(","))
    if not set(names) <= set(CAPABILITIES):
        raise ValueError(text)
    return names


def size(text: str) -> int:
    """Read a size of a file; 0 is for no bound.

    Raises:
        ValueError: it is no size, or a very small one.
    """
    number = _bytes(text)
    if number != 0 and not 65_536 <= number <= 1 << 60:
        raise ValueError(text)
    return number


_RING = "a power of two from 4 KiB to 1 GiB, such as 8M"

OPTIONS: dict[str, dict[str, Option]] = {
    "global": {
        "update every": Option("update_every_s", _whole(1, 3600), "1 to 3600 seconds"),
        "ebpf load mode": Option("load_mode", _one_of("entry", "return"), "entry or return"),
        "apps": Option("apps", _yes_or_no, "yes or no"),
        "cgroups": Option("cgroups", _yes_or_no, "yes or no"),
        "pid table size": Option("pid_table_size", _whole(1, 1 << 22), "1 to 4194304 processes"),
        "ebpf type format": Option(
            "type_format", _one_of("auto", "co-re", "legacy"), "auto, co-re or legacy"
        ),
        "ebpf co-re tracing": Option(
            "tracing",
            _one_of("trampoline", "probe", "tracepoint"),
            "trampoline, probe or tracepoint",
        ),
        "maps per core": Option("maps_per_core", _yes_or_no, "yes or no"),
        "lifetime": Option("lifetime_s", _whole(1, 31_536_000), "1 to 31536000 seconds"),
    },
    "charts": {
        "semantics": Option(
            "chart_semantics", _one_of("documented", "netdata"), "documented or netdata"
        ),
        "commands": Option("chart_commands", _yes_or_no, "yes or no"),
        "users": Option("chart_users", _yes_or_no, "yes or no"),
        "names": Option("chart_names", _whole(1, 10_000), "1 to 10000"),
        "topic": Option("rates_topic", _text, "the name of a topic, or off"),
    },
    "prometheus": {
        "listen": Option("metrics_listen", _listen, "HOST:PORT, PORT of this host alone, or off"),
    },
    "control": {
        "directory": Option("control_directory", _text, "the path of a directory, or off"),
    },
    "stream": {
        "host": Option("host", _text, "a name"),
        "topic": Option("topic", _text, "the name of a topic"),
        "message": Option("message", _one_of("event", "batch", "json"), "event, batch or json"),
        "shards": Option("shard_count", _whole(1, 1024), "1 to 1024"),
        "flush ms": Option("flush_ms", _whole(1, 1000), "1 to 1000 milliseconds"),
        "queue wait ms": Option("queue_wait_ms", _whole(0, 60_000), "0 to 60000 milliseconds"),
        "drain timeout": Option("drain_timeout_s", _whole(0, 3600), "0 to 3600 seconds"),
    },
    "probes": {
        "buffer": Option("buffer", _one_of("auto", "ring", "perf"), "auto, ring or perf"),
        "without": Option("without", _capabilities, f"{NONE}, or of {', '.join(CAPABILITIES)}"),
    },
    "topic": {
        "partitions": Option("topic_partitions", _whole(1, 10_000), "1 to 10000"),
        "replication": Option("topic_copies", _whole(0, 100), "0 (by the cluster) to 100"),
        "min insync": Option("topic_in_sync", _whole(0, 100), "0 (by the replication) to 100"),
        "retention hours": Option(
            "topic_retention_h", _whole(0, 1_000_000), "0 (for ever) to 1000000"
        ),
        "retention size": Option("topic_retention_bytes", size, FILE_SIZE),
        "compression": Option(
            "topic_compression",
            _one_of("producer", "uncompressed", "gzip", "lz4", "snappy", "zstd"),
            "producer, uncompressed, gzip, lz4, snappy or zstd",
        ),
    },
    "ring": {
        "size": Option("ring_bytes", _ring_size, _RING),
        "arguments size": Option("args_ring_bytes", _ring_size, _RING),
        "arguments kept": Option("args_max", _whole(0, 16_384), "0 to 16384 bytes"),
    },
    "spool": {
        "mode": Option(
            "spool_mode",
            _one_of("auto", "overflow", "always", "off"),
            "auto, overflow, always or off",
        ),
        "directory": Option("spool_directory", _text, "the path of a directory, or off"),
        "size": Option("spool_bytes", size, FILE_SIZE),
        "age": Option("spool_age_s", _whole(0, 31_536_000), "seconds, or 0 for no bound"),
        "rate": Option("spool_rate", _whole(100, 10_000_000), "100 to 10000000 events per second"),
    },
    "capture": {
        "file": Option("capture_file", _text, "the path of a file, or off"),
        "file size": Option("capture_file_bytes", size, FILE_SIZE),
        "file age": Option("capture_file_s", _whole(0, 31_536_000), "seconds, or 0 for no bound"),
        "total size": Option("capture_total_bytes", size, FILE_SIZE),
        "flush ms": Option("capture_flush_ms", _whole(0, 60_000), "0 to 60000 milliseconds"),
    },
}
"""Every option of the file but those of ``[kafka]``, which go to librdkafka as they are."""
