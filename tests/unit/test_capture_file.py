"""A capture file written and read: what is in it, what its end says, who may read it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taskstream.batch import Batch
from taskstream.capture import writer
from taskstream.capture.content import Header, Index, Names, Trailer, content_of
from taskstream.capture.frame import Damage, Frame, FrameKind
from taskstream.capture.reader import CaptureFile
from taskstream.capture.writer import CaptureWriter
from taskstream.clock import ClockPair
from taskstream.errors import CaptureError
from taskstream.message.batch_encode import encode_batch
from taskstream.report import Report
from tests.capturing import ABOUT, a_capture, report, sample
from tests.plain import events_of
from tests.plain_capture import frames_of
from tests.synthetic import ORIGIN, known, lives

HEADER = Header(origin=ORIGIN, about=ABOUT, clock=ClockPair(ORIGIN.run_ns, 10**18))


def items_of(path: Path, from_ns: int | None = None) -> list[Frame | Damage]:
    with CaptureFile(path) as file:
        return list(file.items(from_ns))


def kinds_of(path: Path) -> list[FrameKind]:
    return [FrameKind(item.kind) for item in items_of(path) if isinstance(item, Frame)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_capture(tmp_path / "a.tsc", sample())


def test_a_stream_comes_back_as_it_was(path):
    given = sample()
    found = [content_of(item) for item in items_of(path)]
    batches = [known(c) for c in found if isinstance(c, Batch)]
    assert batches == [known(item) for item in given if isinstance(item, Batch)]
    assert [c for c in found if isinstance(c, Report)] == [
        item for item in given if isinstance(item, Report)
    ]
    assert [c for c in found if isinstance(c, Names)] == [
        item for item in given if isinstance(item, Names)
    ]


def test_frames_are_in_order_from_header_to_trailer(path):
    kind = FrameKind
    assert kinds_of(path) == [
        kind.HEADER, kind.SNAPSHOT, kind.NAMES, kind.BATCH, kind.REPORT, kind.BATCH, kind.BATCH,
        kind.REPORT, kind.INDEX, kind.TRAILER,
    ]  # fmt: skip


def test_a_reader_written_from_the_specification_finds_the_same_events(path):
    frames = frames_of(path.read_bytes())
    assert frames[0].map["host"] == ORIGIN.host
    events = [
        event["seq"]
        for frame in frames
        if frame.kind in ("batch", "snapshot")
        for event in events_of(frame.payload)
    ]
    ours = [
        event["seq"]
        for item in items_of(path)
        if isinstance(content := content_of(item), Batch)
        for event in known(content)
    ]
    assert sorted(events) == sorted(ours)
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert len({frame.file_id for frame in frames}) == 1


def test_the_payload_of_a_frame_is_the_message_of_a_topic(path):
    (value,) = encode_batch(sample()[0]).values
    assert value in [item.payload() for item in items_of(path)]


def test_the_trailers_numbers_add_up(path):
    with CaptureFile(path) as file:
        ends = file.trailer()
        items = list(file.items())
    assert ends is not None
    index, trailer = ends
    assert trailer.received == sum(trailer.written.values()) + trailer.dropped
    assert sum(trailer.written.values()) == sum(i.events for i in items)
    assert trailer.written == {
        "task": 3, "fork": 25, "exec": 26, "exit": 26, "free": 25
    }  # fmt: skip
    assert trailer.frames == len(items) - 1
    assert trailer.reports == 2
    assert sum(s.frames for s in index.stretches) == trailer.frames - 1
    assert sum(s.events for s in index.stretches) == trailer.received
    assert items[-1].offset + items[-1].size_bytes == path.stat().st_size


def test_the_trailer_is_the_last_1024_bytes(path):
    last = frames_of(path.read_bytes())[-1]
    assert (last.kind, last.length) == ("trailer", 1024)


def test_a_file_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        path = a_capture(tmp_path / "a.tsc", [])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_there_is_not_written_over(path):
    before = path.read_bytes()
    with pytest.raises(CaptureError, match="--force"):
        a_capture(path, [])
    assert path.read_bytes() == before
    CaptureWriter(path, HEADER, replace=True).close()
    assert path.read_bytes() != before


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "link.tsc").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CaptureError):
        a_capture(tmp_path / "link.tsc", [])
    assert not (tmp_path / "elsewhere").exists()


def test_a_pipe_is_read_as_a_file_is(path):
    code = (
        "from taskstream.capture.reader import CaptureFile\n"
        "for item in CaptureFile('-').items(): print(item.number, item.events)"
    )
    with path.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=file, capture_output=True, text=True, check=True
        )
    through_pipe = subprocess.run(
        ["sh", "-c", f"cat {path} | {sys.executable} -c \"{code}\""],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = [f"{item.number} {item.events}" for item in items_of(path)]
    assert done.stdout.splitlines() == through_pipe.stdout.splitlines() == expected


@pytest.mark.parametrize("name", ["absent.tsc", "."])
def test_what_cannot_be_read_is_told(tmp_path, name):
    with pytest.raises(CaptureError, match="cannot be read"):
        items_of(tmp_path / name)


# --- the time index ------------------------------------------------------------------------------


def many(path: Path, frames: int) -> None:
    with CaptureWriter(path, HEADER) as capture:
        for number in range(frames):
            moment = ORIGIN.run_ns + 100 * number
            capture.append(
                FrameKind.BATCH, b"x", first_ns=moment, last_ns=moment + 99, events={"fork": 1}
            )
        capture.close()


@pytest.mark.parametrize("limit", [4, 7, 4096])
def test_the_index_stays_short_and_says_where_to_begin(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(writer, "MOST_STRETCHES", limit)
    path = tmp_path / "many.tsc"
    many(path, 100)
    with CaptureFile(path) as file:
        index, _ = file.trailer()
    assert len(index.stretches) <= limit
    assert sum(s.frames for s in index.stretches) == 101
    assert sum(s.events for s in index.stretches) == 100
    for wanted in (0, 1, 50, 99):
        from_ns = ORIGIN.run_ns + 100 * wanted
        found = items_of(path, from_ns)
        batches = [i.number - 1 for i in found if i.kind == FrameKind.BATCH]
        assert found[0].kind == FrameKind.HEADER
        assert batches == list(range(batches[0], 100))
        assert batches[0] <= wanted
        if limit == 4096:
            assert batches[0] == wanted


def test_a_file_without_an_end_is_read_from_its_beginning(tmp_path):
    path = a_capture(tmp_path / "a.tsc", sample(), close=False)
    with CaptureFile(path) as file:
        assert file.trailer() is None
        *frames, end = file.items(1 << 62)
        assert all(isinstance(item, Frame) for item in frames)
        assert len(frames) == 8
        assert isinstance(end, Damage)


@pytest.mark.parametrize("at", [-1, -500, -1000, -1020, -1024])
def test_a_damaged_end_is_no_end(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with CaptureFile(path) as file:
        assert file.trailer() is None
        items = list(file.items())
    assert [i.offset for i in items if isinstance(i, Damage)] == [len(data) - 1024]
    assert not any(isinstance(content_of(i), Trailer) for i in items if isinstance(i, Frame))
    assert any(isinstance(content_of(i), Index) for i in items if isinstance(i, Frame))


# --- a full disk ---------------------------------------------------------------------------------


def test_a_frame_without_room_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.tsc"
    with CaptureWriter(path, HEADER) as capture:
        before, real = path.read_bytes(), os.write

        def write_some(descriptor: int, data: memoryview) -> int:
            if len(data) > 100:
                return real(descriptor, data[:100])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", write_some)
        with pytest.raises(OSError, match="No space"):
            capture.append(FrameKind.BATCH, bytes(range(256)), first_ns=1, last_ns=2)
        monkeypatch.undo()
        assert path.read_bytes() == before
        (value,) = encode_batch(lives(3)).values
        capture.append(FrameKind.BATCH, value, first_ns=1, last_ns=2, events={"fork": 12})
        capture.close()
    assert [frame.number for frame in frames_of(path.read_bytes())] == [0, 1, 2, 3]


def test_a_report_follows_the_events_that_it_knows(tmp_path):
    path = a_capture(tmp_path / "a.tsc", [lives(5), report(0)], flush_ms=10**6)
    kinds = kinds_of(path)
    assert kinds.index(FrameKind.BATCH) < kinds.index(FrameKind.REPORT)
