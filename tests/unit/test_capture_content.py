"""What frames say: each comes back as it was, and what it is not is an error."""

import msgpack
import pytest

from taskstream.batch import Batch
from taskstream.capture.content import (
    TRAILER_PAYLOAD_BYTES,
    Header,
    Index,
    Loss,
    Names,
    Stretch,
    Trailer,
    content_of,
)
from taskstream.capture.frame import MAGIC, Frame, FrameKind, FrameParser, encode_frame
from taskstream.clock import ClockPair
from taskstream.errors import CaptureError, MessageError
from taskstream.message.batch_encode import encode_batch
from taskstream.message.batch_layout import BATCH_VERSION
from taskstream.message.columns import pack
from taskstream.record import COUNTS, FIELDS, KINDS, VERSION
from tests.capturing import ABOUT, report
from tests.synthetic import ORIGIN, each_kind, known

HEADER = Header(origin=ORIGIN, about=ABOUT, clock=ClockPair(5, 1_700_000_000_000_000_005), part=3)
CONTENTS = {
    FrameKind.HEADER: HEADER,
    FrameKind.NAMES: Names(boot_ns=9, cgroups={1: "/", 2**63: "größe"}, groups={1: "web"}),
    FrameKind.LOSS: Loss(boot_ns=9, reason="full", events=7, cpus={3: {"exec": 5, "free": 1}}),
    FrameKind.INDEX: Index(
        (
            Stretch(offset=8, frames=2, events=0, first_ns=3, last_ns=4),
            Stretch(offset=2**40, frames=1, events=9, first_ns=1, last_ns=2**63),
        )
    ),
    FrameKind.TRAILER: Trailer(
        frames=9, index_offset=2**40, received=12, written={"fork": 7, "exit": 3}, dropped=2,
        reports=4,
    ),
}  # fmt: skip


def frame(kind: int, payload: bytes) -> Frame:
    (found,) = FrameParser().feed(MAGIC + encode_frame(kind, payload, file_id=1, number=0))
    assert isinstance(found, Frame)
    return found


@pytest.mark.parametrize("kind", CONTENTS, ids=lambda k: k.name)
def test_it_comes_back_as_it_was(kind):
    content = CONTENTS[kind]
    assert content_of(frame(kind, content.payload())) == content


@pytest.mark.parametrize("kind", CONTENTS, ids=lambda k: k.name)
def test_every_map_begins_with_version_and_kind(kind):
    map_ = msgpack.unpackb(CONTENTS[kind].payload(), strict_map_key=False)
    version = BATCH_VERSION if kind == FrameKind.HEADER else VERSION
    assert list(map_.items())[:2] == [("v", version), ("kind", kind.name.lower())]


@pytest.mark.parametrize("kind", CONTENTS, ids=lambda k: k.name)
def test_members_of_a_later_version_are_passed_over(kind):
    map_ = msgpack.unpackb(CONTENTS[kind].payload(), strict_map_key=False)
    assert content_of(frame(kind, pack({**map_, "later": [1]}))) == CONTENTS[kind]


@pytest.mark.parametrize("kind", [*CONTENTS, FrameKind.REPORT], ids=lambda k: k.name)
@pytest.mark.parametrize("payload", [b"", b"\xc1", pack([1]), pack({"v": 1}), pack({"v": "1"})])
def test_what_its_kind_says_it_is_not_is_an_error(kind, payload):
    with pytest.raises((CaptureError, MessageError)):
        content_of(frame(kind, payload))


@pytest.mark.parametrize(
    ("kind", "newest"),
    [
        (FrameKind.NAMES, VERSION),
        (FrameKind.HEADER, BATCH_VERSION),
        (FrameKind.BATCH, BATCH_VERSION),
    ],
    ids=lambda p: getattr(p, "name", p),
)
def test_a_newer_schema_version_is_refused_with_both_numbers(kind, newest):
    payload = pack({"v": newest + 4, "kind": kind.name.lower()})
    with pytest.raises(MessageError, match=f"version {newest + 4}; .* up to {newest}"):
        content_of(frame(kind, payload))


def test_a_kind_of_a_later_version_is_passed_over():
    assert content_of(frame(200, b"whatever")) is None


def test_batches_and_reports_are_the_messages_of_the_topic():
    (value,) = encode_batch(each_kind()).values
    found = content_of(frame(FrameKind.BATCH, value))
    assert isinstance(found, Batch)
    assert known(found) == known(each_kind())
    assert content_of(frame(FrameKind.REPORT, pack(report(3).to_map()))) == report(3)


def test_the_header_has_the_field_table():
    map_ = msgpack.unpackb(HEADER.payload())
    assert map_["kinds"] == KINDS
    assert map_["counts"] == [count.name for count in COUNTS]
    assert {f["name"] for f in map_["fields"]} == {f.wire for f in FIELDS if f.wire}
    assert map_["clock"] == {"boot_ns": 5, "wall_ns": 1_700_000_000_000_000_005}


def test_a_trailer_has_one_length_whatever_it_says():
    small = Trailer(frames=0, index_offset=0, received=0, written={}, dropped=0, reports=0)
    high = 2**64 - 1
    written = dict.fromkeys(KINDS, high)
    large = Trailer(
        frames=high, index_offset=high, received=high, written=written, dropped=high, reports=high
    )
    lengths = {len(t.payload()) for t in (small, large, CONTENTS[FrameKind.TRAILER])}
    assert lengths == {TRAILER_PAYLOAD_BYTES}
    assert content_of(frame(FrameKind.TRAILER, large.payload())) == large
