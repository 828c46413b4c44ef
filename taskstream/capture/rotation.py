"""A row of capture files: a new one when the last is long or old enough, the oldest deleted.

Rim: touches a folder, through ``writer``. Without a bound there is one file, of the very name
that was given; with one there are ``NAME.000001.EXT``, ``NAME.000002.EXT``, ..., each of which
can be read alone.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from taskstream.batch import Origin
from taskstream.capture.content import About, Header, Names
from taskstream.capture.frame import FrameKind
from taskstream.capture.writer import CaptureWriter
from taskstream.clock import ClockPair
from taskstream.errors import CaptureError

__all__ = ["CaptureFiles", "Rotation", "own_about", "part_path", "parts_of"]

MOST_NAMES = 16_384
"""Of those that every later file begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """When to begin a new file, and how many to keep; 0 is for no bound.

    Attributes:
        file_bytes: A file that is longer is closed.
        file_s: So is one that is older.
        total_bytes: While all files together are longer, the oldest is deleted.
    """

    file_bytes: int = 0
    file_s: int = 0
    total_bytes: int = 0

    @property
    def wanted(self) -> bool:
        """Tell whether there may be more than one file."""
        return bool(self.file_bytes or self.file_s)


def part_path(path: Path, part: int) -> Path:
    """Return the name of one file of a row."""
    return path.with_name(f"{path.stem}.{part:06}{path.suffix}")


def parts_of(path: Path) -> list[tuple[int, Path]]:
    """Find the files of a row, in order: number and path of each."""
    pattern = re.compile(rf"{re.escape(path.stem)}\.(\d{{6,}}){re.escape(path.suffix)}")
    found = []
    for entry in path.parent.iterdir() if path.parent.is_dir() else ():
        match = pattern.fullmatch(entry.name)
        if match and entry.is_file():
            found.append((int(match[1]), entry))
    return sorted(found)


class CaptureFiles:
    """Appends frames to the file that is due.

    Args:
        path: The file, or what the names of a row are made of.
        origin: The run.
        about: For the headers.
        rotation: Bounds.
        clocks: Reads both clocks.
        replace: Write over a file that is there (one file only).

    Attributes:
        writer: The file under way.
        deleted: Files of the row that were deleted for the bound.

    Raises:
        CaptureError: a file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        origin: Origin,
        about: About,
        rotation: Rotation,
        *,
        clocks: Callable[[], ClockPair],
        replace: bool = False,
    ) -> None:
        self._path, self._origin, self._about = path, origin, about
        self._rotation, self._clocks = rotation, clocks
        self._names: Names | None = None
        self._new_names: Names | None = None
        self.deleted = 0
        self._part = 1
        self._closed_bytes = self._closed_files = 0
        target = path
        if rotation.wanted:
            parts = parts_of(path)
            self._part = parts[-1][0] + 1 if parts else 1
            target = part_path(path, self._part)
        self._begun_ns = 0
        try:
            self.writer = self._open(target, self._part, replace=replace and not rotation.wanted)
        except FileExistsError:
            raise CaptureError(
                f"{target} is there already: "
                + ("--force writes it anew" if target.is_file() else "it is no file, and stays")
            ) from None
        except OSError as error:
            raise CaptureError(f"{target} cannot be made: {error.strerror}") from None

    def _open(self, path: Path, part: int, *, replace: bool) -> CaptureWriter:
        pair = self._clocks()
        header = Header(origin=self._origin, about=self._about, clock=pair, part=part)
        writer = CaptureWriter(path, header, replace=replace)
        self._begun_ns = pair.boot_ns
        return writer

    @property
    def size_bytes(self) -> int:
        """Length of all files that were written, deleted ones included."""
        return self._closed_bytes + self.writer.size_bytes

    @property
    def files(self) -> int:
        """How many files were written, deleted ones included."""
        return self._closed_files + 1

    def append(
        self,
        kind: FrameKind,
        payload: bytes,
        *,
        first_ns: int,
        last_ns: int,
        events: Mapping[str, int] | None = None,
    ) -> None:
        """Append a frame, as `CaptureWriter.append` does, behind the names that appeared.

        First begin a new file if it is time.

        Raises:
            OSError: it could not be written, or no new file could be begun.
        """
        if self._due(last_ns):
            self._rotate()
        self._write_names()
        self.writer.append(kind, payload, first_ns=first_ns, last_ns=last_ns, events=events)

    def names(self, names: Names) -> None:
        """Take names that appeared: they are written before the next frame.

        Those that find no room wait for the next one that finds some; every later file of the
        row begins with the last of all.
        """
        self._names = _joined(self._names, names)
        self._new_names = _joined(self._new_names, names)

    def _write_names(self) -> None:
        if self._new_names is not None:
            self.writer.names(self._new_names)
            self._new_names = None

    def _due(self, now_ns: int) -> bool:
        rotation, writer = self._rotation, self.writer
        if not writer.frames > 1:  # nothing but the header: stay
            return False
        long = 0 < rotation.file_bytes <= writer.size_bytes
        old = 0 < rotation.file_s * 10**9 <= now_ns - self._begun_ns
        return long or old

    def _rotate(self) -> None:
        before, part = self.writer, self._part + 1
        self.writer = self._open(part_path(self._path, part), part, replace=False)
        self._part = part
        self._new_names = self._names
        try:
            before.close()
        finally:
            self._closed_bytes += before.size_bytes
            self._closed_files += 1
            self._delete_oldest()

    def _delete_oldest(self) -> None:
        if not self._rotation.total_bytes:
            return
        sizes = [(path, path.stat().st_size) for _, path in parts_of(self._path)]
        total = sum(size for _, size in sizes)
        for path, size in sizes:
            if total <= self._rotation.total_bytes or path == self.writer.path:
                return
            path.unlink(missing_ok=True)
            total -= size
            self.deleted += 1

    def close(self) -> None:
        """Close the last file.

        Raises:
            OSError: there is no room for its end.
        """
        self._write_names()
        self.writer.close()
        self._delete_oldest()

    def abandon(self) -> None:
        """Close the last file as it is."""
        self.writer.abandon()


def _joined(before: Names | None, names: Names) -> Names:
    if before is None:
        return names
    return replace(
        names,
        cgroups=_last({**before.cgroups, **names.cgroups}),
        groups=_last({**before.groups, **names.groups}),
    )


def _last(names: dict[int, str]) -> dict[int, str]:
    """Return the names that came last: a host may make cgroups for ever."""
    return dict(list(names.items())[-MOST_NAMES:])


def own_about(window_ns: int, *, failures_watched: bool) -> About:
    """Say what a capture made here says of this machine."""
    system = os.uname()
    return About(
        kernel=system.release,
        machine=system.machine,
        window_ns=window_ns,
        failures_watched=failures_watched,
    )
