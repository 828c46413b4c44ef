"""Frames: what is whole is found, whatever is around it; what is not is told."""

import struct
import zlib

import pytest
import zstandard

from taskstream.capture.frame import (
    FORMAT,
    HEAD_BYTES,
    MAGIC,
    MOST_PAYLOAD_BYTES,
    Damage,
    Frame,
    FrameKind,
    FrameParser,
    encode_frame,
)
from taskstream.errors import CaptureError
from tests.plain_capture import frames_of

COMPRESSOR = zstandard.ZstdCompressor()


def frame(number: int, payload: bytes = b"payload", *, file_id: int = 7) -> bytes:
    return encode_frame(
        FrameKind.BATCH,
        payload,
        file_id=file_id,
        number=number,
        events=number + 1,
        first_ns=10 * number,
        last_ns=10 * number + 9,
    )


def parse(data: bytes, *, portion: int = 1 << 20) -> list[Frame | Damage]:
    parser = FrameParser()
    found = []
    for at in range(0, len(data), portion):
        found += parser.feed(data[at : at + portion])
    return [*found, *parser.finish()]


def numbers(items: list[Frame | Damage]) -> list[int]:
    return [item.number for item in items if isinstance(item, Frame)]


def damages(items: list[Frame | Damage]) -> list[tuple[int, int, bool]]:
    return [(i.offset, i.size_bytes, i.cut) for i in items if isinstance(i, Damage)]


FILE = MAGIC + frame(0) + frame(1) + frame(2)
LENGTH = len(frame(0))


def test_frames_come_out_as_they_went_in():
    items = parse(FILE)
    assert [(i.number, i.events, i.first_ns, i.last_ns, i.payload()) for i in items] == [
        (n, n + 1, 10 * n, 10 * n + 9, b"payload") for n in range(3)
    ]
    assert [i.offset for i in items] == [8, 8 + LENGTH, 8 + 2 * LENGTH]
    assert {i.size_bytes for i in items} == {LENGTH}


def test_a_reader_written_from_the_specification_reads_the_same():
    long = encode_frame(3, b"x" * 5000, file_id=7, number=3, compressor=COMPRESSOR)
    ours, theirs = parse(FILE + long), frames_of(FILE + long)
    assert [f.payload() for f in ours] == [f.payload for f in theirs]
    assert [(f.offset, f.number, f.events) for f in ours] == [
        (f.offset, f.number, f.events) for f in theirs
    ]


@pytest.mark.parametrize("portion", [1, 3, 55, 56, 57, 64])
def test_the_portions_in_which_bytes_come_do_not_matter(portion):
    spoilt = FILE[: 8 + LENGTH + 60] + b"?" + FILE[8 + LENGTH + 61 :] + FILE[:30]
    assert parse(spoilt, portion=portion) == parse(spoilt)


def test_a_payload_is_compressed_only_where_that_makes_it_shorter():
    short = encode_frame(3, b"short", file_id=1, number=0, compressor=COMPRESSOR)
    random = bytes(zlib.crc32(bytes([n])) & 0xFF for n in range(256))
    dense = encode_frame(3, random, file_id=1, number=0, compressor=COMPRESSOR)
    long = encode_frame(3, b"long" * 1000, file_id=1, number=0, compressor=COMPRESSOR)
    assert short.endswith(b"short")
    assert len(dense) <= HEAD_BYTES + 256
    assert len(long) < 200
    (found,) = parse(MAGIC + long)
    assert found.payload() == b"long" * 1000


# --- damage --------------------------------------------------------------------------------------


def test_a_frame_whose_payload_is_damaged_is_skipped_and_told():
    at = 8 + LENGTH + HEAD_BYTES
    items = parse(FILE[:at] + b"P" + FILE[at + 1 :])
    assert numbers(items) == [0, 2]
    assert damages(items) == [(8 + LENGTH, LENGTH, False)]
    assert "checksum mismatch" in [i.reason for i in items if isinstance(i, Damage)]


