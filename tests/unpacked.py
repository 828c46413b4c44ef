"""Programs of Debian that tests talk to: installed, or unpacked by ``make test`` into build/."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from tests.needs import go_without

__all__ = ["environment", "perl", "program"]

ROOT = Path(__file__).parents[1] / "build/debian"
_FOLDERS = ("usr/bin", "usr/sbin")


def program(name: str) -> Path:
    """Return the path of a program; a test that needs it fails without."""
    unpacked = (ROOT / folder / name for folder in _FOLDERS)
    found = next((path for path in unpacked if path.exists()), None)
    installed = shutil.which(name)
    if found is None and installed is None:
        go_without(f"no {name}: make build/debian/unpacked")
    return found or Path(installed or "")


def perl(module: str) -> dict[str, str]:
    """Return an environment in which perl finds a module; likewise."""
    folders = [str(path) for path in ROOT.glob("usr/lib/*/perl5/*")]
    found = {**os.environ, "PERL5LIB": ":".join(folders)}
    if subprocess.run(["perl", f"-M{module}", "-e1"], env=found, capture_output=True).returncode:
        go_without(f"no {module} for perl: make build/debian/unpacked")
    return found


def environment() -> dict[str, str]:
    """Return an environment in which the unpacked programs find the libraries beside them."""
    triplet = sysconfig.get_config_var("MULTIARCH")
    folders = [str(ROOT / folder / triplet) for folder in ("usr/lib", "lib")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}
