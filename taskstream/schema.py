"""What is generated from the record definition: the C header, the JSON Schema, the field tables.

Pure: text from tables. Only ``python -m taskstream.schema`` (``make schemas``) touches files:
it writes what is generated, and a test compares that with what is committed.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from taskstream import asyncapi, record, resource
from taskstream.record import Field

__all__ = ["c_header", "field_rows", "json_schema", "markdown"]

_C_TYPES = {"u1": "__u8", "u2": "__u16", "u4": "__u32", "u8": "__u64", "i4": "__s32"}
_JSON_TYPES = {"bool": "boolean", "str": "string", "list": "array"}


# --- C -------------------------------------------------------------------------------------------


def _c_member(name: str, dtype: np.dtype[Any]) -> str:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return f"{_C_TYPES[base.str[1:]]} {name}[COUNT_N]" if shape else ""
    if dtype.kind == "S":
        return f"char {name}[{dtype.itemsize}]"
    return f"{_C_TYPES[dtype.str[1:]]} {name}"


def _c_struct(name: str, dtype: np.dtype[np.void]) -> Iterator[str]:
    """Write one C struct for a dtype without unions, and the assertions that they agree."""
    fields = dtype.fields
    assert fields is not None
    yield f"struct {name} {{"
    for member, (kind, *_) in fields.items():
        yield f"\t{_c_member(member, kind)};"
    yield "};"
    yield from _c_assertions(name, dtype.itemsize, {m: int(f[1]) for m, f in fields.items()})
    yield ""


def _c_assertions(name: str, size: int, offsets: dict[str, int]) -> Iterator[str]:
    yield f'_Static_assert(sizeof(struct {name}) == {size}, "{name}");'
    for member, offset in offsets.items():
        yield f"_Static_assert(__builtin_offsetof(struct {name}, {member}) == {offset},"
        yield f'\t       "{member}");'


def _c_enum(name: str, values: dict[str, int]) -> Iterator[str]:
    yield f"enum {name} {{"
    for key, value in values.items():
        yield f"\t{key} = {value},"
    yield "};"
    yield ""


def _c_event() -> Iterator[str]:
    layout = record.RECORD.fields
    assert layout is not None
    yield "struct task_event {"
    for field in record.FIELDS:
        if not field.kinds:
            yield f"\t{_c_member(field.name, layout[field.name][0])};"
    yield "\tunion {"
    offsets = {f.name: int(layout[f.name][1]) for f in record.FIELDS if not f.kinds}
    tail = record.RECORD.itemsize - max(offsets.values()) - 16
    for kind in record.KINDS:
        own = [f for f in record.FIELDS if kind in f.kinds]
        if own:
            yield "\t\tstruct {"
            for field in own:
                yield f"\t\t\t{_c_member(field.name, layout[field.name][0])};"
            yield f"\t\t}} {kind};"
        offsets |= {f"{kind}.{f.name}": int(layout[f.name][1]) for f in own}
    yield f"\t\t__u64 tail[{tail // 8}];"
    yield "\t};"
    yield "};"
    yield from _c_assertions("task_event", record.RECORD.itemsize, offsets)
    yield ""


def c_header() -> str:
    """Return the text of ``bpf/task_event.h``."""
    lines = [
        "/* SPDX-License-Identifier: GPL-2.0-only */",
        "/* Generated from schemas/task_event.toml by `make schemas`: do not edit. */",
        "#ifndef TASK_EVENT_H",
        "#define TASK_EVENT_H",
        "",
        f"#define TASK_EVENT_VERSION {record.VERSION}",
        "#define TASK_ARGS_MAX 16384",
        "",
        *_c_enum("task_kind", {f"KIND_{k.upper()}": v for k, v in record.KINDS.items()}),
        *_c_enum("task_flag", {f"FLAG_{f.name.upper()}": f.mask for f in record.FLAGS.values()}),
        *_c_enum("task_call", {f"CALL_{k.upper()}": v for k, v in record.CALLS.items()}),
        *_c_enum(
            "task_count",
            {f"COUNT_{c.name.upper()}": i for i, c in enumerate(record.COUNTS)}
            | {"COUNT_N": len(record.COUNTS)},
        ),
        *_c_event(),
        *_c_struct("exec_args", record.ARGS_HEADER),
        *_c_struct("cpu_totals", record.CPU_TOTALS),
        *_c_struct("window_totals", record.WINDOW_TOTALS),
        *_c_struct("process_key", record.PROCESS_KEY),
        *_c_struct("process_losses", record.PROCESS_LOSSES),
        *_c_struct("settings", record.SETTINGS),
        "#endif",
        "",
    ]
    return "\n".join(lines)


# --- JSON Schema ---------------------------------------------------------------------------------


def _json_number(dtype: str) -> dict[str, Any]:
    if dtype == "bool":
        return {"type": "boolean"}
    signed, bits = dtype[0] == "i", int(dtype[1:])
    low = -(1 << bits - 1) if signed else 0
    return {"type": "integer", "minimum": low, "maximum": (1 << bits - signed) - 1}


def _json_field(field: Field, *, nullable: bool) -> dict[str, Any]:
    if field.name == "kind":
        shape: dict[str, Any] = {"enum": list(record.KINDS)}
    elif field.name == "call":
        shape = {"enum": list(record.CALLS)}
    elif field.type == "list":
        shape = {"type": "array", "items": {"type": "string"}}
    elif field.type in ("str", "char[16]"):
        shape = {"type": ["string", "null"] if nullable else "string"}
    else:
        shape = _json_number(field.type)
    return shape | {"description": f"{field.doc} Unit: {field.unit}." if field.unit else field.doc}


def _sometimes() -> set[str]:
    """Fields that an event of their kind may lack."""
    flags = record.FLAGS.values()
    return {name for flag in flags for name in (*flag.hides, *flag.shows)}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a decoded ``event`` message."""
    nullable = {"cgroup", "container", "service", "app_group"}
    variants = []
    for kind in record.KINDS:
        fields = (
            *record.wire_fields(kind),
            *record.derived_fields(kind),
            *record.text_fields(kind),
        )
        properties = {f.wire: _json_field(f, nullable=f.name in nullable) for f in fields}
        properties["v"] |= {"const": record.VERSION}
        properties["kind"] = {"const": kind, "description": properties["kind"]["description"]}
        variants.append(
            {
                "title": kind,
                "type": "object",
                "properties": properties,
                "required": [f.wire for f in fields if f.name not in _sometimes()],
                "additionalProperties": False,
            }
        )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:taskstream:task_event:{record.VERSION}",
        "title": "taskstream task event",
        "description": "One task lifecycle event, as a decoded MessagePack map.",
        "oneOf": variants,
    }


