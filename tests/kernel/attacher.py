"""A process that tries to start a live source, says how it went, and waits.

Run as ``python -m tests.kernel.attacher``. One line of JSON on stdout: the error, if there was
one, the notes of the source, and which BPF programs and links it holds.
"""

import argparse
import ctypes
import json
import os
import sys
from pathlib import Path

from taskstream import resource
from taskstream.errors import TaskstreamError
from taskstream.source.live import LiveOptions, LiveSource

_PR_SET_DUMPABLE = 4


def held() -> dict[str, list[int]]:
    """Return the ids of the BPF programs and links that this process has open."""
    ids: dict[str, list[int]] = {"prog_id": [], "link_id": []}
    for info in Path("/proc/self/fdinfo").iterdir():
        try:
            lines = info.read_text().splitlines()
        except FileNotFoundError:
            continue
        for name, _, value in (line.partition(":") for line in lines):
            if name in ids and f"link_type:{value}" not in lines:
                ids[name].append(int(value))
    return ids


def become(uid: int) -> None:
    """Be another user without any capability, who may read what is open already."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self is root's


def main() -> None:
    """Start, report, wait for the end of the input, close."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--load-mode", default="entry")
    parser.add_argument("--tracing", default="trampoline")
    parser.add_argument("--type-format", default="auto")
    parser.add_argument("--object", type=Path, default=resource.bpf_object())
    parser.add_argument("--uid", type=int)
    chosen = parser.parse_args()
    # Opened as root: the directories above it may be closed to others.
    descriptor = os.open(chosen.object, os.O_RDONLY)
    if chosen.uid is not None:
        become(chosen.uid)
    options = LiveOptions(
        load_mode=chosen.load_mode,
        tracing=chosen.tracing,
        type_format=chosen.type_format,
        object_path=Path(f"/proc/self/fd/{descriptor}"),
    )
    report: dict[str, object] = {"error": None}
    source = None
    try:
        source = LiveSource(options, host="test-host")
        report["notes"] = source.notes
    except TaskstreamError as error:
        report = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(report | held()), flush=True)
    sys.stdin.read()
    if source:
        source.close()


if __name__ == "__main__":
    main()
