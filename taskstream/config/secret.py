"""Secrets: where a setting refers to one, and which settings are shown without their value."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from taskstream.errors import ConfigError

__all__ = ["redacted", "secret"]

_SECRET = re.compile(
    r"pass(word|phrase)|secret|\.key\.pem|oauthbearer\.config|sasl\.jaas", re.IGNORECASE
)
_REFERENCE = re.compile(r"^\$\{(env|file):([^}]+)\}$")


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