def test_two_damaged_frames_in_a_row_are_one_stretch():
    spoilt = bytearray(FILE)
    spoilt[8 + 5] ^= 1
    spoilt[8 + LENGTH + 5] ^= 1
    items = parse(bytes(spoilt))
    assert numbers(items) == [2]
    assert damages(items) == [(8, 2 * LENGTH, False)]


def test_bytes_taken_out_of_the_middle_cost_only_their_frames():
    items = parse(FILE[: 8 + LENGTH + 20] + FILE[8 + LENGTH + 30 :])
    assert numbers(items) == [0, 2]


def test_the_end_of_one_frame_missing_does_not_cost_the_next():
    """The head says more bytes than there are before the next frame, also the last one."""
    items = parse(FILE[: 8 + LENGTH - 3] + frame(1))
    assert numbers(items) == [1]
    assert damages(items) == [(8, LENGTH - 3, False)]
    last = parse(MAGIC + frame(0, b"x" * 4000)[:200] + frame(1))
    assert numbers(last) == [1]


def test_a_frame_of_another_file_is_not_one_of_this():
    items = parse(MAGIC + frame(0) + frame(1, file_id=8) + frame(2))
    assert numbers(items) == [0, 2]
    assert "another file" in next(i.reason for i in items if isinstance(i, Damage))


def test_a_file_that_ends_within_a_frame_is_cut():
    items = parse(FILE[:-1])
    assert numbers(items) == [0, 1]
    assert damages(items) == [(8 + 2 * LENGTH, LENGTH - 1, True)]


def test_a_file_that_ends_within_its_magic_is_cut():
    assert damages(parse(MAGIC[:5])) == [(0, 5, True)]
    assert damages(parse(MAGIC + b"\xf7T")) == [(8, 2, True)]
    assert parse(MAGIC) == []


def test_a_damaged_magic_does_not_cost_the_frames():
    items = parse(b"?" + FILE[1:])
    assert numbers(items) == [0, 1, 2]
    assert damages(items) == [(0, 8, False)]


def test_zeros_at_the_end_as_a_crash_leaves_them_are_damage():
    items = parse(FILE + bytes(5000))
    assert numbers(items) == [0, 1, 2]
    assert damages(items) == [(len(FILE), 5000, False)]


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"{}" * 100, bytes(200)])
def test_what_is_no_capture_is_refused(data):
    with pytest.raises(CaptureError, match="not a capture file"):
        parse(data)


def test_a_newer_format_is_refused_with_both_numbers():
    head = bytearray(frame(0)[: HEAD_BYTES - 4])
    head[8:10] = struct.pack("<H", FORMAT + 6)
    newer = bytes(head) + struct.pack("<I", zlib.crc32(bytes(head))) + b"payload"
    with pytest.raises(CaptureError, match=f"format {FORMAT + 6}; .* up to {FORMAT}"):
        parse(MAGIC + newer)


def test_a_payload_that_says_it_is_long_asks_for_no_memory():
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    honest = encode_frame(3, bomb, file_id=7, number=0)
    head = bytearray(honest[: HEAD_BYTES - 4])
    head[11] = 1  # zstd, and the head says that it unpacks to as many bytes as are stored
    spoilt = bytes(head) + struct.pack("<I", zlib.crc32(bytes(head))) + bomb
    (found,) = parse(MAGIC + spoilt)
    with pytest.raises(CaptureError, match="frame at byte 8 says"):
        found.payload()


def test_a_head_that_asks_for_too_much_is_damage():
    head = bytearray(frame(0)[: HEAD_BYTES - 4])
    head[12:16] = struct.pack("<I", MOST_PAYLOAD_BYTES + 1)
    spoilt = bytes(head) + struct.pack("<I", zlib.crc32(bytes(head)))
    assert numbers(parse(MAGIC + spoilt + frame(1))) == [1]


def test_a_payload_that_is_too_long_is_not_written():
    with pytest.raises(ValueError, match="at most"):
        encode_frame(3, bytes(MOST_PAYLOAD_BYTES + 1), file_id=0, number=0)
