"""Events in the words of OCSF, ECS and OpenTelemetry: published names, and nothing lost.

OCSF's schema and OpenTelemetry's names and protocol come from packages that publish them; ECS's
names and types are written down in ``tests/published/ecs.json``.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
from opentelemetry.semconv import schemas

from taskstream.cli.event_line import event_maps
from taskstream.record import KINDS
from taskstream.vocabulary import VOCABULARIES
from tests.synthetic import batch, bits, each_kind, event

with warnings.catch_warnings():  # some names of the registry are deprecated there
    warnings.simplefilter("ignore")
    from opentelemetry.semconv._incubating.attributes import (
        container_attributes,
        error_attributes,
        host_attributes,
        process_attributes,
        thread_attributes,
    )

ROOT = Path(__file__).parents[2]
ECS = json.loads((ROOT / "tests/published/ecs.json").read_text())

MANY = batch(
    *(event(kind) for kind in KINDS),
    event("fork", flags=bits("thread"), pid=11, tgid=10),
    event("exec", flags=bits("args_lost")),
    event("exec", argv=b"sh\0-c\0echo it's 'so'\0\0", filename=b"/bin/sh"),
    event("exit", flags=bits("group_dead"), exit_code=0x0300),
    event("exit", flags=bits("group_dead"), exit_code=0x0009),
    event("exit", flags=bits("thread"), pid=11, tgid=10),
    event("free", flags=bits("reaper_known")),
    event("free", flags=bits("parent_unknown", "pidns_unknown", "process_unknown")),
    event("task", flags=bits("start_coarse", "cgroup_unknown")),
    event("fail", call=5, errno=2),
    event("fail", call=1, errno=11),
)
EVENTS = [
    e | labels
    for labels in (
        {},
        {
            "cgroup": "/system.slice/docker-1.scope",
            "container": "0f3a",
            "service": "docker",
            "app_group": "dockerd",
        },
    )
    for e in event_maps(MANY)
]


def names(kind: Any) -> str:
    return f"{kind['kind']} {kind['flags']:#x}"


def translated(name: str, which: Callable[[dict[str, Any]], bool]) -> list[Any]:
    return [VOCABULARIES[name].translate(e) for e in EVENTS if which(e)]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a map of maps holds, by dotted path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    else:
        yield path, value


def attributes(line: dict[str, Any]) -> dict[str, Any]:
    """Return all attributes of a line of OTLP/JSON, resource included, as plain values."""

    def plain(value: dict[str, Any]) -> Any:
        ((kind, held),) = value.items()
        if kind == "arrayValue":
            return [plain(one) for one in held["values"]]
        return int(held) if kind == "intValue" else held

    (resource,) = line["resourceLogs"]
    (record,) = resource["scopeLogs"][0]["logRecords"]
    listed = resource["resource"]["attributes"] + record["attributes"]
    found = {one["key"]: plain(one["value"]) for one in listed}
    assert len(found) == len(listed), "an attribute stands there twice"
    return found


# --- nothing lost --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_known_member_is_told_whole_or_in_the_rest(name):
    vocabulary = VOCABULARIES[name]
    for e in EVENTS:
        line = vocabulary.translate(e)
        rest = line.get("unmapped") or line.get("taskstream") or {}
        if name == "otel":
            heads = attributes(line).items()
            rest = {k.removeprefix("taskstream."): v for k, v in heads if "taskstream." in k}
        terms = [t for t in vocabulary.terms if t.whole and t.value(e) is not None]
        told = {field for term in terms for field in term.fields}
        known = {member for member, value in e.items() if value is not None}
        assert not told & rest.keys()
        assert known <= told | rest.keys()
        assert all(rest[member] == e[member] for member in known - told)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_term_that_tells_a_member_whole_differs_where_the_member_does(name):
    other = {int: lambda v: v + 1, str: lambda v: f"{v}x", list: lambda v: [*v, "x y"]}
    for term in VOCABULARIES[name].terms:
        if not term.whole or not term.fields:
            continue
        (field,) = term.fields
        tried = 0
        for e in EVENTS:
            if e.get(field) is None or term.value(e) is None:
                continue
            changed = e | {field: other[type(e[field])](e[field])}
            if field == "wall_ns":
                changed["boot_ns"] = e["boot_ns"]
            assert term.value(changed) != term.value(e), f"{term.path} of {names(e)}"
            tried += 1
        assert tried, f"no event has {field}"


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_path_stands_once_and_under_no_other(name):
    paths = [term.path for term in VOCABULARIES[name].terms]
    assert len(paths) == len(set(paths))
    if name != "otel":
        assert not [p for p in paths for other in paths if other.startswith(f"{p}.")]


# --- OCSF ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ocsf() -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=VOCABULARIES["ocsf"].version))
    profiles = ["host", "container", "linux/linux_users"]
    return Draft202012Validator(schema.get_class_schema("process_activity", profiles=profiles))


@pytest.mark.parametrize("e", EVENTS, ids=names)
def test_an_event_is_valid_process_activity_by_ocsfs_own_schema(ocsf, e):
    ocsf.validate(VOCABULARIES["ocsf"].translate(e))


def test_ocsfs_schema_refuses_a_name_that_is_not_ocsfs(ocsf):
    line = VOCABULARIES["ocsf"].translate(EVENTS[0])
    assert ocsf.is_valid(line)
    assert not ocsf.is_valid(line | {"pid": 1})
    assert not ocsf.is_valid(line | {"process": line["process"] | {"start": 1}})
    assert not ocsf.is_valid({k: v for k, v in line.items() if k != "actor"})


@pytest.mark.parametrize(
    ("which", "activity"),
    [
        (lambda e: e["kind"] == "fork" and not e["flags"] & 1, (1, "Launch", 2, 1)),
        (lambda e: e["kind"] == "fork" and e["flags"] & 1, (99, "Create Thread", None, 1)),
        (lambda e: e["kind"] == "exec", (1, "Launch", 3, 1)),
        (lambda e: e["kind"] == "exit" and e["flags"] & 16, (2, "Terminate", None, 1)),
        (lambda e: e["kind"] == "exit" and not e["flags"] & 16, (99, "End Thread", None, 1)),
        (lambda e: e["kind"] == "free", (99, "Release", None, 1)),
        (lambda e: e["kind"] == "task", (99, "Running", None, 1)),
        (lambda e: e.get("call") in ("execve", "execveat"), (1, "Launch", 3, 2)),
        (lambda e: e.get("call") in ("fork", "clone", "vfork"), (1, "Launch", 2, 2)),
    ],
    ids=["fork", "thread", "exec", "dead", "thread-end", "free", "task", "exec-fail", "fork-fail"],
)
def test_what_happened_is_an_activity_of_ocsf(which, activity):
    found = translated("ocsf", which)
    assert found
    for line in found:
        said = (line["activity_id"], line["activity_name"], line.get("launch_type_id"))
        assert (*said, line["status_id"]) == activity
        assert line["type_uid"] == 100_700 + line["activity_id"]


def test_who_did_it_is_the_caller_or_the_reaper_or_the_task_itself():
    for e in EVENTS:
        actor = VOCABULARIES["ocsf"].translate(e)["actor"]
        if e["kind"] == "fork":
            expected = {"process": {"pid": e["caller_tgid"], "ptid": e["caller_pid"]}}
        elif e["kind"] == "free":
            reaper = e.get("reaper_tgid")
            expected = {"process": {"pid": reaper}} if reaper else {"app_name": "kernel"}
        elif e["kind"] == "task":
            expected = {"app_name": "taskstream"}
        else:
            expected = {"process": {"pid": e["tgid"], "ptid": e["pid"]}}
        assert actor == expected


# --- ECS -----------------------------------------------------------------------------------------

IS_OF = {
    "date": lambda v: bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", v)),
    "keyword": lambda v: isinstance(v, str),
    "wildcard": lambda v: isinstance(v, str),
    "keyword[]": lambda v: isinstance(v, list) and all(isinstance(one, str) for one in v),
    "long": lambda v: type(v) is int and -(1 << 63) <= v < 1 << 63,
}


@pytest.mark.parametrize("e", EVENTS, ids=names)
def test_an_event_has_names_and_types_of_ecs_and_the_rest_is_under_taskstream(e):
    line = VOCABULARIES["ecs"].translate(e)
    for path, value in leaves(line):
        if not path.startswith("taskstream."):
            assert IS_OF[ECS["fields"][path]](value), f"{path}: {value!r}"
            for one in value if isinstance(value, list) else [value]:
                assert one in ECS["allowed"].get(path, [one])
    assert line["ecs"]["version"] == ECS["version"]


@pytest.mark.parametrize(
    ("which", "types", "outcome"),
    [
        (lambda e: e["kind"] == "fork" and not e["flags"] & 1, ["start"], "success"),
        (lambda e: e["kind"] == "fork" and e["flags"] & 1, ["change"], "success"),
        (lambda e: e["kind"] == "exec", ["start"], "success"),
        (lambda e: e["kind"] == "exit" and e["flags"] & 16, ["end"], "success"),
        (lambda e: e["kind"] == "exit" and not e["flags"] & 16, ["change"], "success"),
        (lambda e: e["kind"] == "free", ["info"], "success"),
        (lambda e: e["kind"] == "task", ["info"], None),
        (lambda e: e["kind"] == "fail", ["start"], "failure"),
    ],
    ids=["fork", "thread", "exec", "dead", "thread-end", "free", "task", "fail"],
)
def test_what_happened_is_a_type_of_event_of_ecs(which, types, outcome):
    found = translated("ecs", which)
    assert found
    assert [(e["event"]["type"], e["event"].get("outcome")) for e in found] == [
        (types, outcome)
    ] * len(found)


# --- OpenTelemetry -------------------------------------------------------------------------------

ATTRIBUTES = {
    value
    for module in (
        container_attributes,
        error_attributes,
        host_attributes,
        process_attributes,
        thread_attributes,
    )
    for name, value in vars(module).items()
    if name.isupper()
}


@pytest.mark.parametrize("e", EVENTS, ids=names)
def test_an_event_is_otlp_json_with_attributes_of_the_semantic_conventions(e):
    line = VOCABULARIES["otel"].translate(e)
    (logs,) = json_format.ParseDict(line, LogsData()).resource_logs  # refuses what it knows not
    (record,) = logs.scope_logs[0].log_records
    assert record.time_unix_nano == e["wall_ns"]
    assert record.event_name == f"taskstream.{e['kind']}"
    assert not [k for k in attributes(line) if not k.startswith("taskstream.") | (k in ATTRIBUTES)]


def test_the_schema_url_of_opentelemetry_is_a_published_one():
    line = VOCABULARIES["otel"].translate(EVENTS[0])
    url = line["resourceLogs"][0]["scopeLogs"][0]["schemaUrl"]
    assert url in {s.value for s in schemas.Schemas}


def test_a_number_beyond_64_bits_with_sign_is_text_in_otlp():
    (line,) = translated("otel", lambda e: e is EVENTS[0])
    assert json_format.ParseDict(line, LogsData())
    huge = VOCABULARIES["otel"].translate(EVENTS[0] | {"clone_flags": (1 << 64) - 1})
    assert json_format.ParseDict(huge, LogsData())
    assert attributes(huge)["taskstream.clone_flags"] == str((1 << 64) - 1)


# --- values --------------------------------------------------------------------------------------


def test_a_process_has_one_identity_in_all_its_events_and_none_where_it_is_coarse():
    lives = [e for e in EVENTS if "process_start_ns" in e]
    for e in lives:
        uid = VOCABULARIES["ocsf"].translate(e)["process"].get("uid")
        entity = VOCABULARIES["ecs"].translate(e)["process"].get("entity_id")
        whole = f"{e['host']}/{e['boot_id']}/{e['tgid']}-{e['process_start_ns']}"
        assert uid == entity == (None if e["flags"] & bits("start_coarse") else whole)
    without = [e for e in EVENTS if "process_start_ns" not in e]
    assert without
    for e in without:
        assert "uid" not in VOCABULARIES["ocsf"].translate(e)["process"]


def test_times_are_wall_clock_by_the_events_own_clock_pair():
    (e,) = [e for e in event_maps(each_kind()) if e["kind"] == "fork"]
    e = e | {"wall_ns": 1_790_000_000_123_456_789, "boot_ns": 5_000_000_000}
    e["process_start_ns"] = 4_000_000_000
    ecs, ocsf = (VOCABULARIES[name].translate(e) for name in ("ecs", "ocsf"))
    assert ecs["@timestamp"] == "2026-09-21T14:13:20.123456789Z"
    assert ecs["process"]["start"] == "2026-09-21T14:13:19.123456789Z"
    assert datetime.fromisoformat(ecs["@timestamp"]).timestamp() == 1_790_000_000.123456
    assert ocsf["time"] == 1_790_000_000_123
    assert ocsf["process"]["created_time"] == 1_789_999_999_123


def test_an_exit_code_is_the_status_or_128_and_the_signal_of_a_dead_process_alone():
    ends = [e for e in EVENTS if e["kind"] == "exit"]
    codes = {
        (e["flags"] & 16 != 0, e["status"], e["signal"]): (
            VOCABULARIES["ocsf"].translate(e).get("exit_code"),
            VOCABULARIES["ecs"].translate(e)["process"].get("exit_code"),
            attributes(VOCABULARIES["otel"].translate(e)).get("process.exit.code"),
        )
        for e in ends
    }
    assert codes[True, 3, 0] == (3, 3, 3)
    assert codes[True, 0, 9] == (137, 137, 137)
    assert all(code == (None,) * 3 for (dead, *_), code in codes.items() if not dead)


def test_a_command_line_is_quoted_for_a_shell_and_says_every_argument():
    (e, *_) = [e for e in EVENTS if "echo it's 'so'" in (e.get("argv") or [])]
    assert VOCABULARIES["ecs"].translate(e)["process"]["args"] == ["sh", "-c", "echo it's 'so'", ""]
    line = VOCABULARIES["ocsf"].translate(e)["process"]["cmd_line"]
    assert line == """sh -c 'echo it'"'"'s '"'"'so'"'"'' ''"""


def test_an_error_has_its_name():
    for e in EVENTS:
        if e["kind"] == "fail" and e["errno"] in (2, 11):
            name = {2: "ENOENT", 11: "EAGAIN"}[e["errno"]]
            assert VOCABULARIES["ocsf"].translate(e)["status_code"] == name
            assert VOCABULARIES["ecs"].translate(e)["error"]["code"] == name
            assert attributes(VOCABULARIES["otel"].translate(e))["error.type"] == name
