"""How the golden messages of this schema version were made.

A golden message is never made again: it stands for those that are in topics already. New ones
are added (``python -m tests.golden.maker``), and their sums entered in SHA256SUMS; one that is
there is refused.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np

from taskstream.batch import Batch, Label, Labels, Origin
from taskstream.charge import Charges, stand_ins
from taskstream.interval import Agent, Interval, Zombies
from taskstream.message.batch_encode import encode_batch
from taskstream.message.batch_layout import BATCH_VERSION
from taskstream.message.columns import pack
from taskstream.message.encode import EventEncoder
from taskstream.record import CALLS, COUNTS, KINDS, NO_CPU, VERSION
from taskstream.report import CpuReport, Report
from tests.example import twin
from tests.synthetic import ORIGIN, WALL_OFFSET_NS, batch, bits, event, labelled, lives

__all__ = ["FOLDER", "add"]

HERE = Path(__file__).parent
FOLDER = HERE / f"v{VERSION}"
BATCHES = HERE / f"v{BATCH_VERSION}"

_BATCHES: dict[str, Batch] = {
    **{kind: batch(event(kind)) for kind in KINDS},
    "exec-lost": batch(event("exec", flags=bits("args_lost"))),
    "exec-cut": batch(event("exec", flags=bits("args_truncated"), argv=b"sh\0-c\0echo he")),
    "exec-escaped": batch(
        event("exec", comm=b"caf\xe9", filename=b"/srv/\xff", argv=b"a\\b\0\xc3\xbc\0\0\xfe\0")
    ),
    "exec-unicode": batch(event("exec", comm="größe".encode(), argv="größe\0\\x41\0".encode())),
    "exit-dead": batch(event("exit", flags=bits("group_dead"), exit_code=0x008B)),
    "exit-negative": batch(event("exit", exit_code=-1, flags=bits("thread", "io_unknown"))),
    "free-reaped": batch(event("free", flags=bits("reaper_known", "pidns_unknown"))),
    "fail-clone3": batch(event("fail", call=CALLS["clone3"], errno=11)),
    "task-unknown": batch(
        event(
            "task",
            cpu=NO_CPU,
            flags=bits("parent_unknown", "pidns_unknown", "cgroup_unknown", "start_coarse"),
        )
    ),
    "largest": batch(event("fork", pid=2**32 - 1, clone_flags=2**64 - 1, cgroup_id=2**64 - 1)),
    "host-unicode": batch(event("fork"), origin=Origin("größe.example", "", 0)),
}
_ALL = batch(
    *(event(kind) for kind in KINDS),
    event("exit", flags=bits("group_dead")),
    event("exec", flags=bits("args_lost")),
    event("exec", comm=b"\xff", argv=b"\xfe\0"),
    event("fork", comm=b"\\xff"),
    event("fail", call=CALLS["execve"], errno=2),
    event("fail", call=CALLS["vfork"], errno=12),
)
_MANY = batch(*(event(kind) for kind in KINDS for _ in range(40)))


def _report(*, release_late: bool) -> Report:
    count = len(COUNTS)
    cpus = (
        CpuReport(0, ORIGIN.run_ns + 9, tuple(range(count)), (0,) * count, (0,) * count, 0),
        CpuReport(3, ORIGIN.run_ns, (9,) * count, tuple(range(count)), (1,) * count, 4),
    )
    interval = Interval(
        start_ns=1,
        end_ns=5,
        wall_ns=WALL_OFFSET_NS + 5,
        counts=tuple(range(count)),
        received=(0,) * count,
        missed={"on_fork": 2},
        failures_watched=False,
        release_late=release_late,
    )
    return Report(ORIGIN, 6, WALL_OFFSET_NS, cpus, {"on_fork": 2}, interval, -5_000_000_000, True)


def _report_with_charges() -> Report:
    """Make a report with what the first agents did not tell."""
    plain = _report(release_late=False)
    agent = Agent(cpu_ns=1, resident_bytes=2, queued=3, dropped=4, forgotten=5, uncharged=6)
    assert plain.interval is not None
    interval = replace(
        plain.interval,
        zombies=Zombies(2, 3_000_000_000),
        agent=replace(agent, cpu_ns=9, before=agent),
        cgroups=((7, "/docker/0a", "web"),),
    )
    charges = Charges(
        stand_ins(
            tgid=np.array([7, 9]),
            start_ns=np.array([5, 6], np.uint64),
            kind=np.array([KINDS["fork"], KINDS["exec"]]),
            comm=np.array([b"caf\xe9", b"sh"]),
            ppid=np.array([1, 7]),
            parent_start_ns=np.array([2, 5], np.uint64),
            cgroup_id=np.array([0, 7], np.uint64),
            uid=np.array([0, 1000]),
        ),
        np.arange(2 * len(COUNTS)).reshape(2, -1),
        np.arange(len(COUNTS)),
        Labels([Label("/docker/0a", "0a", None, "web"), Label()], np.array([1, 0])),
    )
    cpus = tuple(replace(cpu, read=5, read_to=ORIGIN.run_ns + 5) for cpu in plain.cpus)
    return replace(plain, cpus=cpus, interval=interval, charges=charges, number=11)


def _messages() -> Iterator[tuple[str, bytes]]:
    for name, one in _BATCHES.items():
        yield f"event-{name}", EventEncoder(one.origin).encode(one).values[0]
    yield "event-labelled", EventEncoder(ORIGIN).encode(labelled(_BATCHES["exec"])).values[0]
    for kind in KINDS:
        plain = msgpack.unpackb(EventEncoder(ORIGIN).encode(_BATCHES[kind]).values[0])
        yield f"foreign-event-{kind}", msgpack.packb(dict(sorted(plain.items())))
    yield "report", pack(_report(release_late=True).to_map())
    yield "report-release-at-once", pack(_report(release_late=False).to_map())
    yield "report-charges", pack(_report_with_charges().to_map())


def _batches() -> Iterator[tuple[str, bytes]]:
    for name, one in (("batch", _ALL), ("batch-labelled", labelled(_ALL))):
        (value,) = encode_batch(one).values
        yield name, value
        yield f"foreign-{name}", _foreign(value)
    yield "batch-of-one", encode_batch(_BATCHES["fork"]).values[0]
    yield "batch-of-many", encode_batch(_MANY).values[0]
    yield "batch-of-hundreds", encode_batch(lives(64)).values[0]
    yield "batch-of-exits", encode_batch(_exits()).values[0]


def _exits() -> Batch:
    """Make as many exits as it takes for numbers to be as short as may be, of every length."""
    exits = batch(*(event("exit", seq=n) for n in range(256)))
    numbers = np.arange(256, dtype="u8")
    for shift, unsigned, steps in (
        (0, "utime_ns", "seq"),
        (8, "stime_ns", "start_ns"),
        (24, "runtime_ns", "process_start_ns"),
        (56, "minor_faults", "boot_ns"),
    ):
        exits.records[unsigned] = numbers << np.uint64(shift)
        exits.records[steps] = (numbers ^ np.uint64(5)) << np.uint64(shift)
    return exits


def _foreign(value: bytes) -> bytes:
    """Write a message as another library would, its members in another order."""
    return msgpack.packb(dict(sorted(msgpack.unpackb(value).items())))


def add(folder: Path, name: str, value: bytes) -> None:
    """Add a golden message and its readable twin; never over one that is there."""
    with (folder / f"{name}.msgpack").open("xb") as file:
        file.write(value)
    with (folder / f"{name}.json").open("x") as file:
        file.write(twin(value))


if __name__ == "__main__":
    for folder, made in ((FOLDER, _messages()), (BATCHES, _batches())):
        folder.mkdir(exist_ok=True)
        for name, value in made:
            if (folder / f"{name}.msgpack").exists():
                print(f"{name} is there and stays as it is", file=sys.stderr)
            else:
                add(folder, name, value)
