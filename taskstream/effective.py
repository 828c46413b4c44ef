"""What is in force, and where each value came from: default, file and line, command line.

Joint. Values are written as the file has them, so that what is shown can be put into a file;
no secret is ever among them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskstream.config.config import Config
from taskstream.config.file import Setting
from taskstream.config.option import NONE, OPTIONS
from taskstream.config.secret import redacted

__all__ = ["COMMAND_LINE", "DEFAULT", "Effective", "effective", "in_force"]

DEFAULT = "default"
COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Effective:
    """One option as it is in force.

    Attributes:
        section: Its section in the file.
        option: Its name there.
        value: What is in force, as text.
        origin: ``default``, ``command line``, or ``FILE, line NUMBER``.
    """

    section: str
    option: str
    value: str
    origin: str


def effective(
    settings: Sequence[Setting], given: Mapping[str, Any], kafka: Mapping[str, str]
) -> Iterator[Effective]:
    """Yield every option, in the order of the sections.

    Args:
        settings: What the file sets; a later line goes over an earlier one.
        given: What the command line sets, by member of `Config`; None for what it does not.
        kafka: librdkafka settings of the command line, as they were written.
    """
    lines = {(setting.section, setting.option): setting for setting in settings}
    defaults = Config()
    for section, options in OPTIONS.items():
        for name, option in options.items():
            line = lines.get((section, name))
            value, origin = getattr(defaults, option.name), DEFAULT
            if line is not None:
                value, origin = line.value, f"{line.file}, line {line.line}"
            if given.get(option.name) is not None:
                value, origin = given[option.name], COMMAND_LINE
            yield Effective(section, name, _written(value), origin)
    yield from _kafka(settings, given.get("bootstrap"), kafka)


def in_force(config: Config) -> Iterator[dict[str, Any]]:
    """Yield every option of a run as a map: section, option, value, and whether by default."""
    defaults = Config()
    for section, options in OPTIONS.items():
        for name, option in options.items():
            value, default = getattr(config, option.name), getattr(defaults, option.name)
            yield _in_force(section, name, _written(value), default=value == default)
    default = config.bootstrap == defaults.bootstrap
    yield _in_force("kafka", "bootstrap.servers", config.bootstrap, default=default)
    for name, value in redacted(config.kafka).items():
        yield _in_force("kafka", name, value, default=False)


def _in_force(section: str, option: str, value: str, *, default: bool) -> dict[str, Any]:
    return {"section": section, "option": option, "value": value, "default": default}


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or NONE
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _kafka(
    settings: Sequence[Setting], bootstrap: str | None, kafka: Mapping[str, str]
) -> Iterator[Effective]:
    found = {
        s.option: (s.text, f"{s.file}, line {s.line}") for s in settings if s.section == "kafka"
    }
    found |= {name: (text, COMMAND_LINE) for name, text in kafka.items()}
    if bootstrap is not None:
        found["bootstrap.servers"] = bootstrap, COMMAND_LINE
    found.setdefault("bootstrap.servers", (Config().bootstrap, DEFAULT))
    for name, (text, origin) in found.items():
        # A reference to a secret is none.
        shown = text if text.startswith("${") else redacted({name: text})[name]
        yield Effective("kafka", name, shown, origin)
