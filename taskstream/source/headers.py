"""Where the running kernel's headers are.

Rim: looks for files.
"""

import os
from pathlib import Path

__all__ = ["headers_path"]


def headers_path() -> Path | None:
    """Return where the running kernel's headers are, if they are where BCC looks."""
    modules = Path("/lib/modules") / os.uname().release
    places = (modules / "build", modules / "source")
    found = [place for place in places if (place / "include/linux/kconfig.h").exists()]
    packed = Path("/sys/kernel/kheaders.tar.xz")  # CONFIG_IKHEADERS; BCC unpacks it by itself
    return found[0] if found else packed if packed.exists() else None
