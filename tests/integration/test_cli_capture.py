"""Captures on the command line: replay, inspect and export as users call them, and the agent."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet
import pytest

from taskstream.broker import EmbeddedBroker
from taskstream.capture.content import Loss
from tests.capturing import a_capture, capture_sink, sample
from tests.command import ROOT, Done, start, taskstream
from tests.kernel.control_groups import default_hierarchy, new_group
from tests.needs import need_root
from tests.plain import map_of
from tests.plain_capture import frames_of
from tests.synthetic import ORIGIN, batch, event, lives
from tests.topic import fetch, wait_until

REPLAYED = "taskstream replay: read 105 = replayed 105 + left out 0\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return a_capture(tmp_path / "a.tsc", sample())


def spoil(path: Path) -> int:
    """Damage the last frame of events; return where it begins."""
    data = bytearray(path.read_bytes())
    offset = [f.offset for f in frames_of(bytes(data)) if f.kind == "batch"][-1]
    data[offset + 60] ^= 1
    path.write_bytes(data)
    return offset


def take_out(path: Path, kind: str) -> int:
    """Take the first frame of a kind out of a file; return where it began."""
    data = path.read_bytes()
    gone = next(f for f in frames_of(data) if f.kind == kind)
    path.write_bytes(data[: gone.offset] + data[gone.offset + gone.length :])
    return gone.offset


# --- replay --------------------------------------------------------------------------------------


def test_replay_prints_events_and_reports_as_json(path):
    done = taskstream("replay", path, "--to", "json")
    kinds = [json.loads(line)["kind"] for line in done.lines]
    assert len(kinds) == 107
    assert kinds.count("report") == 2
    assert done.err == REPLAYED
    assert done.code == 0


@pytest.mark.kafka
def test_a_frame_that_is_longer_than_a_message_may_be_is_published_in_parts(tmp_path):
    argv = b"x" * 250 + b"\0"
    given = batch(*(event("exec", seq=number, argv=argv) for number in range(5_000)))
    path = a_capture(tmp_path / "long.tsc", [given])
    (frame,) = [frame for frame in frames_of(path.read_bytes()) if frame.kind == "batch"]
    assert len(frame.payload) > 1_250_000
    with EmbeddedBroker() as broker:
        to = ["--to", "kafka", "--bootstrap", broker.address, "--message", "batch"]
        done = taskstream("replay", path, *to)
        values = [m.value for m in fetch(broker.address, "taskstream.events")]
    assert done.code == 0, done.err
    assert max(map(len, values)) < 1_000_000
    counts = [message["count"] for message in map(map_of, values) if message["kind"] == "batch"]
    assert len(counts) > 1
    assert sum(counts) == 5_000


def test_replay_reads_standard_input(path):
    with path.open("rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "taskstream", "replay", "-", "--to", "json", "--kind", "exec"],
            stdin=file, capture_output=True, text=True, cwd=ROOT, check=True,
        )  # fmt: skip
    assert len(done.stdout.splitlines()) == 26 + 2
    assert "read 105 = replayed 26 + left out 79" in done.stderr


@pytest.mark.kafka
@pytest.mark.parametrize("message", ["event", "batch", "json"])
def test_replay_publishes_to_a_topic(path, message):
    with EmbeddedBroker() as broker:
        done = taskstream(
            "replay", path, "--to", "kafka", "--bootstrap", broker.address, "--message", message
        )
        values = [m.value for m in fetch(broker.address, "taskstream.events")]
    messages = list(map(map_of, values))
    assert done.code == 0
    assert "replayed 105 = delivered 105" in done.err
    reports = [m for m in messages if m["kind"] == "report"]
    events = sum(m.get("count", 1) for m in messages if m["kind"] != "report")
    assert (len(reports), events) == (2, 105)
    if message == "batch":  # frames are moved as they are
        frames = frames_of(path.read_bytes())
        assert {f.payload for f in frames if f.kind in ("batch", "snapshot")} <= set(values)


def test_replay_writes_a_new_capture_of_a_part(path, tmp_path):
    new = tmp_path / "new.tsc"
    done = taskstream("replay", path, "--to", "capture", "--output", new, "--kind", "fork")
    assert done.code == 0
    assert "; replayed 25 = written 25" in done.err
    assert taskstream("inspect", new, "--verify").code == 0
    row = json.loads(taskstream("inspect", new, "--json").out)
    assert row["by_kind"] == {"fork": 25}
    assert row["header"]["host"] == ORIGIN.host
    assert new.stat().st_mode & 0o777 == 0o600
    again = taskstream("replay", path, "--to", "capture", "--output", new)
    assert again.code == 1
    assert "is there already: --force writes it anew" in again.err


def test_replay_of_a_damaged_file_says_where_and_what_to_do(path):
    offset = spoil(path)
    done = taskstream("replay", path, "--to", "json")
    assert done.code == 1
    assert f"bytes at byte {offset}: checksum mismatch; frames before it were replayed" in done.err
    assert "(--skip-damaged goes on)" in done.err
    skipped = taskstream("replay", path, "--to", "json", "--skip-damaged")
    assert skipped.code == 3
    assert "damaged, cut or missing: 1 place, " in skipped.err


READS = {
    "replay": ["replay", "FILE", "--to", "json"],
    "export": ["export", "FILE", "--to", "jsonl"],
    "rates": ["rates", "FILE"],
    "a pipe": ["replay", "-", "--to", "json"],
}


def read_with(words: list[str], path: Path) -> Done:
    if "-" in words:
        command = [sys.executable, "-m", "taskstream", *words]
        with path.open("rb") as file:
            done = subprocess.run(command, stdin=file, capture_output=True, text=True, cwd=ROOT)
        return Done(done.returncode, done.stdout, done.stderr)
    return taskstream(*[path if word == "FILE" else word for word in words])


@pytest.mark.parametrize("words", READS.values(), ids=READS)
def test_a_cut_file_is_read_to_the_cut_and_the_command_ends_with_3(tmp_path, words):
    path = a_capture(tmp_path / "a.tsc", [lives(2), lives(3), lives(4)])
    data = path.read_bytes()
    begins = [frame.offset for frame in frames_of(data)]
    assert read_with(words, path).code == 0
    for end in (len(data) - 1100, begins[-1], begins[2]):
        path.write_bytes(data[:end])
        assert read_with(words, path).code == 3, end


def test_what_is_missing_at_the_end_is_told(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1300])
    assert "the file ends within a frame" in taskstream("replay", path, "--to", "json").err
    end = frames_of(data)[5].offset
    path.write_bytes(data[:end])
    done = taskstream("replay", path, "--to", "json")
    assert f"a.tsc: byte {end}: it has no trailer" in done.err
    assert "missing: 1 place, 0 bytes" in done.err


def test_a_frame_that_is_missing_is_damage(path):
    offset = take_out(path, "batch")
    for verb, *words in READS.values():
        done = read_with([verb, *words], path)
        assert done.code == 1
        assert f"byte {offset}: frame 4 where 3 should be" in done.err
        assert read_with([verb, *words, "--skip-damaged"], path).code == 3


def test_a_capture_holds_one_run(path, tmp_path):
    other = a_capture(tmp_path / "b.tsc", sample(), origin=replace(ORIGIN, host="another"))
    new = tmp_path / "new.tsc"
    done = taskstream("replay", path, other, "--to", "capture", "--output", new)
    assert done.code == 1
    assert f"{other} is of another run than {path}, and a capture holds one" in done.err
    assert not new.exists()


def test_what_a_capture_could_not_hold_is_in_its_copy(tmp_path):
    sink = capture_sink(tmp_path / "a.tsc")
    sink.copy_loss(Loss(boot_ns=ORIGIN.run_ns, reason="no room", events=7, cpus={1: {"fork": 7}}))
    sink.close()
    copy = tmp_path / "b.tsc"
    done = taskstream("replay", tmp_path / "a.tsc", "--to", "capture", "--output", copy)
    assert done.code == 3
    again = taskstream("replay", copy, "--to", "json")
    assert again.code == 3
    assert "dropped when it was captured: 7" in again.err
    assert taskstream("inspect", copy, "--verify").code == 0


def test_an_interrupted_replay_ends_with_its_books(path):
    with start("replay", path, "--to", "json", "--speed", "0.0001") as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.search(r"read \d+ = replayed \d+ \+ left out \d+", err)


def test_a_reader_that_goes_away_ends_a_replay_quietly(tmp_path):
    many = a_capture(tmp_path / "many.tsc", [lives(3000)])
    command = f"{sys.executable} -m taskstream replay {many} --to json | head -1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_captures_are_read_without_any_privilege(path, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:1]):
        folder.chmod(0o755)
    path.chmod(0o644)
    public = Path("/var/tmp") / f"taskstream-{os.getpid()}.tsc"
    shutil.copy(path, public)
    try:
        if os.geteuid() == 0:
            become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        else:
            become = []
        done = subprocess.run(
            [*become, sys.executable, "-m", "taskstream", "replay", public, "--to", "charts"],
            capture_output=True, text=True, cwd=ROOT,
        )  # fmt: skip
    finally:
        public.unlink()
    assert done.returncode == 0, done.stderr
    assert done.stderr == "taskstream replay: read 105 = replayed 105 + left out 0\n"


@pytest.mark.parametrize("verb", ["inspect", "replay", "export", "rates"])
def test_a_capture_that_may_not_be_read_is_told_and_is_no_wrong_usage(verb):
    need_root("the command becomes somebody else")
    to = {"replay": ["--to", "json"], "export": ["--to", "csv"]}.get(verb, [])
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = a_capture(Path(folder, "a.tsc"), sample())
        path.chmod(0o600)
        words = [sys.executable, "-m", "taskstream", verb, str(path), *to]
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert f"taskstream {verb}: {path} cannot be read: Permission denied" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "kafka"], "--to kafka needs --bootstrap"),
        (["--to", "json", "--bootstrap", "a:1"], "are for --to kafka"),
        (["--to", "capture"], "--to capture and --output FILE go together"),
        (["--to", "json", "--output", "x"], "--to capture and --output FILE go together"),
        (["--to", "json", "--json"], "--json is for --to charts"),
        (["--to", "json", "--speed", "0"], "'0' is neither max nor"),
        (["--to", "json", "--speed", "fast"], "'fast' is neither max nor"),
        (["--to", "json", "--from", "noon"], "'noon' is no time"),
        (["--to", "json", "--from", "+2", "--until", "+1"], "--from is not before --until"),
        (["--to", "json", "--kind", "birth"], "'birth' is not one of"),
    ],
)
def test_replay_refuses_what_makes_no_sense(path, arguments, said):
    done = taskstream("replay", path, *arguments)
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize("verb", ["replay", "inspect", "export"])
def test_what_is_no_capture_is_told_with_its_name(tmp_path, verb):
    other = tmp_path / "other.txt"
    other.write_text("hello")
    options = {"replay": ["--to", "json"], "export": ["--to", "csv"], "inspect": []}[verb]
    done = taskstream(verb, other, *options)
    assert done.code == 1
    assert done.err.startswith(f"taskstream {verb}: {other}: not a capture file")
    absent = taskstream(verb, tmp_path / "absent", *options)
    assert "cannot be read: No such file" in absent.err


# --- inspect -------------------------------------------------------------------------------------


def test_inspect_tells_everything_in_a_few_lines(path):
    out = taskstream("inspect", path).out
    assert f"{ORIGIN.run_ns} of boot {ORIGIN.boot_id} of {ORIGIN.host}" in out
    assert "closed in good order" in out
    assert "6.18.44 x86_64" in out
    assert re.search(
        r"events +105, [\d.]+ bytes each: task 3, fork 25, exec 26, exit 26, free 25", out
    )


def test_inspect_prints_all_of_a_file_as_json(path):
    row = json.loads(taskstream("inspect", path, "--json").out)
    header = next(f for f in frames_of(path.read_bytes()) if f.kind == "header")
    plain = map_of(header.payload)
    for name in ("kinds", "fields", "flags", "counts", "kernel", "machine", "part"):
        assert row["header"][name] == plain[name]
    assert row["cgroups"] == {"1": "/", "77": "/größe.slice"}
    assert row["groups"] == {"77": "web"}
    assert row["stretches"] == 8


def test_inspect_lists_names(path):
    assert taskstream("inspect", path, "--names").lines == [
        f"{1:>20}  /",
        f"{77:>20}  /größe.slice  web",
    ]


def test_inspect_tells_what_could_not_be_written(tmp_path):
    sink = capture_sink(tmp_path / "a.tsc")
    sink.copy_loss(Loss(boot_ns=ORIGIN.run_ns, reason="no room", events=7, cpus={1: {"fork": 7}}))
    sink.close()
    out = taskstream("inspect", tmp_path / "a.tsc").out
    assert re.search(r"dropped +7 until 20\S+: no room\n +CPU 1: fork 7\n", out)
    row = json.loads(taskstream("inspect", tmp_path / "a.tsc", "--json").out)
    assert [loss["cpus"] for loss in row["losses"]] == [{"1": {"fork": 7}}]


def test_inspect_tells_kinds_only_where_they_are_those_of_the_events(path):
    spoil(path)
    out = taskstream("inspect", path).out
    assert re.search(r"events +103, [\d.]+ bytes each\n", out)
    row = json.loads(taskstream("inspect", path, "--verify", "--json").out)
    assert sum(row["by_kind"].values()) == row["events"] == 103


def test_inspect_lists_frames_and_events(path):
    frames = taskstream("inspect", path, "--frames").lines
    assert [line.split()[2] for line in frames] == [
        "header", "snapshot", "names", "batch", "report", "batch", "batch", "report", "index",
        "trailer",
    ]  # fmt: skip
    events = taskstream("inspect", path, "--events", "--json").lines
    rows = [json.loads(line) for line in events]
    assert len(rows) == 105 + 1
    assert rows[-1]["kind"] == "capture"
    assert len(taskstream("inspect", path, "--events").lines) == 105


def test_inspect_verifies(path):
    good = taskstream("inspect", path, "--verify")
    assert good.code == 0
    assert good.err == "taskstream inspect: 10 frames, 105 events: all as it should be\n"
    offset = spoil(path)
    bad = taskstream("inspect", path, "--verify")
    assert bad.code == 1
    assert f"bytes at byte {offset}: checksum mismatch" in bad.err
    assert "events: the end of the file says 105, found are 103" in bad.err
    assert taskstream("inspect", path).code == 0


def test_inspect_tells_a_file_that_was_never_closed(tmp_path):
    path = a_capture(tmp_path / "a.tsc", sample(), close=False)
    assert "not closed" in taskstream("inspect", path).out
    done = taskstream("inspect", path, "--verify")
    assert done.code == 1
    assert "it has no trailer" in done.err


def test_inspect_sees_a_frame_that_was_taken_out(path):
    take_out(path, "report")
    done = taskstream("inspect", path, "--verify")
    assert done.code == 1
    assert "frame 5 where 4 should be" in done.err


# --- export --------------------------------------------------------------------------------------


def test_export_writes_every_format(path, tmp_path):
    for name in ("parquet", "csv", "jsonl"):
        done = taskstream("export", path, "--to", name, "--output", tmp_path / f"e.{name}")
        assert done.err == "taskstream export: read 105 = exported 105 + left out 0\n"
        assert (tmp_path / f"e.{name}").stat().st_mode & 0o777 == 0o600
    rows = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    table = pyarrow.parquet.read_table(tmp_path / "e.parquet").to_pylist()
    lines = list(csv.DictReader(io.StringIO((tmp_path / "e.csv").read_text())))
    numbers = [row["seq"] for row in rows]
    assert [row["seq"] for row in table] == [int(row["seq"]) for row in lines] == numbers
    assert len(numbers) == 105


def test_export_chooses_events_and_writes_to_standard_output(path):
    done = taskstream("export", path, "--to", "jsonl", "--comm", "task-1001")
    assert {json.loads(line)["comm"] for line in done.lines} == {"task-1001"}
    assert len(done.lines) == 4


def test_export_writes_over_nothing_unasked(path, tmp_path):
    target = tmp_path / "e.csv"
    target.write_text("mine")
    done = taskstream("export", path, "--to", "csv", "--output", target)
    assert done.code == 1
    assert target.read_text() == "mine"
    assert taskstream("export", path, "--to", "csv", "-o", target, "--force").code == 0


# --- the agent -----------------------------------------------------------------------------------


def workload(count: int) -> None:
    script = f"i=0; while [ $i -lt {count} ]; do /bin/true captured; i=$((i + 1)); done"
    subprocess.run(["sh", "-c", script], check=True)


@pytest.mark.kernel
@pytest.mark.slow
def test_a_capture_of_this_host_has_the_workload_and_its_charts(tmp_path):
    path = tmp_path / "live.tsc"
    with start("capture", path, "--update-every", "1", "--json") as agent:
        wait_until(path.exists)
        workload(211)
        agent.send_signal(signal.SIGTERM)
        out, err = agent.communicate(timeout=30)
    assert agent.returncode == 0, err
    assert path.stat().st_mode & 0o777 == 0o600
    verified = taskstream("inspect", path, "--verify")
    assert verified.code == 0, verified.err
    assert taskstream("replay", path, "--to", "charts", "--json").out == out
    execs = taskstream("replay", path, "--to", "json", "--kind", "exec", "--comm", "true").lines
    argvs = [row["argv"] for row in map(json.loads, execs) if row["kind"] == "exec"]
    assert argvs.count(["/bin/true", "captured"]) == 211
    written = re.findall(r"received ([\d,]+) = written ([\d,]+) \+ dropped 0", err)
    assert len(written) == 2
    assert len(set(written[0] + written[1])) == 1


@pytest.mark.kernel
@pytest.mark.slow
def test_a_run_can_write_a_capture_beside_the_topic(tmp_path):
    path = tmp_path / "live.tsc"
    with start("run", "--update-every", "1", "--json", "--capture", path) as agent:
        wait_until(path.exists)
        workload(53)
        agent.send_signal(signal.SIGTERM)
        out, err = agent.communicate(timeout=30)
    assert agent.returncode == 0, err
    delivered = re.search(r"= delivered ([\d,]+) \+ dropped 0", err)
    captured = re.search(r"captured: received ([\d,]+) = written ([\d,]+) \+ dropped 0", err)
    assert delivered
    assert captured
    assert delivered[1] == captured[1] == captured[2]
    assert taskstream("replay", path, "--to", "charts", "--json").out == out


@pytest.mark.kernel
@pytest.mark.slow
def test_a_capture_on_a_full_file_system_keeps_whole_frames_and_counts_the_rest(tmp_path):
    need_root("a file system is mounted")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", folder], check=True)
    try:
        path = folder / "live.tsc"
        with start("capture", path, "--update-every", "1", "--json") as agent:
            wait_until(path.exists)
            workload(1999)
            agent.send_signal(signal.SIGTERM)
            _, err = agent.communicate(timeout=30)
        assert agent.returncode == 3, err
        assert "No space left on device: events are dropped, and counted" in err
        books = re.search(
            r"captured: received ([\d,]+) = written ([\d,]+) \+ dropped ([\d,]+);", err
        )
        assert books, err
        received, written, dropped = (int(number.replace(",", "")) for number in books.groups())
        assert received == written + dropped
        assert min(written, dropped) > 0
        done = taskstream("replay", path, "--to", "json")
        rows = [json.loads(line) for line in done.lines]
        assert sum(row["kind"] != "report" for row in rows) == written
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.kernel
def test_a_killed_capture_keeps_what_was_flushed(tmp_path):
    path = tmp_path / "live.tsc"
    with start("capture", path, "--quiet") as agent:
        wait_until(path.exists)
        workload(31)
        for _ in range(2):  # the first flush may be of the tasks that ran before
            size = path.stat().st_size
            subprocess.run(["/bin/true"], check=True)
            wait_until(lambda size=size: path.stat().st_size > size)
        agent.kill()
        agent.communicate(timeout=30)
    done = taskstream("replay", path, "--to", "json", "--kind", "exec", "--comm", "true")
    rows = [json.loads(line) for line in done.lines]
    assert sum(row.get("argv") == ["/bin/true", "captured"] for row in rows) == 31
    assert "not closed" in taskstream("inspect", path).out
    assert done.code == 3


def test_capture_wants_to_know_where(tmp_path):
    config = tmp_path / "c.conf"
    config.write_text("[capture]\ntotal size = 1G\n")
    assert "name a FILE" in taskstream("capture", "--config", config).err
    done = taskstream("capture", "--config", config, tmp_path / "a.tsc")
    assert done.code == 2
    assert "give a file size or a file age, too" in done.err


@pytest.mark.parametrize("total", ["64K", "1M"])
def test_a_total_size_that_deletes_every_full_file_is_wrong_usage(tmp_path, total):
    path, config = tmp_path / "a.tsc", tmp_path / "c.conf"
    done = taskstream("capture", path, "--file-size", "1M", "--total-size", total)
    assert done.code == 2
    assert "for files of 1,048,576: each would be deleted as soon as it is full" in done.err
    config.write_text(f"[capture]\nfile = {path}\nfile size = 1M\ntotal size = {total}\n")
    run = taskstream("run", "--config", config, "--bootstrap", "off", "--duration", "0.1")
    assert run.code == 1
    assert run.err.startswith("taskstream run: [capture]: a total size of ")
    assert list(tmp_path.iterdir()) == [config]


@pytest.mark.kernel
def test_a_capture_has_the_names_of_cgroups_that_are_gone_at_once(tmp_path):
    parent = default_hierarchy()
    assert parent, "no cgroup v2 hierarchy"
    path = tmp_path / "live.tsc"
    with start("capture", path, "--quiet") as agent:
        wait_until(path.exists)
        for _ in range(7):
            with new_group(parent) as group:
                within = f"echo 0 > {group}/cgroup.procs; exec /bin/true within"
                subprocess.run(["/bin/sh", "-c", within], check=True)
                wait_until(lambda: (group / "cgroup.events").read_text().startswith("populated 0"))
        agent.send_signal(signal.SIGTERM)
        agent.communicate(timeout=30)
    pattern = f"/{group.name[:-1]}?"
    execs = taskstream("replay", path, "--to", "json", "--kind", "exec", "--cgroup", pattern).lines
    argvs = [row["argv"] for row in map(json.loads, execs) if row["kind"] == "exec"]
    assert argvs.count(["/bin/true", "within"]) == 7


@pytest.mark.kernel
@pytest.mark.parametrize("message", ["event", "batch", "json"])
def test_a_host_whose_name_is_no_utf8_is_recorded_under_an_escaped_one(tmp_path, message):
    need_root("a host is named in a namespace of its own")
    path = tmp_path / "live.tsc"
    begin = (
        "import os, socket, sys; socket.sethostname(b'caf\\xe9'); "
        "os.execv(sys.executable, [sys.executable, '-m', 'taskstream', *sys.argv[1:]])"
    )
    options = ["--duration", "2.5", "--update-every", "1", "--capture", str(path), "--json"]
    done = subprocess.run(
        ["unshare", "-u", sys.executable, "-c", begin, "run", "--message", message, *options],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2
    *events, _ = map(json.loads, taskstream("inspect", path, "--events", "--json").lines)
    assert {event["host"] for event in events} == {"caf\\xe9"}


# --- an output that takes nothing ---


def shell(line: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a line of the shell, where ``"$@"`` is ``taskstream`` with some words."""
    command = ["bash", "-o", "pipefail", "-c", line, "bash", sys.executable, "-m", "taskstream"]
    return subprocess.run(
        [*command, *map(str, words)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["inspect", "FILE"],
        ["inspect", "FILE", "--events"],
        ["replay", "FILE", "--to", "charts"],
        ["replay", "FILE", "--to", "json"],
        ["replay", "FILE", "--to", "prometheus"],
        ["export", "FILE", "--to", "csv"],
        ["export", "FILE", "--to", "parquet", "-o", "/dev/full", "--force"],
        ["rates", "FILE"],
        ["schema"],
    ],
    ids=" ".join,
)
def test_an_output_without_room_is_told_in_a_line(path, words):
    done = shell('"$@" > /dev/full', *[path if word == "FILE" else word for word in words])
    assert done.returncode == 1
    last = f"taskstream {words[0]}: the output cannot be written: No space left on device"
    assert done.stderr.splitlines()[-1] == last
    assert "Traceback" not in done.stderr


def test_a_closed_standard_output_is_as_good_as_dev_null(path):
    done = shell('"$@" >&-', "replay", path, "--to", "charts")
    assert (done.returncode, done.stderr) == (0, REPLAYED)


@pytest.mark.kernel
@pytest.mark.parametrize("verb", [["run", "--bootstrap", "off"], ["capture", "FILE", "--force"]])
@pytest.mark.parametrize(
    ("line", "code"), [('"$@" | head -1', 0), ('"$@" > /dev/full', 1)], ids=["pipe", "full"]
)
def test_a_run_whose_output_nobody_takes_closes_its_books(path, verb, line, code):
    words = [path if word == "FILE" else word for word in verb]
    done = shell(line, *words, "--duration", "20", "--update-every", "1")
    assert done.returncode == code
    assert re.search(r": counted ([\d,]+) = read \1 \+ lost 0; read ", done.stderr)
