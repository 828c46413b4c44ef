"""What the verbs that write captures say of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskstream.sink.capture import CaptureSink

__all__ = ["Trouble", "capture_line"]


def capture_line(sink: "CaptureSink") -> str:
    """Return the closing line of a capture; its numbers add up."""
    account, files = sink.account, sink.files
    text = f"received {account.received:,} = written {account.delivered:,}"
    text += f" + dropped {account.dropped:,}; {files.size_bytes:,} bytes"
    if files.files > 1:
        text += f" in {files.files:,} files"
        text += f", of which {files.deleted:,} were deleted for room" if files.deleted else ""
    if sink.lost_reports:
        text += f"; {sink.lost_reports:,} report{'s' * (sink.lost_reports > 1)} found no room"
    return text


class Trouble:
    """Tells of a disk that takes nothing, and of its return, once each."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._told = ""

    def tell(self, sink: "CaptureSink") -> None:
        """Say what is new."""
        if sink.trouble == self._told:
            return
        self._told = sink.trouble
        if sink.trouble:
            self._say(f"{sink.trouble}: events are dropped, and counted")
        else:
            self._say("the capture is written again")
