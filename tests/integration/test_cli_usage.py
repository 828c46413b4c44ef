"""The command line before anything is done: help, versions, wrong usage, wrong configuration."""

import json
from collections.abc import Iterator

import click
import pytest

from taskstream import __version__, resource, schema
from taskstream.cli import taskstream as verbs
from taskstream.record import KINDS
from tests.command import taskstream


def test_schema_prints_every_field_with_its_meaning():
    done = taskstream("schema")
    assert (done.code, done.err) == (0, "")
    head, *rows = done.lines
    assert head.split() == ["field", "kinds", "type", "unit", "present", "meaning"]
    assert [row.split()[0] for row in rows] == [row["name"] for row in schema.field_rows()]


def test_schema_json_prints_the_json_schema_that_is_committed():
    done = taskstream("schema", "--json")
    assert (done.code, done.err) == (0, "")
    assert done.out == resource.schema("task_event.json").read_text()
    assert [v["title"] for v in json.loads(done.out)["oneOf"]] == list(KINDS)


def test_version_is_the_packages():
    done = taskstream("--version")
    assert (done.code, done.out) == (0, f"taskstream {__version__}\n")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_verb(option):
    done = taskstream(option)
    assert done.code == 0
    for verb in ("config", "consume", "doctor", "edit-config", "netdata-plugin", "run", "schema"):
        assert f"  {verb} " in done.out


def commands(group: click.Group = verbs) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from commands(command) if isinstance(command, click.Group) else [command]


@pytest.mark.parametrize("command", [*commands()], ids=lambda command: command.name)
def test_help_says_of_every_option_what_it_does_and_of_what_kind_its_value_is(command):
    options = [option for option in command.params if isinstance(option, click.Option)]
    context = click.Context(command)
    for option in options:
        words = (option.help or "").partition("[default")[0]
        assert words.rstrip().endswith("."), option.name
        vague = ("TEXT", "PATH", "INTEGER", "INTEGER RANGE", "FLOAT RANGE")
        assert option.is_flag or option.make_metavar(context) not in vague, option.name


BROKER = ["--bootstrap", "127.0.0.1:1"]
NO_UTF8 = "a=\udcff"
"""As Python has an argument with the byte 0xff."""


@pytest.mark.parametrize(
    "arguments",
    [
        *([verb, *BROKER, "--topic", NO_UTF8] for verb in ("consume", "metrics", "rates", "run")),
        ["doctor", *BROKER, "--topic", NO_UTF8],
        ["replay", "x", "--to", "kafka", *BROKER, "--topic", NO_UTF8],
        ["top", "--topic", NO_UTF8],
        ["topics", "check", *BROKER, "--topic", NO_UTF8],
        ["topics", "create", *BROKER, "--topic", NO_UTF8],
        ["consume", *BROKER, "--kafka", NO_UTF8],
        ["run", *BROKER, "--kafka", NO_UTF8],
        ["consume", "--bootstrap", NO_UTF8],
        *(["rates", *BROKER, option, NO_UTF8] for option in ("--group", "--instance")),
        ["rates", *BROKER, "--to", "kafka", "--output-topic", NO_UTF8],
    ],
    ids=" ".join,
)
def test_what_brokers_cannot_take_is_wrong_usage_and_not_shown(arguments):
    done = taskstream(*arguments)
    assert done.code == 2
    assert "it has bytes that are no UTF-8, which brokers do not take" in done.err
    assert "a=" not in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'."),
        (["schema", "--yaml"], "No such option"),
        (["schema", "extra"], "Got unexpected extra argument (extra)"),
        (["consume"], "Missing option '--bootstrap'."),
        (["consume", "--bootstrap", "x", "--count", "0"], "0 is not in the range x>=1."),
        (["consume", "--bootstrap", "x", "--duration", "-1"], "-1.0 is not in the range x>=0."),
        (["run", "--message", "avro"], "'avro' is not one of 'event', 'batch', 'json'."),
        (["capture", "x", "--tracing", "none"], "'none' is not one of 'trampoline', 'probe',"),
        (["replay", "x"], "Choose from:\n    kafka,\n    charts,"),
        (["run", "--load-mode", "both"], "'both' is not one of 'entry', 'return'."),
        (["run", "--update-every", "0"], "0 is not in the range 1<=x<=3600."),
        (["run", "--drain-timeout", "soon"], "'soon' is not a valid integer range."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_and_its_exit_code_is_two(arguments, said):
    done = taskstream(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[stream]\nmessage = avro\n",
            "{file}, line 2: `message = avro` cannot be: allowed is event, batch or json",
        ),
        (
            "# ours\n\n[ring]\nsise = 8M\n",
            "{file}, line 4: unknown option `sise` in [ring]: there are `size`, "
            "`arguments size`, `arguments kept`",
        ),
        (
            "[kafka]\nsasl.password = ${{env:TASKSTREAM_NONE}}\n",
            "{file}, line 2: the environment has no variable TASKSTREAM_NONE",
        ),
        ("[kafka]\nsasl.password hunter2\n", "{file}, line 2: no `=` in it, expected "),
    ],
    ids=["value", "option", "variable", "secret"],
)
def test_a_wrong_configuration_is_one_line_with_its_place(tmp_path, text, said):
    file = tmp_path / "process.conf"
    file.write_text(text.replace("{{", "{").replace("}}", "}"))
    done = taskstream("run", "--config", file)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"taskstream run: {said.format(file=file)}")
    assert done.err.count("\n") == 1


def test_a_configuration_that_is_not_there_is_one_line(tmp_path):
    done = taskstream("run", "--config", tmp_path / "none.conf")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"taskstream run: configuration {tmp_path}/none.conf cannot be read: "
        "No such file or directory\n"
    )


def test_an_option_is_told_before_anything_is_done(tmp_path):
    """A wrong --kafka needs no kernel, no rights and no broker to be told."""
    done = taskstream("run", "--kafka", "linger")
    assert (done.code, done.out) == (1, "")
    assert done.err == "taskstream run: --kafka: expected KEY=VALUE, as in linger.ms=50\n"
