"""Readers that know no taskstream see the events that taskstream sees, in every shape."""

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


def test_python_with_msgpack_reads_what_taskstream_reads(published):
    # -I: neither the folder nor the environment lets it find taskstream by accident.
    script = (HERE / "reader.py").read_text()
    assert "taskstream" not in script.split('"""')[2]
    out = run([sys.executable, "-I", HERE / "reader.py", published.bootstrap, published.topic])
    assert_same(lines(out), published.lines)


def test_perl_reads_what_taskstream_reads(published):
    environment = perl("Data::MessagePack")
    where = ["-b", published.bootstrap, "-t", published.topic]
    values = run([*KCAT, *where, "-f", "%R%s"])
    out = run(["perl", HERE / "reader.pl"], environment, values)
    assert_same(lines(out), published.lines)


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
        assert keys.keys() == {"build-7", "build-7/0", "høst-2/0"}
        return
    assert len(out) == len(published.events) + 1
    expected = Counter(
        f"{e['host']}/{e['tgid']:08x}-{e.get('process_start_ns', 0):016x} "
        f"{e['wall_ns'] // 1_000_000}"
        for e in published.events
    )
    found = Counter(line.rpartition(" ")[0] for line in out if "/" in line)
    assert found == expected
