"""The documents say what the code does."""

import re
from pathlib import Path

from taskstream.config import OPTIONS
from taskstream.sink.kafka import DEFAULTS

ROOT = Path(__file__).parents[2]


def test_docs_kafka_lists_every_setting_with_its_value() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (\S+) \|", (ROOT / "docs/kafka.md").read_text(), re.M)
    expected = {name: str(value).lower() for name, value in DEFAULTS.items()}
    assert dict(rows) == expected


def test_every_option_of_the_readmes_configuration_exists() -> None:
    example = re.search(r"```ini\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert example
    section = ""
    for line in example[1].splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and section != "kafka":
            assert line.split("=")[0].strip() in OPTIONS[section], line


def test_every_test_that_docs_delivery_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/delivery.md").read_text()))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert not [name for name in named if f"def {name}(" not in tests]
