"""Fetches Debian kernels with apt and unpacks them: image, modules and headers.

Run as ``python -m tests.kernel.guest.fetch [NAME ...]``. Each kernel lands in build/kernels/NAME;
nothing is installed. The security and backports suites drop old versions, so what to fetch is
resolved from the suite's metapackage every time.
"""

import argparse
import os
import re
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.guest.apt import Apt, FetchError
from tests.kernel.guest.kernel import Kernel

__all__ = ["KERNELS", "FetchError", "Wanted", "fetch", "obtain", "unpacked"]

DIRECTORY = Path(__file__).parents[3] / "build/kernels"
_STAMP = "packages"
_fetching = threading.Lock()
_PART_OF_A_KERNEL = re.compile(r"linux-(?:image|binary|modules|base)-\d")


@dataclass(frozen=True)
class Wanted:
    """Where a kernel is.

    Attributes:
        archive: ``debian`` or ``debian-security``.
        suite: Of the archive.
        package: The metapackage.
        version: How the version must begin.
        architecture: As Debian names it.
    """

    archive: str
    suite: str
    package: str
    version: str = ""
    architecture: str = "amd64"


KERNELS = {
    "5.10": Wanted("debian-security", "bullseye-security", "linux-image-cloud-amd64", "5.10."),
    "6.1": Wanted("debian-security", "bookworm-security", "linux-image-cloud-amd64", "6.1."),
    "6.12": Wanted("debian-security", "bookworm-security", "linux-image-6.12-cloud-amd64", "6.12."),
    "new": Wanted("debian", "trixie-backports", "linux-image-cloud-amd64"),
    "arm64": Wanted(
        "debian-security", "bookworm-security", "linux-image-6.12-cloud-arm64", "6.12.", "arm64"
    ),
}
"""What is booted, oldest first; ``new`` is the newest that Debian has for its stable release."""


def obtain(name: str) -> Kernel:
    """Return a kernel that is there already, or fetch it; one thread at a time.

    Raises:
        FetchError: it cannot be had.
    """
    directory = DIRECTORY / name
    with _fetching:
        return Kernel.in_directory(directory) if directory.is_dir() else fetch(name)


def fetch(name: str) -> Kernel:
    """Fetch a kernel, unless its newest version is there already.

    Raises:
        FetchError: it cannot be had.
    """
    wanted = KERNELS[name]
    apt = Apt(
        DIRECTORY / f"apt/{wanted.suite}-{wanted.architecture}",
        [(wanted.archive, wanted.suite)],
        wanted.architecture,
    )
    return Kernel.in_directory(unpacked(name, _packages(name, wanted, apt), apt))


def unpacked(name: str, packages: Sequence[str], apt: Apt) -> Path:
    """Return the directory with these packages, unpacked unless they are there already."""
    target = DIRECTORY / name
    stamp = "".join(f"{package}\n" for package in packages)
    if target.is_dir() and (target / _STAMP).read_text() == stamp:
        return target
    scratch = DIRECTORY / f"{name}.{os.getpid()}"
    try:
        apt.unpack(packages, scratch)
        (scratch / _STAMP).write_text(stamp)
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _packages(name: str, wanted: Wanted, apt: Apt) -> list[str]:
    """Return the packages of a kernel, each as ``NAME=VERSION``."""
    images = [part for part in apt.depends(wanted.package) if part.startswith("linux-image-")]
    if not images:
        raise FetchError(f"kernel {name}: suite {wanted.suite} has no {wanted.package}")
    image = images[0]
    found = apt.version(image)
    if not found or not found.startswith(wanted.version):
        raise FetchError(
            f"kernel {name}: suite {wanted.suite} has {found} as {image}, not {wanted.version}*"
        )
    # Since 7.0 an image is several packages.
    parts = [part for part in apt.depends(image) if _PART_OF_A_KERNEL.match(part)]
    headers = image.replace("linux-image-", "linux-headers-")
    common = [part for part in apt.depends(headers) if part.endswith("-common")]
    versions = {part: apt.version(part) for part in (image, *parts, headers, *common)}
    return [f"{part}={version}" for part, version in versions.items() if version]


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
