"""Programs of Debian that tests talk to: installed, or unpacked by ``make test`` into build/."""

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

__all__ = ["environment", "program"]

ROOT = Path(__file__).parents[1] / "build/debian"
_FOLDERS = ("usr/bin", "usr/sbin")


def program(name: str) -> Path:
    """Return the path of a program; skip the test without it, or fail where it was promised."""
    unpacked = (ROOT / folder / name for folder in _FOLDERS)
    found = next((path for path in unpacked if path.exists()), None)
    installed = shutil.which(name)
    if found is None and installed is None:
        missing = f"no {name}: make build/debian/unpacked"
        if os.environ.get("TASKSTREAM_REQUIRE_PROGRAMS") == "1":
            pytest.fail(f"{missing}, and TASKSTREAM_REQUIRE_PROGRAMS=1 promises it")
        pytest.skip(f"{missing} (TASKSTREAM_REQUIRE_PROGRAMS=1 makes this a failure)")
    return found or Path(installed or "")


def environment() -> dict[str, str]:
    """Return an environment in which the unpacked programs find the libraries beside them."""
    triplet = sysconfig.get_config_var("MULTIARCH")
    folders = [str(ROOT / folder / triplet) for folder in ("usr/lib", "lib")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}
