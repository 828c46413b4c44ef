"""The files: read line by line, and told of by line where they are wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskstream import place
from taskstream.config.option import OPTIONS
from taskstream.config.secret import secret
from taskstream.errors import ConfigError
from taskstream.grouping.apps import AppGroups, parse

__all__ = ["Setting", "load", "read", "read_app_groups"]


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
