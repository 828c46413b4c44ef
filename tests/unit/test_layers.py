"""Who may import whom. The tables are the law; a new module takes its place in them.

An entry stands for a module of ``taskstream``, or for a package and everything in it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import taskstream

PACKAGE = Path(taskstream.__file__).parent

# A module imports from its own layer and from those above it.
LAYERS = {
    "nouns": [
        "batch",
        "charge",
        "clock",
        "errors",
        "interval",
        "record",
        "report",
        "resource",
        "stats",
        "text",
    ],
    "pure": [
        "asyncapi",
        "board",
        "cells",
        "changelog",
        "chart",
        "closing",
        "collection",
        "drops",
        "fleet_topic",
        "grouping",
        "hook",
        "lead",
        "ledger",
        "merge",
        "message",
        "order",
        "pacing",
        "partial",
        "rates",
        "reducer",
        "schema",
        "selection",
        "sequence",
        "share",
        "table",
        "tail",
        "topic",
        "turn",
        "vocabulary",
    ],
    "rim": [
        "arrow",
        "broker",
        "capture",
        "consumer",
        "control",
        "doctor",
        "feed",
        "kafka_client",
        "meter",
        "place",
        "refusal",
        "sink",
        "source",
        "spool",
        "target",
        "topic_admin",
    ],
    "joint": [
        "config",
        "effective",
        "fleet",
        "group_topics",
        "groups",
        "pipeline",
        "recount",
        "replay",
        "steering",
    ],
    "face": ["cli", "__main__"],
}

# What has an outside to it is known to these modules alone.
OUTSIDE = {
    "bcc": ["source.bcc_compiler"],
    "click": ["cli"],
    "confluent_kafka": [
        "broker",
        "consumer",
        "doctor",
        "kafka_client",
        "refusal",
        "sink.kafka_producer",
        "sink.kafka_start",
        "sink.transaction",
        "topic_admin",
    ],
    "ctypes": [
        "source.bpf_object",
        "source.btf",
        "source.libbpf",
        "source.perf_event",
        "source.ring",
        "source.tracefs",
    ],
    "msgpack": [
        "board.gatherer",
        "capture.content",
        "changelog",
        "cli.event_line",
        "message.batch_decode",
        "message.columns",
        "message.decode",
        "share",
        "tail",
    ],
    "prometheus_client": ["sink.outlet", "sink.prometheus", "sink.rates_metrics"],
    "pyarrow": ["arrow", "sink.table"],
    "rich": ["cli", "sink.screen", "sink.top"],
    "textual": ["sink.top"],
    "zstandard": ["capture.frame", "capture.writer"],
    "taskstream.source.libbpf": ["doctor", "source"],
}

RANK = {entry: rank for rank, entries in enumerate(LAYERS.values()) for entry in entries}


def is_in(module: str, entry: str) -> bool:
    return module == entry or module.startswith(f"{entry}.")


def rank(module: str) -> int:
    """Return the number of a module's layer; the package itself is above all."""
    if not module:
        return -1
    return RANK[module.split(".", 1)[0]]


def name(path: Path) -> str:
    """Return a file's module, as the tables name it."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of everything that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: import absolutely"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = whole.removeprefix("taskstream.") in FILES
                yield node.lineno, whole if is_module else node.module


def test_every_module_has_its_layer():
    homeless = [module for module in FILES if module and module.split(".", 1)[0] not in RANK]
    assert not homeless, f"say in LAYERS of {__file__} where these belong: {homeless}"


def test_no_layer_names_a_module_of_another():
    entries = [entry for entries in LAYERS.values() for entry in entries]
    assert len(entries) == len(set(entries))


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_from_its_own_layer_and_those_above(module):
    for line, target in imports(FILES[module]):
        if is_in(target, "taskstream"):
            other = target.removeprefix("taskstream").removeprefix(".")
            assert rank(other) <= rank(module), f"line {line}: {module} may not import {other}"


@pytest.mark.parametrize("module", FILES)
def test_a_module_leaves_the_outside_to_those_whose_it_is(module):
    for line, target in imports(FILES[module]):
        for outside, known in OUTSIDE.items():
            allowed = any(is_in(module, entry) for entry in known)
            assert allowed or not is_in(target, outside), (
                f"line {line}: {outside} is for {', '.join(known) or 'nobody yet'}"
            )


def test_contributing_shows_the_same_table():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (PACKAGE.parent / "CONTRIBUTING.md").read_text().splitlines()
        if line.startswith("|")
    ]
    shown = {row[0]: row[1].split(", ") for row in rows if row[0] in LAYERS}
    layers = {layer: [e for e in entries if e != "__main__"] for layer, entries in LAYERS.items()}
    assert shown == layers
