"""The AsyncAPI document of the topics: who writes what where, in which format, by which key.

Pure: a map from tables. ``make schemas`` writes it to ``schemas/asyncapi.json``, beside the JSON
Schemas that it refers to. https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from typing import Any

from taskstream import __version__, record
from taskstream.batch import Label
from taskstream.message.batch_layout import BATCH_VERSION, CONSTANT, DELTA, SPLIT, WRITTEN
from taskstream.record import COUNTS, KINDS, VERSION

__all__ = ["document"]

_U64 = {"type": "integer", "minimum": 0, "maximum": (1 << 64) - 1}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string"}
_BYTES = {"type": "string", "contentEncoding": "binary", "description": "MessagePack's bin"}
_MAY = ("groups", "encoding", "written", "layout", "base")
_SCHEMA = "application/schema+json;version=draft-07"
_FORMATS = {"MessagePack": "application/msgpack", "JSON": "application/json"}


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _head(kind: str, version: int = VERSION) -> dict[str, Any]:
    return {
        "v": {"const": version},
        "kind": {"const": kind},
        "host": _TEXT,
        "boot_id": _TEXT,
        "run_ns": _U64,
    }


def _batch() -> dict[str, Any]:
    """Return the schema of a `batch` message; ``docs/messages.md`` says what it means."""
    call = {"enum": list(record.CALLS)}
    group = _object({"kind": {"enum": list(KINDS)}, "count": _COUNT, "call": call}, "call")
    some = {"groups": _list(_COUNT)}
    ways = {
        "encoding": {"enum": [CONSTANT, DELTA]},
        "written": {"enum": list(WRITTEN)},
        "layout": {"const": SPLIT},
        "base": _U64,
    }
    numbers = {
        field.wire: _object({"type": {"const": field.type}, **some, **ways, "data": _BYTES}, *_MAY)
        for kind in KINDS
        for field in record.wire_fields(kind)
        if field.name not in ("version", "kind", "call")
    }
    comm = _object({"type": {"const": "char[16]"}, "data": _BYTES})
    args = _object({"type": {"const": "bytes"}, **some, "lengths": _BYTES, "data": _BYTES})
    place = _object({"type": {"const": "u32"}, "data": _BYTES})
    texts = {"comm": comm, "filename": args, "argv": args, "label": place}
    hidden = {name for flag in record.FLAGS.values() for name in (*flag.hides, *flag.shows)}
    always = {"comm"} | {f.wire for f in record.FIELDS if not f.kinds and f.name not in hidden}
    label = {name: {"type": ["string", "null"]} for name in Label._fields}
    return _object(
        {
            **_head("batch", BATCH_VERSION),
            "count": _COUNT,
            "clock": _object({"boot_ns": _U64, "wall_ns": _U64}),
            "labels": _list(_object(label)),
            "groups": _list(group),
            "columns": _object(numbers | texts, *sorted((numbers | texts).keys() - always)),
        },
        "labels",
    )


def _report() -> dict[str, Any]:
    """Return the schema of a `report` message."""
    counts = _object({count.name: _COUNT for count in COUNTS})
    missed = {"type": "object", "additionalProperties": _COUNT}
    cpu = {
        "cpu": {"type": "integer", "minimum": 0, "maximum": record.NO_CPU},
        "next_seq": _U64,
        "counted": counts,
        "lost": counts,
        "dropped": counts,
        "args_lost": _COUNT,
    }
    interval = _object(
        {
            "start_ns": _U64,
            "end_ns": _U64,
            "wall_ns": _U64,
            "counts": counts,
            "received": counts,
            "missed": missed,
            "failures_watched": {"type": "boolean"},
            "release_late": {"type": "boolean"},
        }
    )
    return _object(
        {
            **_head("report"),
            "boot_ns": _U64,
            "wall_ns": _U64,
            "clock_step_ns": {"type": "integer"},
            "final": {"type": "boolean"},
            "missed": missed,
            "cpus": _list(_object(cpu)),
            "interval": {"oneOf": [{"type": "null"}, interval]},
        }
    )


def _message(
    name: str, title: str, format_: str, payload: dict[str, Any], key: str
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "contentType": _FORMATS[format_],
        "payload": {"schemaFormat": _SCHEMA, "schema": payload},
        "bindings": {"kafka": {"key": {"type": "string", "description": key}}},
    }


def _messages() -> dict[str, dict[str, Any]]:
    """Return every message, by its name, with the topic that it is of."""
    process = "HOST/TGID-START in hexadecimal: one process is in one partition, in order."
    event, rates = {"$ref": "./task_event.json"}, {"$ref": "./rates.json"}
    found = {"batch": _message("batch", "Many events", "MessagePack", _batch(), "HOST/SHARD")}
    for format_ in _FORMATS:
        for name, title, payload, key in (
            ("event", "An event", event, process),
            ("report", "What an agent knows of its own completeness", _report(), "HOST"),
            ("rates", "A chart of one host and interval", rates, "HOST/CHART"),
        ):
            whole = _message(name, f"{title}, as {format_}", format_, payload, key)
            found[f"{name}{format_}"] = whole
    return found


def _topic(address: str, title: str, messages: list[str]) -> dict[str, Any]:
    return {
        "address": address,
        "title": title,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topic": address}},
    }


def document() -> dict[str, Any]:
    """Return the AsyncAPI 3.0.0 document, from the point of view of an agent."""
    messages = _messages()
    of_rates = [name for name in messages if name.startswith("rates")]
    of_events = [name for name in messages if name not in of_rates]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "taskstream",
            "version": __version__,
            "description": "The topics of a taskstream agent: every task lifecycle event of a "
            "host, and the rates that are drawn from them. Generated by `make schemas`.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": _FORMATS["MessagePack"],
        "channels": {
            "events": _topic("taskstream.events", "Events and reports", of_events),
            "rates": _topic("taskstream.rates", "Rates", of_rates),
        },
        "operations": {
            f"publish{channel.title()}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
            }
            for channel, names in (("events", of_events), ("rates", of_rates))
        },
        "components": {"messages": messages},
    }
