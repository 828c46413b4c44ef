"""The options with which the running kernel was built.

Rim: reads /proc/config.gz, or what lies in /boot and /lib/modules.
"""

import gzip
import zlib
from pathlib import Path

__all__ = ["is_set", "read_config"]

_FILES = ("proc/config.gz", "boot/config-{0}", "lib/modules/{0}/config")


def read_config(root: Path, release: str) -> tuple[str | None, str]:
    """Return the kernel's configuration and the file that it is from.

    Returns:
        The text, or None with all the places where no file can be read.
    """
    places = [place.format(release) for place in _FILES]
    for place in places:
        try:
            raw = (root / place).read_bytes()
            text = gzip.decompress(raw) if place.endswith(".gz") else raw
        except (OSError, EOFError, zlib.error):  # the last two: damaged
            continue
        return text.decode(errors="replace"), f"/{place}"
    return None, " ".join(f"/{place}" for place in places)


def is_set(text: str, option: str) -> bool:
    """Tell whether a configuration has an option, built in or as a module."""
    return any(f"\n{option}={value}" in f"\n{text}" for value in "ym")
