"""A control group that gives its processes a fixed share of a core, and no more.

Rim: touches the cpu controller of cgroup v1 or v2, whichever is mounted; needs root.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Self

__all__ = ["Quota"]

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


class Quota:
    """A control group, until it is closed; its processes must have ended by then.

    Args:
        name: Of the group.
        share: Of one core.

    Raises:
        RuntimeError: there is no cpu controller, or it may not be used.
    """

    def __init__(self, name: str, share: float) -> None:
        quota_us = int(share * _PERIOD_US)
        v1 = _ROOT / "cpu"
        self._folder = (v1 if v1.is_dir() else _ROOT) / name
        try:
            if not v1.is_dir():
                (_ROOT / "cgroup.subtree_control").write_text("+cpu")
            self._folder.mkdir()
            if v1.is_dir():
                (self._folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
                (self._folder / "cpu.cfs_quota_us").write_text(str(quota_us))
            else:
                (self._folder / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        except OSError as error:
            raise RuntimeError(f"no share of a core can be set: {error}") from None

    def add(self, pid: int) -> None:
        """Put a process in, with all of its threads."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for _ in range(100):
            with suppress(OSError):  # until the kernel has let its last process go
                self._folder.rmdir()
                return
            time.sleep(0.05)
