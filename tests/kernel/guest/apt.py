"""Debian's archives, of any suite and architecture, through an apt that is not the system's.

apt works with a configuration, lists and a status of its own, on the mirror that the system's
apt uses; nothing is installed.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Apt", "FetchError"]

_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class FetchError(Exception):
    """Something cannot be had: what, and why."""


class Apt:
    """Suites of the mirror, with their present lists.

    Args:
        directory: To keep configuration and lists in.
        suites: Each an archive, ``debian`` or ``debian-security``, and a suite of it.
        architecture: As Debian names it.

    Raises:
        FetchError: there is no mirror, or it does not have them.
    """

    def __init__(
        self, directory: Path, suites: Sequence[tuple[str, str]], architecture: str
    ) -> None:
        self._environment = os.environ | {
            "APT_CONFIG": os.fspath(directory / "apt.conf"),
            "LC_ALL": "C.UTF-8",
        }
        for name in ("lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "sources.list").write_text(
            "".join(
                f"deb [signed-by={_KEYS}] {_mirror(archive)} {suite} main\n"
                for archive, suite in suites
            )
        )
        (directory / "status").touch()
        settings = {
            "APT::Architecture": architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": 3,
            "Dir::Cache": directory / "cache",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::Etc::sourcelist": directory / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::Lists": directory / "lists",
            "Dir::State::status": directory / "status",
        }
        lines = [f'{name} "{value}";\n' for name, value in settings.items()]
        lines.append(f'APT::Architectures {{ "{architecture}"; }};\n')
        (directory / "apt.conf").write_text("".join(lines))
        self._run("apt-get", "-q", "update")

    def _run(self, *command: str, directory: Path | None = None) -> str:
        done = subprocess.run(
            command,
            env=self._environment,
            cwd=directory,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if done.returncode:
            raise FetchError(f"{' '.join(command[:3])} failed:\n{done.stdout}")
        return done.stdout

    def _field(self, package: str, field: str) -> str:
        try:
            shown = self._run("apt-cache", "show", "--no-all-versions", package)
        except FetchError:  # no such package
            return ""
        found = re.search(rf"^{field}: (.*)$", shown, re.M)
        return found[1] if found else ""

    def version(self, package: str) -> str:
        """Return the version of a package; empty if the suite does not have it."""
        return self._field(package, "Version")

    def depends(self, package: str) -> list[str]:
        """Return the names that a package depends on, alternatives included."""
        depends = self._field(package, "Depends")
        return [part.split()[0] for part in re.split(r"[,|]", depends) if part.strip()]

    def closure(self, packages: Sequence[str]) -> list[str]:
        """Return packages with all that they need, each as ``NAME=VERSION``."""
        simulated = self._run("apt-get", "-q", "install", "--simulate", *packages)
        installed = re.findall(r"^Inst (\S+) \((\S+)", simulated, re.M)
        return sorted(f"{name}={version}" for name, version in installed)

    def unpack(self, packages: Sequence[str], directory: Path) -> None:
        """Download packages and unpack them into a new directory."""
        downloads = directory / "downloads"
        downloads.mkdir(parents=True)
        self._run("apt-get", "-q", "download", *packages, directory=downloads)
        for package in sorted(downloads.iterdir()):
            subprocess.run(["dpkg", "-x", package, directory], check=True)
        shutil.rmtree(downloads)


def _mirror(archive: str) -> str:
    """Return the address of an archive on the mirror that the system's apt uses."""
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN)"]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    sites = {line.split()[0].rstrip("/") for line in lines if line.endswith(" Debian")}
    for site in sorted(sites):
        if site.endswith(f"/{archive}"):
            return site
    for site in sorted(sites):
        if site.endswith("/debian"):
            return f"{site.removesuffix('debian')}{archive}"
    raise FetchError("the system's apt knows no Debian mirror: add one, apt-get update")
