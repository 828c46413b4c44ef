"""ClickHouse, as the Python package chDB, reads events as JSONEachRow.

chDB is some 180 MB: `make test-all` installs it. It loads ClickHouse for good, so it runs in a
process of its own.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.command import taskstream
from tests.needs import go_without
from tests.topic import fetch

pytestmark = [pytest.mark.kafka, pytest.mark.large]

DOCUMENT = Path(__file__).parents[2] / "docs/readers.md"
ASK = "import sys, chdb; print(chdb.query(sys.argv[1], 'JSONEachRow'), end='')"


@pytest.fixture(scope="module", autouse=True)
def chdb() -> None:
    if subprocess.run([sys.executable, "-c", "import chdb"], capture_output=True).returncode:
        go_without("no chdb: make test-all")


def ask(query: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, "-c", ASK, query], capture_output=True, text=True, timeout=120
    )
    assert not done.returncode, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_counts(path: Path, events: list[dict]) -> None:
    """Compare counts by kind, sums of what no double holds, and the set of (cpu, seq)."""
    where = f"FROM file('{path}', 'JSONEachRow') WHERE kind != 'report'"
    rows = ask(f"SELECT kind, toUInt32(count()) AS n {where} GROUP BY kind")
    assert {row["kind"]: row["n"] for row in rows} == Counter(e["kind"] for e in events)
    rows = ask(f"SELECT toString(cpu) AS cpu, toString(seq) AS seq {where}")
    assert {(row["cpu"], row["seq"]) for row in rows} == {
        (str(e["cpu"]), str(e["seq"])) for e in events
    }
    (row,) = ask(f"SELECT toString(sum(toInt128(wall_ns))) AS total {where}")
    assert row["total"] == str(sum(e["wall_ns"] for e in events))


@pytest.mark.parametrize("published", ["event", "batch", "json"], indirect=True)
def test_lines_of_consume_are_a_table_of_clickhouse(published, tmp_path):
    done = taskstream(
        "consume", "--bootstrap", published.bootstrap, "--topic", published.topic, "-e",
        "--format", "json",
    )  # fmt: skip
    path = tmp_path / "events.jsonl"
    path.write_text(done.out)
    assert_counts(path, published.events)


@pytest.mark.parametrize("published", ["json"], indirect=True)
def test_messages_of_shape_json_are_a_table_of_clickhouse(published, tmp_path):
    path = tmp_path / "topic.jsonl"
    path.write_bytes(b"\n".join(m.value for m in fetch(published.bootstrap, published.topic)))
    assert_counts(path, published.events)


def test_the_table_of_the_docs_is_clickhouses_sql():
    found = re.search(r"```sql\n(CREATE TABLE.*?);\n```", DOCUMENT.read_text(), re.S)
    assert found
    assert ask(f"EXPLAIN AST {found[1]}")
