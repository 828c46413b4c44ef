"""What is fuzzed, and what must hold: no exception but ours, and no byte unaccounted for.

These run in the fuzzer and, over the corpus, as plain tests.
"""

from collections.abc import Callable
from contextlib import suppress

from taskstream.capture.content import content_of
from taskstream.capture.frame import MAGIC, Damage, Frame, FrameKind, FrameParser, encode_frame
from taskstream.decode import MessageDecoder
from taskstream.errors import CaptureError, MessageError

__all__ = ["TARGETS"]


def _parse(data: bytes, portion: int) -> list[Frame | Damage]:
    parser = FrameParser()
    found: list[Frame | Damage] = []
    for at in range(0, len(data), portion):
        found += parser.feed(data[at : at + portion])
    return [*found, *parser.finish()]


def _frames(data: bytes) -> None:
    """Parse bytes as a capture file, in two portionings; decode what its frames say."""
    try:
        items = _parse(data, 1 << 20)
    except CaptureError:
        return
    assert _parse(data, 61) == items
    at = items[0].offset if items else len(data)
    for item in items:
        assert item.offset == at, "bytes that are neither frame nor damage"
        at += item.size_bytes
        if isinstance(item, Frame):
            with suppress(CaptureError, MessageError):
                content_of(item)
    assert at == len(data)


def _payload(data: bytes) -> None:
    """Decode bytes as the payload of a frame, of the kind that the first byte says."""
    kind = FrameKind(data[0] % len(FrameKind) + 1) if data else FrameKind.BATCH
    (frame,) = FrameParser().feed(MAGIC + encode_frame(kind, data[1:], file_id=1, number=0))
    assert isinstance(frame, Frame)
    with suppress(CaptureError, MessageError):
        content_of(frame)


def _message(data: bytes) -> None:
    """Decode bytes as a message of a topic: it is one or is given back with the reason."""
    decoder = MessageDecoder()
    for _ in range(2):  # the second time a shape that was learnt is used
        decoded = decoder.decode([data, data])
        events = sum(map(len, decoded.batches))
        assert events or decoded.reports or decoded.rejected or _is_empty_batch(data)


def _is_empty_batch(data: bytes) -> bool:
    return b"batch" in data


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": _frames,
    "payload": _payload,
    "message": _message,
}
