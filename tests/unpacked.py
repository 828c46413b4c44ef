"""Programs of Debian that tests talk to: installed, or unpacked by ``make test`` into build/."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest

__all__ = ["environment", "go_without", "perl", "program"]

ROOT = Path(__file__).parents[1] / "build/debian"
_FOLDERS = ("usr/bin", "usr/sbin")


def program(name: str) -> Path:
    """Return the path of a program; skip the test without it, or fail where it was promised."""
    unpacked = (ROOT / folder / name for folder in _FOLDERS)
    found = next((path for path in unpacked if path.exists()), None)
    installed = shutil.which(name)
    if found is None and installed is None:
        go_without(f"no {name}: make build/debian/unpacked")
    return found or Path(installed or "")


def perl(module: str) -> dict[str, str]:
    """Return an environment in which perl finds a module; skip or fail without it, likewise."""
    folders = [str(path) for path in ROOT.glob("usr/lib/*/perl5/*")]
    found = {**os.environ, "PERL5LIB": ":".join(folders)}
    if subprocess.run(["perl", f"-M{module}", "-e1"], env=found, capture_output=True).returncode:
        go_without(f"no {module} for perl: make build/debian/unpacked")
    return found


def go_without(missing: str) -> NoReturn:
    """Skip a test for want of something, or fail where it was promised."""
    if os.environ.get("TASKSTREAM_REQUIRE_PROGRAMS") == "1":
        pytest.fail(f"{missing}, and TASKSTREAM_REQUIRE_PROGRAMS=1 promises it")
    pytest.skip(f"{missing} (TASKSTREAM_REQUIRE_PROGRAMS=1 makes this a failure)")


def environment() -> dict[str, str]:
    """Return an environment in which the unpacked programs find the libraries beside them."""
    triplet = sysconfig.get_config_var("MULTIARCH")
    folders = [str(ROOT / folder / triplet) for folder in ("usr/lib", "lib")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}
