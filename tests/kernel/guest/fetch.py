"""Fetches Debian kernels with apt and unpacks them: image, modules and headers.

Run as ``python -m tests.kernel.guest.fetch [NAME ...]``. Each kernel lands in build/kernels/NAME;
nothing is installed. apt works with a configuration of its own, on the mirror that the system's
apt uses. The security and backports suites drop old versions, so what to fetch is resolved from
the suite's metapackage every time.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.kernel.guest.kernel import Kernel

__all__ = ["KERNELS", "FetchError", "Wanted", "fetch", "obtain"]

DIRECTORY = Path(__file__).parents[3] / "build/kernels"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_STAMP = "packages"
_PART_OF_A_KERNEL = re.compile(r"linux-(?:image|binary|modules|base)-\d")


class FetchError(Exception):
    """A kernel cannot be had: which, and why."""


@dataclass(frozen=True)
class Wanted:
    """Where a kernel is.

    Attributes:
        archive: ``debian`` or ``debian-security``.
        suite: Of the archive.
        package: The metapackage.
        version: How the version must begin.
    """

    archive: str
    suite: str
    package: str
    version: str = ""


KERNELS = {
    "5.10": Wanted("debian-security", "bullseye-security", "linux-image-cloud-amd64", "5.10."),
    "6.1": Wanted("debian-security", "bookworm-security", "linux-image-cloud-amd64", "6.1."),
    "6.12": Wanted("debian-security", "bookworm-security", "linux-image-6.12-cloud-amd64", "6.12."),
    "new": Wanted("debian", "trixie-backports", "linux-image-cloud-amd64"),
}
"""What is booted, oldest first; ``new`` is the newest that Debian has for a stable release."""


def obtain(name: str) -> Kernel:
    """Return a kernel that is there already, or fetch it.

    Raises:
        FetchError: it cannot be had.
    """
    directory = DIRECTORY / name
    return Kernel.in_directory(directory) if directory.is_dir() else fetch(name)


def fetch(name: str) -> Kernel:
    """Fetch a kernel, unless its newest version is there already.

    Raises:
        FetchError: it cannot be had.
    """
    wanted = KERNELS[name]
    suite = _Suite.updated(wanted.archive, wanted.suite)
    packages = _packages(name, wanted, suite)
    target = DIRECTORY / name
    stamp = "".join(f"{package}\n" for package in packages)
    if target.is_dir() and (target / _STAMP).read_text() == stamp:
        return Kernel.in_directory(target)
    scratch = DIRECTORY / f"{name}.{os.getpid()}"
    try:
        suite.unpack(packages, scratch)
        (scratch / _STAMP).write_text(stamp)
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Kernel.in_directory(target)


def _packages(name: str, wanted: Wanted, suite: "_Suite") -> list[str]:
    """Return the packages of a kernel, each as ``NAME=VERSION``."""
    images = [part for part in suite.depends(wanted.package) if part.startswith("linux-image-")]
    if not images:
        raise FetchError(f"kernel {name}: suite {wanted.suite} has no {wanted.package}")
    image = images[0]
    found = suite.version(image)
    if not found or not found.startswith(wanted.version):
        raise FetchError(
            f"kernel {name}: suite {wanted.suite} has {found} as {image}, not {wanted.version}*"
        )
    # Since 7.0 an image is several packages.
    parts = [part for part in suite.depends(image) if _PART_OF_A_KERNEL.match(part)]
    headers = image.replace("linux-image-", "linux-headers-")
    common = [part for part in suite.depends(headers) if part.endswith("-common")]
    versions = {part: suite.version(part) for part in (image, *parts, headers, *common)}
    return [f"{part}={version}" for part, version in versions.items() if version]


class _Suite:
    """A suite of the mirror, with an apt configuration that touches nothing of the system's."""

    def __init__(self, directory: Path) -> None:
        self._environment = os.environ | {
            "APT_CONFIG": os.fspath(directory / "apt.conf"),
            "LC_ALL": "C.UTF-8",
        }

    @classmethod
    def updated(cls, archive: str, suite: str) -> Self:
        """Return the suite with its present lists."""
        directory = DIRECTORY / "apt" / suite
        for name in ("lists/partial", "cache/archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "sources.list").write_text(
            f"deb [signed-by={_KEYS}] {_mirror(archive)} {suite} main\n"
        )
        (directory / "status").touch()
        settings = {
            "Dir::Etc::sourcelist": directory / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::Lists": directory / "lists",
            "Dir::State::status": directory / "status",
            "Dir::Cache": directory / "cache",
            "Acquire::Languages": "none",
            "Acquire::Retries": 3,
            "APT::Sandbox::User": "root",
        }
        (directory / "apt.conf").write_text(
            "".join(f'{name} "{value}";\n' for name, value in settings.items())
        )
        new = cls(directory)
        new._apt("apt-get", "-q", "update")
        return new

    def _apt(self, *command: str, directory: Path | None = None) -> str:
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
            shown = self._apt("apt-cache", "show", "--no-all-versions", package)
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

    def unpack(self, packages: list[str], directory: Path) -> None:
        """Download packages and unpack them into a new directory."""
        downloads = directory / "downloads"
        downloads.mkdir(parents=True)
        self._apt("apt-get", "-q", "download", *packages, directory=downloads)
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


def main() -> int:
    """Fetch what is named, or everything; say what could not be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.kernel.guest.fetch")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(KERNELS)}")
    names = parser.parse_args().names or list(KERNELS)
    if unknown := set(names) - set(KERNELS):
        parser.error(f"no kernel is named {', '.join(sorted(unknown))}")
    failed = 0
    for name in names:
        try:
            kernel = fetch(name)
        except FetchError as error:
            failed += 1
            print(f"fetch: {error}", file=sys.stderr)
            continue
        headers = "headers" if kernel.has_headers else "no headers in the suite"
        print(f"{name}: {kernel.release}, {headers}, in {kernel.directory}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