# --- tables --------------------------------------------------------------------------------------


def field_rows() -> list[dict[str, str]]:
    """Return one row per field of a message: name, kinds, type, unit, since, doc, when."""
    when: dict[str, str] = {}
    for flag in record.FLAGS.values():
        when |= dict.fromkeys(flag.hides, f"not with {flag.name}")
        when |= dict.fromkeys(flag.shows, f"with {flag.name}")
    rows, seen = [], set()
    for kind in record.KINDS:
        for group in (record.wire_fields, record.derived_fields, record.text_fields):
            for field in group(kind):
                if field.name in seen:
                    continue
                seen.add(field.name)
                shown = "str" if field.name in ("kind", "call") else field.type
                rows.append(
                    {
                        "name": field.wire,
                        "kinds": " ".join(field.kinds) or "all",
                        "type": shown,
                        "unit": field.unit,
                        "since": str(field.since),
                        "present": when.get(field.name, "always"),
                        "doc": field.doc,
                    }
                )
    rows.sort(key=lambda row: row["kinds"] != "all")
    return rows


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)


def markdown() -> str:
    """Return the text of ``docs/record.md``."""
    kinds = [[f"`{row['name']}`", row["doc"]] for row in record.kind_docs()]
    flags = [[str(f.bit), f"`{f.name}`", f.doc] for f in record.FLAGS.values()]
    counts = [[f"`{c.name}`", c.kind, c.doc] for c in record.COUNTS]
    head = ["field", "kinds", "type", "unit", "since", "present", "meaning"]
    fields = [
        [
            f"`{r['name']}`", r["kinds"], r["type"], r["unit"], r["since"], r["present"], r["doc"]
        ]
        for r in field_rows()
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# The task event",
            "Generated from `schemas/task_event.toml` by `make schemas`: do not edit. "
            f"This is schema version {record.VERSION}.",
            "## Kinds",
            _table(["kind", "meaning"], kinds),
            "## Fields of an `event` message",
            "A field that is unknown is absent (numbers) or nil (texts), never zero.",
            _table(head, fields),
            "## Bits of `flags`",
            _table(["bit", "name", "meaning"], flags),
            "## What the kernel counts without loss",
            _table(["count", "kind", "meaning"], counts) + "\n",
        ]
    )


def _write() -> None:
    root = resource.schema("task_event.toml").parent.parent
    (root / "bpf" / "task_event.h").write_text(c_header())
    (root / "docs" / "record.md").write_text(markdown())
    text = json.dumps(json_schema(), indent=2) + "\n"
    (root / "schemas" / "task_event.json").write_text(text)
    text = json.dumps(asyncapi.document(), indent=2) + "\n"
    (root / "schemas" / "asyncapi.json").write_text(text)


if __name__ == "__main__":
    _write()
