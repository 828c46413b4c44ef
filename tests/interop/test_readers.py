"""Readers that know no taskstream see the events that taskstream sees, in every shape."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.kafka.cluster import JARS
from tests.unpacked import perl

pytestmark = pytest.mark.kafka

HERE = Path(__file__).parent
JSON_LINES = """
use JSON::PP;
my $json = JSON::PP->new->utf8->allow_nonref;
binmode STDOUT, ':encoding(UTF-8)';
while (<>) {
    my $event = $json->decode($_);
    print "@{$event}{qw(kind cpu seq pid comm)}\\n" if $event->{kind} ne 'report';
}
"""
KCAT = ["kcat", "-C", "-e", "-q", "-X", "fetch.wait.max.ms=50"]


def run(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, given: bytes = b""
) -> bytes:
    done = subprocess.run(command, input=given, env=environment, capture_output=True, timeout=120)
    assert not done.returncode, done.stderr.decode()
    return done.stdout


def lines(out: bytes) -> list[str]:
    return sorted(out.decode().splitlines())


def by_kind(printed: list[str]) -> Counter[str]:
    return Counter(line.split()[0] for line in printed)


def places(printed: list[str]) -> set[tuple[str, ...]]:
    return {tuple(line.split()[1:3]) for line in printed}


def assert_same(printed: list[str], expected: list[str]) -> None:
    """Compare counts by kind first, then the set of (cpu, seq), then everything."""
    assert by_kind(printed) == by_kind(expected)
    assert places(printed) == places(expected)
    assert printed == expected


in_messagepack = pytest.mark.parametrize("published", ["event", "batch"], indirect=True)
as_json = pytest.mark.parametrize("published", ["json"], indirect=True)


@in_messagepack
def test_python_with_msgpack_reads_what_taskstream_reads(published):
    # -I: neither the folder nor the environment lets it find taskstream by accident.
    script = (HERE / "reader.py").read_text()
    assert "taskstream" not in script.split('"""')[2]
    out = run([sys.executable, "-I", HERE / "reader.py", published.bootstrap, published.topic])
    assert_same(lines(out), published.lines)


@in_messagepack
def test_perl_reads_what_taskstream_reads(published):
    environment = perl("Data::MessagePack")
    where = ["-b", published.bootstrap, "-t", published.topic]
    values = run([*KCAT, *where, "-f", "%R%s"])
    out = run(["perl", HERE / "reader.pl"], environment, values)
    assert_same(lines(out), published.lines)


@in_messagepack
def test_java_reads_what_taskstream_reads(published):
    words = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*"]
    out = run(["java", *words, HERE / "Reader.java", published.bootstrap, published.topic])
    assert_same(lines(out), published.lines)


def test_kcat_shows_key_time_and_length_of_every_message(published):
    where = ["-b", published.bootstrap, "-t", published.topic]
    out = run([*KCAT, *where, "-f", "%k %T %S\\n"]).decode().splitlines()
    keys = Counter(line.split()[0] for line in out)
    assert keys["build-7"] == 1, "the report"
    if published.shape == "batch":
        assert keys.keys() == {"build-7", "build-7/0", "høst-2/0", "one-cpu/0"}
        return
    assert len(out) == len(published.events) + 1
    expected = Counter(
        f"{e['host']}/{e['tgid']:08x}-{e.get('process_start_ns', 0):016x} "
        f"{e['wall_ns'] // 1_000_000}"
        for e in published.events
    )
    found = Counter(line.rpartition(" ")[0] for line in out if "/" in line)
    assert found == expected


@as_json
def test_kcat_prints_a_line_of_json_for_every_message(published):
    """Perl's own module reads them; any other would do."""
    out = run([*KCAT, "-b", published.bootstrap, "-t", published.topic])
    assert out.count(b"\n") == len(published.events) + 1
    assert_same(lines(run(["perl", "-e", JSON_LINES], given=out)), published.lines)


@as_json
def test_kcats_own_json_has_the_event_as_its_payload(published):
    out = run([*KCAT, "-J", "-b", published.bootstrap, "-t", published.topic])
    messages = [json.loads(line) for line in out.splitlines()]
    events = [json.loads(message["payload"]) for message in messages]
    names = ("kind", "cpu", "seq", "pid", "comm")
    printed = [" ".join(str(e[n]) for n in names) for e in events if e["kind"] != "report"]
    assert_same(sorted(printed), published.lines)
    assert all(m["ts"] == e["wall_ns"] // 1_000_000 for m, e in zip(messages, events, strict=True))
