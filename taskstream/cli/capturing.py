"""What the verbs that write captures share: options, and what they say at the end."""

from collections.abc import Callable
from pathlib import Path

from taskstream import clock
from taskstream.batch import Origin
from taskstream.capture.content import Names
from taskstream.capture.rotation import CaptureFiles, Rotation, own_about
from taskstream.config.config import Config
from taskstream.sink.capture import CaptureSink
from taskstream.source import cgroup_tree

__all__ = ["Trouble", "capture_line", "open_capture"]


def open_capture(path: Path, config: Config, origin: Origin, *, replace: bool) -> CaptureSink:
    """Begin a capture of a run.

    Raises:
        CaptureError: the file cannot be made.
    """
    rotation = Rotation(
        file_bytes=config.capture_file_bytes,
        file_s=config.capture_file_s,
        total_bytes=config.capture_total_bytes,
    )
    about = own_about(config.update_every_s * 10**9, failures_watched=config.load_mode == "return")
    files = CaptureFiles(path, origin, about, rotation, clocks=clock.read_pair, replace=replace)
    sink = CaptureSink(files, flush_ms=config.capture_flush_ms)
    existing = dict(cgroup_tree.scan(cgroup_tree.mounted()))
    if existing:
        sink.names(Names(boot_ns=clock.boot_ns(), cgroups=existing))
    return sink


def capture_line(sink: CaptureSink) -> str:
    """Return the closing line of a capture; its numbers add up."""
    account, files = sink.account, sink.files
    text = f"received {account.received:,} = written {account.delivered:,}"
    text += f" + dropped {account.dropped:,}; {files.size_bytes:,} bytes"
    if files.files > 1:
        text += f" in {files.files:,} files"
        text += f", of which {files.deleted:,} were deleted for room" if files.deleted else ""
    return text


class Trouble:
    """Tells of a disk that takes nothing, and of its return, once each."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told = ""

    def tell(self, sink: CaptureSink) -> None:
        """Say what is new."""
        if sink.trouble == self._told:
            return
        self._told = sink.trouble
        if sink.trouble:
            self._say(f"{sink.trouble}: events are dropped, and counted")
        else:
            self._say("the capture is written again")
