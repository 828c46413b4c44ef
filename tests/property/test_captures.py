"""Captures of whatever, cut and damaged wherever: what is whole is read, what is not is told."""

import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskstream.batch import Batch
from taskstream.capture.content import content_of
from taskstream.capture.frame import MAGIC, Damage, Frame, FrameKind, FrameParser, encode_frame
from taskstream.errors import CaptureError, MessageError
from tests.capturing import a_capture, sample
from tests.property.strategy import batches, chunks
from tests.synthetic import known


@cache
def blob() -> bytes:
    """Return a capture with a frame of every kind."""
    with tempfile.TemporaryDirectory() as folder:
        return a_capture(Path(folder, "a.tsc"), sample()).read_bytes()


@cache
def whole() -> list[Frame]:
    """Return its frames."""
    return [item for item in parse(blob()) if isinstance(item, Frame)]


def parse(*portions: bytes) -> list[Frame | Damage]:
    parser = FrameParser()
    found: list[Frame | Damage] = []
    for portion in portions:
        found += parser.feed(portion)
    return [*found, *parser.finish()]


def said(frames: list[Frame]) -> list[tuple[int, bytes]]:
    return [(frame.number, frame.payload()) for frame in frames]


def assert_covered(items: list[Frame | Damage], length: int) -> None:
    """Assert that frames and damage are all that a file is made of."""
    at = items[0].offset
    assert at in (0, len(MAGIC))
    for item in items:
        assert item.offset == at
        at += item.size_bytes
    assert at == length


size = st.integers(min_value=0, max_value=len(blob()) - 1)


@given(size)
@example(len(blob()) - 1)
@example(9)
@example(1)
def test_a_capture_cut_anywhere_keeps_its_whole_frames(cut):
    data = blob()[:cut]
    if not cut:
        with pytest.raises(CaptureError, match="it is empty"):
            parse(data)
        return
    items = parse(data)
    frames = [item for item in items if isinstance(item, Frame)]
    expected = [f for f in whole() if f.offset + f.size_bytes <= cut]
    assert said(frames) == said(expected)
    damages = [item for item in items if isinstance(item, Damage)]
    end = expected[-1].offset + expected[-1].size_bytes if expected else len(MAGIC)
    if cut in (end, len(MAGIC)):
        assert not damages
    else:
        (damage,) = damages
        assert damage.cut
        assert damage.offset + damage.size_bytes == cut
    if items:
        assert_covered(items, cut)


@given(size, st.integers(1, 255))
def test_a_byte_damaged_anywhere_costs_one_frame_at_most(at, change):
    data = bytearray(blob())
    data[at] ^= change
    items = parse(bytes(data))
    frames = [item for item in items if isinstance(item, Frame)]
    spared = [f for f in whole() if not f.offset <= at < f.offset + f.size_bytes]
    assert said(frames) == said(spared)
    (damage,) = (item for item in items if isinstance(item, Damage))
    assert damage.offset <= at < damage.offset + damage.size_bytes
    assert_covered(items, len(data))


@given(st.lists(st.tuples(size, st.integers(0, 255)), max_size=20), chunks(st.just(blob())))
def test_damage_anywhere_is_the_same_in_whatever_portions(changes, portions):
    data = bytearray(blob())
    for at, value in changes:
        data[at] = value
    _, parts = portions
    split, at = [], 0
    for part in parts:
        split.append(bytes(data[at : at + len(part)]))
        at += len(part)
    try:
        expected = parse(bytes(data))
    except CaptureError:  # the magic and the first frame are both damaged
        with pytest.raises(CaptureError, match="not a capture file"):
            parse(*split)
        return
    assert parse(*split) == expected
    undamaged = {f.number for f in whole() if blob()[f.offset : f.offset + f.size_bytes]
                 == data[f.offset : f.offset + f.size_bytes]}  # fmt: skip
    assert {item.number for item in expected if isinstance(item, Frame)} == undamaged
    assert_covered(expected, len(data))


@given(size, st.integers(1, 400))
def test_bytes_taken_out_cost_only_the_frames_that_they_were_of(at, length):
    data = blob()[:at] + blob()[at + length :]
    try:
        items = parse(data)
    except CaptureError:
        assert at < whole()[1].offset
        return
    spared = [
        f for f in whole() if f.offset + f.size_bytes <= at or f.offset >= at + length
    ]  # fmt: skip
    assert said([item for item in items if isinstance(item, Frame)]) == said(spared)


@given(size, st.binary(min_size=1, max_size=300))
def test_bytes_put_in_cost_only_the_frame_that_they_are_in(at, more):
    if at < whole()[1].offset:
        at += whole()[1].offset
    data = blob()[:at] + more + blob()[at:]
    spared = []
    for frame in whole():
        own = blob()[frame.offset : frame.offset + frame.size_bytes]
        behind = frame.offset + len(more)  # zeros put into zeros change nothing
        if own in (data[frame.offset :][: len(own)], data[behind:][: len(own)]):
            spared.append(frame)
    assert len(spared) >= len(whole()) - 1
    assert said([item for item in parse(data) if isinstance(item, Frame)]) == said(spared)


@given(st.binary(max_size=600).filter(lambda data: not data.startswith(MAGIC)))
def test_any_bytes_are_no_capture_and_no_crash(data):
    with pytest.raises(CaptureError):
        parse(b"!" + data)


@given(st.binary(max_size=600))
def test_any_bytes_behind_the_magic_are_damage_and_no_crash(data):
    items = parse(MAGIC + data)
    assert sum(item.size_bytes for item in items) == len(data)


@given(st.sampled_from(FrameKind), st.binary(max_size=300))
def test_any_payload_is_refused_or_read_and_no_crash(kind, payload):
    (frame,) = FrameParser().feed(MAGIC + encode_frame(kind, payload, file_id=0, number=0))
    assert isinstance(frame, Frame)
    with suppress(CaptureError, MessageError):
        content_of(frame)


@given(st.lists(batches(most=5), min_size=1, max_size=3))
def test_any_batches_come_back_as_they_were(given_batches):
    origin = given_batches[0].origin
    some = [Batch(origin, b.records, b.wall_offset_ns, b.texts) for b in given_batches]
    with tempfile.TemporaryDirectory() as folder:
        data = a_capture(Path(folder, "a.tsc"), some).read_bytes()
    found = [content_of(item) for item in parse(data) if isinstance(item, Frame)]
    told = [event for one in found if isinstance(one, Batch) for event in known(one)]
    expected = [event for one in some for event in known(one)]
    assert sorted(map(repr, told)) == sorted(map(repr, expected))
