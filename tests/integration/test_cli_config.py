"""`taskstream config` and `edit-config` as a user has them."""

import json
from pathlib import Path

import pytest

from taskstream import resource
from tests.command import taskstream


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return the user's directory; it does not exist yet."""
    return tmp_path / "etc"


def editor(tmp_path: Path, script: str) -> str:
    """Make an editor that runs a line of shell on the file $1."""
    path = tmp_path / "editor"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_stock_configuration_is_right(own):
    done = taskstream("config", TASKSTREAM_CONFIG_DIR=str(own))
    stock = resource.stock("process.conf")
    assert (done.code, done.out) == (0, f"{stock}: 0 options set, all right\n")


def test_a_wrong_file_is_told_with_its_line(own):
    own.mkdir()
    (own / "process.conf").write_text("[global]\napps = perhaps\n")
    done = taskstream("config", "--check", TASKSTREAM_CONFIG_DIR=str(own))
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"taskstream config: {own}/process.conf, line 2: `apps = perhaps` cannot be: "
        "allowed is yes or no\n"
    )


def test_show_tells_default_file_and_command_line_apart(own):
    own.mkdir()
    (own / "process.conf").write_text("[global]\nlifetime = 60\n")
    options = ("--apps", "--kafka", "sasl.password=hunter2", "--tracing", "probe")
    done = taskstream("config", "--show", *options, TASKSTREAM_CONFIG_DIR=str(own))
    assert done.code == 0
    rows = {line.split("#")[0].strip(): line.split("# ")[-1] for line in done.lines}
    assert rows["update every = 5"] == "default"
    assert rows["lifetime = 60"] == f"{own}/process.conf, line 2"
    assert rows["apps = yes"] == rows["ebpf co-re tracing = probe"] == "command line"
    assert "hunter2" not in done.out


def test_json_has_what_show_has(own):
    done = taskstream("config", "--json", "--update-every", "2", TASKSTREAM_CONFIG_DIR=str(own))
    found = json.loads(done.out)
    assert found["file"] == str(resource.stock("process.conf"))
    (row,) = [row for row in found["options"] if row["option"] == "update every"]
    assert row == {
        "section": "global",
        "option": "update every",
        "value": "2",
        "from": "command line",
    }


def test_check_and_show_exclude_each_other(own):
    done = taskstream("config", "--check", "--show", TASKSTREAM_CONFIG_DIR=str(own))
    assert done.code == 2


@pytest.mark.parametrize("name", ["process.conf", "ebpf.d/process.conf"])
def test_edit_config_copies_the_stock_file_and_opens_the_editor(own, tmp_path, name):
    edit = editor(tmp_path, 'sed -i "s/# apps = no/apps = yes/" "$1"')
    done = taskstream("edit-config", name, TASKSTREAM_CONFIG_DIR=str(own), VISUAL="", EDITOR=edit)
    assert done.code == 0, done.err
    text = resource.stock("process.conf").read_text()
    assert (own / "process.conf").read_text() == text.replace("# apps = no", "apps = yes")
    shown = taskstream("config", "--show", TASKSTREAM_CONFIG_DIR=str(own))
    assert "apps = yes" in shown.out


def test_edit_config_leaves_the_users_file_as_it_is(own, tmp_path):
    own.mkdir()
    (own / "process.conf").write_text("[global]\nlifetime = 60\n")
    edit = editor(tmp_path, 'echo "update every = 7" >> "$1"')
    taskstream("edit-config", "process.conf", TASKSTREAM_CONFIG_DIR=str(own), VISUAL=edit)
    assert (own / "process.conf").read_text() == "[global]\nlifetime = 60\nupdate every = 7\n"


def test_edit_config_tells_what_the_user_spoilt(own, tmp_path):
    edit = editor(tmp_path, 'echo "[ringg]" >> "$1"')
    done = taskstream("edit-config", "process.conf", TASKSTREAM_CONFIG_DIR=str(own), VISUAL=edit)
    assert done.code == 1
    assert "unknown section [ringg]" in done.err


def test_edit_config_edits_the_app_groups_too(own, tmp_path):
    edit = editor(tmp_path, 'echo "mine: \'nginx" >> "$1"')
    environment = {"TASKSTREAM_CONFIG_DIR": str(own), "VISUAL": edit}
    done = taskstream("edit-config", "apps_groups.conf", **environment)
    assert done.code == 1
    assert done.err.endswith("the quote 'nginx is not closed\n")


def test_edit_config_of_a_file_that_there_is_not_names_those_that_there_are(own):
    done = taskstream("edit-config", "netdata.conf", TASKSTREAM_CONFIG_DIR=str(own))
    assert done.code == 2
    assert "process.conf" in done.err


def test_an_editor_that_fails_is_told(own, tmp_path):
    edit = editor(tmp_path, "exit 3")
    done = taskstream("edit-config", "process.conf", TASKSTREAM_CONFIG_DIR=str(own), VISUAL=edit)
    assert done.code == 1
    assert done.err.endswith("failed with exit code 3\n")


def test_an_editor_that_is_not_there_is_told_before_anything_is_copied(own):
    done = taskstream(
        "edit-config", "process.conf", TASKSTREAM_CONFIG_DIR=str(own), VISUAL="/no/editor"
    )
    assert done.code == 1
    assert "no editor /no/editor: set EDITOR" in done.err
    assert not own.exists()
