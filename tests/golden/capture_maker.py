"""How the golden captures of this format version were made.

They stand for the files that people have: one that is there is never made again. New ones are
added (``python -m tests.golden.capture_maker``), and their sums entered in SHA256SUMS.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from taskstream.capture.frame import FORMAT
from tests.capturing import a_capture, capture_sink, report, sample
from tests.plain_capture import PlainFrame, frames_of
from tests.synthetic import batch, each_kind, event

__all__ = ["FOLDER", "frame_twin", "twin"]

FOLDER = Path(__file__).parent / f"capture-v{FORMAT}"


def _captures(folder: Path) -> Iterator[tuple[str, bytes, int]]:
    """Yield name, bytes, and how many of them hold whole frames."""
    whole = a_capture(folder / "whole.tsc", sample()).read_bytes()
    yield "whole", whole, len(whole)
    killed = a_capture(folder / "killed.tsc", sample(), close=False).read_bytes()
    yield "killed", killed, len(killed)
    last = frames_of(killed)[-1]
    yield "cut", killed[: last.offset + 100], last.offset
    kinds = a_capture(folder / "kinds.tsc", [each_kind(), report(0)]).read_bytes()
    yield "kinds", kinds, len(kinds)
    yield "lossy", *_lossy(folder / "lossy.tsc")
    # Those above have batches of schema version 1, these of version 2.
    columns = a_capture(folder / "columns.tsc", sample()).read_bytes()
    yield "columns", columns, len(columns)
    kinds = a_capture(folder / "columns-kinds.tsc", [each_kind(), report(0)]).read_bytes()
    yield "columns-kinds", kinds, len(kinds)


def _lossy(path: Path) -> tuple[bytes, int]:
    """Make a capture whose writer had to drop events (the disk's error is made up)."""
    sink = capture_sink(path, flush_ms=0)
    sink.write(batch(event("fork")))
    sink.trouble = "no space left"
    sink._drop(batch(event("exec"), event("task")).records)
    sink.account.received += 2
    sink.trouble = ""
    sink.write(batch(event("exit", seq=12345)))
    sink.close()
    data = path.read_bytes()
    return data, len(data)


def frame_twin(frame: PlainFrame) -> dict[str, Any]:
    """Return a frame as JSON can take it."""
    map_ = frame.map
    if "pad" in map_:
        map_["pad"] = len(map_["pad"])
    return {
        "offset": frame.offset,
        "length": frame.length,
        "kind": frame.kind,
        "number": frame.number,
        "events": frame.events,
        "first_ns": frame.first_ns,
        "last_ns": frame.last_ns,
        "payload": json.loads(json.dumps(map_, default=bytes.hex)),
    }


def twin(data: bytes) -> str:
    """Return the readable twin of the whole frames of a capture."""
    frames = [json.dumps(frame_twin(frame), ensure_ascii=False) for frame in frames_of(data)]
    return "[\n" + ",\n".join(frames) + "\n]\n"


def main() -> None:
    """Add what is not there yet."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, data, whole in _captures(Path(folder)):
            path = FOLDER / f"{name}.tsc"
            if path.exists():
                print(f"{name} is there and stays as it is", file=sys.stderr)
                continue
            path.write_bytes(data)
            path.with_suffix(".json").write_text(twin(data[:whole]))


if __name__ == "__main__":
    main()
