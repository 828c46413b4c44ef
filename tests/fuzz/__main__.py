"""``make fuzz``: fuzz a decoder with atheris for some seconds; prints the number of inputs.

``python -m tests.fuzz [frames|payload|message|ring|perf|args] [SECONDS]``. The seeds are the
golden files and tests/fuzz/corpus. What reaches new code is kept in build/fuzz; so is an input
that breaks a decoder, which belongs into the corpus together with the repair.
"""

import sys
import tempfile
from pathlib import Path

from tests.plain_capture import KINDS, frames_of

ROOT = Path(__file__).parents[2]
CAPTURES = "tests/golden/capture-v*"
SEEDS = {
    "frames": [f"{CAPTURES}/*.tsc", "tests/fuzz/corpus/frames-*"],
    "payload": ["tests/fuzz/corpus/payload-*"],
    "message": ["tests/golden/v*/*.msgpack", "tests/fuzz/corpus/message-*"],
    "ring": ["tests/fuzz/corpus/ring-*"],
    "perf": ["tests/fuzz/corpus/perf-*"],
    "args": ["tests/fuzz/corpus/args-*"],
}


def main() -> None:
    """Fuzz one decoder."""
    name = sys.argv[1] if len(sys.argv) > 1 else "frames"
    seconds = sys.argv[2] if len(sys.argv) > 2 else "30"
    if name not in SEEDS or not seconds.isdigit():
        sys.exit(f"usage: python -m tests.fuzz [{'|'.join(SEEDS)}] [SECONDS]")
    try:
        import atheris
    except ImportError:
        sys.exit("fuzz: no atheris: pip install atheris")
    found = ROOT / "build" / "fuzz"
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as seeds:
        for pattern in SEEDS[name]:
            for path in ROOT.glob(pattern):
                Path(seeds, path.parent.name + "-" + path.name).write_bytes(path.read_bytes())
        if name == "payload":
            for path in (
                *ROOT.glob(f"{CAPTURES}/whole.tsc"),
                *ROOT.glob(f"{CAPTURES}/columns.tsc"),
            ):
                for frame in frames_of(path.read_bytes()):
                    seed = bytes([KINDS.index(frame.kind)]) + frame.payload
                    Path(seeds, f"{path.stem}-{frame.number}").write_bytes(seed)
        kept = found / f"corpus-{name}"
        kept.mkdir(exist_ok=True)
        with atheris.instrument_imports(include=["taskstream"]):  # so it must not be there yet
            from tests.fuzz.target import TARGETS
        words = [
            f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10", "-print_final_stats=1",
            f"-artifact_prefix={found}/{name}-",
        ]  # fmt: skip
        atheris.Setup([sys.argv[0], *words, str(kept), seeds], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
