"""Every option is shown once, with the value in force and the place that set it."""

from pathlib import Path
from typing import Any

import pytest

from taskstream.config.config import Config
from taskstream.config.file import load, read
from taskstream.config.option import OPTIONS
from taskstream.effective import COMMAND_LINE, DEFAULT, effective, in_force


@pytest.fixture
def shown(tmp_path: Path) -> Any:
    """Return what is shown of a file's text and a command line, by section and option."""

    def show(text: str, given: dict[str, Any] | None = None, **kafka: str) -> dict[Any, Any]:
        file = tmp_path / "process.conf"
        file.write_text(text)
        rows = list(effective(read(file), given or {}, kafka))
        found = {(r.section, r.option): (r.value, r.origin.replace(str(file), "F")) for r in rows}
        assert len(found) == len(rows)
        return found

    return show


def test_every_option_is_shown(shown):
    every = {(section, name) for section, options in OPTIONS.items() for name in options}
    assert shown("").keys() == every | {("kafka", "bootstrap.servers")}


def test_what_nobody_set_is_the_default(shown):
    found = shown("")
    assert found["global", "update every"] == ("5", DEFAULT)
    assert found["global", "maps per core"] == ("yes", DEFAULT)
    assert found["kafka", "bootstrap.servers"] == ("embedded", DEFAULT)
    assert {origin for _, origin in found.values()} == {DEFAULT}


def test_what_a_file_sets_is_shown_with_the_last_line_that_sets_it(shown):
    found = shown("[global]\napps = yes\n\napps = no\nupdate every = 7\n")
    assert found["global", "apps"] == ("no", "F, line 4")
    assert found["global", "update every"] == ("7", "F, line 5")


def test_the_command_line_goes_over_the_file(shown):
    found = shown("[stream]\ntopic = a\n[global]\napps = yes\n", {"topic": "b", "apps": False})
    assert found["stream", "topic"] == ("b", COMMAND_LINE)
    assert found["global", "apps"] == ("no", COMMAND_LINE)


def test_an_option_that_the_command_line_leaves_out_stays_as_it_is(shown):
    assert shown("[stream]\ntopic = a\n", {"topic": None})["stream", "topic"] == ("a", "F, line 2")


def test_the_brokers_come_from_file_or_command_line(shown):
    text = "[kafka]\nbootstrap.servers = a:1\n"
    assert shown(text)["kafka", "bootstrap.servers"] == ("a:1", "F, line 2")
    given = shown(text, {"bootstrap": "b:1"})
    assert given["kafka", "bootstrap.servers"] == ("b:1", COMMAND_LINE)


@pytest.mark.parametrize("name", ["sasl.password", "ssl.key.password"])
def test_no_secret_is_shown_wherever_it_came_from(shown, name):
    assert shown(f"[kafka]\n{name} = hunter2\n")["kafka", name][0] == "(secret)"
    assert shown("", None, **{name: "hunter2"})["kafka", name][0] == "(secret)"


def test_a_reference_is_shown_unresolved(shown, monkeypatch):
    monkeypatch.setenv("TASKSTREAM_TEST_SECRET", "hunter2")
    reference = "${env:TASKSTREAM_TEST_SECRET}"
    for name in ("sasl.password", "sasl.username"):
        found = shown(f"[kafka]\n{name} = {reference}\n")
        assert found["kafka", name] == (reference, "F, line 2")
        assert "hunter2" not in str(found)


def test_what_is_shown_can_be_put_into_a_file(shown, tmp_path):
    given = {"apps": True, "ring_bytes": 1 << 20, "update_every_s": 3, "host": "web-3"}
    lines, section = [], ""
    for (where, option), (value, _) in shown("", given).items():
        if where != section:
            section = where
            lines.append(f"[{section}]")
        lines.append(f"{option} = {value}")
    file = tmp_path / "again.conf"
    file.write_text("\n".join(lines))
    assert Config(**load(file)) == Config(**given)


def test_what_is_in_force_in_a_run_is_every_option_and_no_secret():
    config = Config(apps=True, bootstrap="a:9092", kafka={"sasl.password": "x", "linger.ms": "5"})
    rows = {(row["section"], row["option"]): row for row in in_force(config)}
    every = {(section, name) for section, options in OPTIONS.items() for name in options}
    kafka = {("kafka", name) for name in ("bootstrap.servers", "sasl.password", "linger.ms")}
    assert rows.keys() == every | kafka
    assert {key: row["value"] for key, row in rows.items() if not row["default"]} == {
        ("global", "apps"): "yes",
        ("kafka", "bootstrap.servers"): "a:9092",
        ("kafka", "sasl.password"): "(secret)",
        ("kafka", "linger.ms"): "5",
    }
