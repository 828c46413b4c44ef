"""What a user may set: one INI file in Netdata's syntax, and the command line over it.

Joint. Every value is checked where it stands: an error names the file, the line, what was
found and what is allowed. Where the file is: ``taskstream.place``.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskstream import place
from taskstream.errors import ConfigError
from taskstream.grouping.apps import AppGroups, parse
from taskstream.hook import CAPABILITIES

__all__ = [
    "EMBEDDED",
    "FILE_SIZE",
    "NONE",
    "OFF",
    "OPTIONS",
    "Config",
    "Option",
    "Setting",
    "load",
    "read",
    "read_app_groups",
    "redacted",
    "secret",
    "size",
]

EMBEDDED = "embedded"
"""The value of ``bootstrap`` that stands for the broker inside the agent."""

OFF = "off"
"""The value of a topic or an address that stands for none."""

NONE = "none"
"""The value of a list that stands for an empty one."""

LOOPBACK = "127.0.0.1"

_SECRET = re.compile(
    r"pass(word|phrase)|secret|\.key\.pem|oauthbearer\.config|sasl\.jaas", re.IGNORECASE
)
_REFERENCE = re.compile(r"^\$\{(env|file):([^}]+)\}$")
_DIGITS = re.compile(r"^[0-9]+$")
_SIZE = re.compile(r"^([0-9]+) *([KMG]i?B?)?$", re.IGNORECASE)


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


_YES = ("yes", "true", "on")
_NO = ("no", "false", "off")


def _yes_or_no(text: str) -> bool:
    word = text.lower()
    if word not in _YES + _NO:
        raise ValueError(text)
    return word in _YES


def _text(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


_ADDRESS = re.compile(r"^(?:(?P<host>[^\s:\[\]]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>[0-9]{1,5})$")


def _listen(text: str) -> str:
    found = _ADDRESS.match(text)
    if text == OFF:
        return text
    if not found or int(found["port"]) > 65_535:
        raise ValueError(text)
    return text if found["host"] else f"{LOOPBACK}:{text}"


def _ring_size(text: str) -> int:
    found = _SIZE.match(text)
    if not found:
        raise ValueError(text)
    number = int(found[1]) << _SHIFTS[(found[2] or "")[:1].lower()]
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
    found = _SIZE.match(text)
    number = int(found[1]) << _SHIFTS[(found[2] or "")[:1].lower()] if found else -1
    if number != 0 and not 65_536 <= number <= 1 << 60:
        raise ValueError(text)
    return number


FILE_SIZE = "64K or more, such as 256M, or 0 for no bound"
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30}
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

    @property
    def publishes(self) -> bool:
        """Tell whether events go to a topic or to a file."""
        return (self.bootstrap, self.capture_file) != (OFF, OFF)

    def host_name(self) -> str:
        """Return the host's name in messages: the one set, or the node name."""
        return self.host or os.uname().nodename


@dataclass(frozen=True, slots=True)
class Setting:
    """What one line of a file sets.

    Attributes:
        section: Its section.
        option: Its name in the file.
        name: Member of `Config` that it sets; of those in ``kafka``, ``kafka`` or ``bootstrap``.
        value: What it sets it to.
        text: The value as it stands in the file, with references unresolved.
        file: The file.
        line: Number of the line, from 1.
    """

    section: str
    option: str
    name: str
    value: Any
    text: str
    file: Path
    line: int


def load(path: Path | None) -> dict[str, Any]:
    """Read a configuration file as members of `Config`; a later line goes over an earlier one.

    Args:
        path: The file; None for the one in force.

    Raises:
        ConfigError: the file cannot be read, or holds what it may not.
    """
    found: dict[str, Any] = {"kafka": {}}
    for setting in read(path or place.find(place.PROCESS)):
        if setting.name == "kafka":
            found["kafka"][setting.option] = setting.value
        else:
            found[setting.name] = setting.value
    return found


def read(path: Path) -> list[Setting]:
    """Read a configuration file line by line.

    Raises:
        ConfigError: the file cannot be read, or holds what it may not.
    """
    return _parse(_lines(path), path)


def read_app_groups(path: Path | None) -> AppGroups:
    """Read ``apps_groups.conf``.

    Args:
        path: The file; None for the one in force.

    Raises:
        ConfigError: the file cannot be read, or a line of it is wrong.
    """
    path = path or place.find(place.APP_GROUPS)
    return AppGroups(parse(_lines(path), str(path)))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"configuration {path} cannot be read: {reason}") from None


def _parse(lines: list[str], path: Path) -> list[Setting]:
    found: list[Setting] = []
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
        member, read = _option(section, name, where)
        try:
            found.append(Setting(section, name, member, read(value), value, path, number))
        except ValueError:
            allowed = OPTIONS[section][name].allowed
            raise ConfigError(
                f"{where}: `{name} = {value}` cannot be: allowed is {allowed}"
            ) from None
    return found


def _option(section: str, name: str, where: str) -> tuple[str, Callable[[str], Any]]:
    """Return the member of `Config` that an option sets, and what reads its text."""
    if section == "kafka":
        member = "bootstrap" if name == "bootstrap.servers" else "kafka"
        return member, lambda text: secret(text, where)
    option = OPTIONS[section].get(name)
    if option is None:
        allowed = ", ".join(f"`{known}`" for known in OPTIONS[section])
        raise ConfigError(f"{where}: unknown option `{name}` in [{section}]: there are {allowed}")
    return option.name, option.read


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
