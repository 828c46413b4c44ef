"""What is fuzzed, and what must hold: no exception but ours, and no byte unaccounted for.

These run in the fuzzer and, over the corpus, as plain tests.
"""

from collections.abc import Callable
from contextlib import suppress

from taskstream.capture.content import content_of
from taskstream.capture.frame import MAGIC, Damage, Frame, FrameKind, FrameParser, encode_frame
from taskstream.errors import CaptureError, MessageError
from taskstream.message.decode import MessageDecoder
from taskstream.source import args_record
from taskstream.source.perf_buffer import fixed_records, samples
from taskstream.source.ring import FixedRing, VariableRing
from tests.plain import map_of
from tests.ring_bytes import ring_of

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
    for decoder in (MessageDecoder(), MessageDecoder(args=False)):
        for _ in range(2):  # the second time a shape that was learnt is used
            decoded = decoder.decode([data, data])
            events = sum(map(len, decoded.batches))
            if decoded.rejected:
                assert [position for position, _ in decoded.rejected] == [0, 1]
                assert (decoded.batches, decoded.reports) == ([], []), "given back, and taken"
            elif decoded.reports:
                assert (len(decoded.reports), decoded.batches) == (2, [])
            else:
                assert events == 2 * _events_in(data), "not as many events as the message has"


def _events_in(data: bytes) -> int:
    """Return how many events a message has that is one; a batch may have none."""
    message = map_of(data)
    if message["kind"] != "batch":
        return 1
    groups = message["groups"]
    return sum(len(group["rows"]) if message["v"] == 1 else group["count"] for group in groups)


_RING_BYTES = 4096


def _ring(data: bytes) -> None:
    """Read bytes as what waits in a ring, of records of one size and of records of any.

    The first byte says the size, the next two where in the ring they begin.
    """
    if len(data) < 3:
        return
    size = 8 * (data[0] % 25 + 1)
    position = 8 * int.from_bytes(data[1:3], "little")
    content = data[3 : 3 + (_RING_BYTES & ~7)]
    content = content[: len(content) & ~7]
    with ring_of(content, position=position) as descriptor:
        ring = VariableRing(descriptor, _RING_BYTES)
        variable = list(ring.read())
        left, invalid = ring.waiting_bytes, ring.invalid
        ring.close()
    with ring_of(content, position=position) as descriptor:
        ring = FixedRing(descriptor, _RING_BYTES, size)
        fixed = list(map(bytes, ring.read()))
        assert ring.waiting_bytes == left, "the two ways to read do not agree on what is ready"
        found = ring.invalid
        ring.close()
    fitting = [one for one in variable if len(one) == size]
    assert fixed == fitting, "a record was read askew"
    assert found == invalid + len(variable) - len(fitting), "what is not valid is not counted"
    assert 0 <= left <= len(content)
    assert invalid <= 1
    for one in variable:
        _args(one)


def _perf(data: bytes) -> None:
    """Read bytes as what a perf buffer holds; the first byte says the size of a record."""
    if not data:
        return
    size, region = 8 * (data[0] % 25 + 1), data[1:]
    places, lost, invalid = samples(region)
    end = 0
    for at, length in places:
        assert at >= end + 12, "samples lie in one another"
        end = at + length
        assert end <= len(region), "a sample leads past the end"
        _args(region[at:end])
    records, lost_too, invalid_too = fixed_records(region, size)
    fitting = [region[at : at + size] for at, length in places if 0 <= length - size < 8]
    assert list(map(bytes, records)) == fitting, "a record was read askew"
    assert (lost_too, invalid_too) == (lost, invalid + len(places) - len(fitting))


def _args(data: bytes) -> None:
    """Read bytes as a record of the second ring."""
    said = args_record.parse(data)
    if isinstance(said, args_record.ArgsRecord):
        assert data[16:].startswith(b"".join(said.text)), "texts that were not written"
    elif said is not None:
        assert data[16:].startswith(said.path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": _frames,
    "payload": _payload,
    "message": _message,
    "ring": _ring,
    "perf": _perf,
    "args": _args,
}
