"""A reader of all message shapes on msgpack and json, as anybody would write it from the docs.

The second opinion of the tests: it imports nothing of the package.
"""

import json
import struct
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import msgpack

__all__ = ["events_of", "map_of"]


def map_of(value: bytes) -> dict[str, Any]:
    """Return the map that a message is, in MessagePack or JSON."""
    return json.loads(value) if value.startswith(b"{") else msgpack.unpackb(value)


def boot_ns_of(value: bytes) -> int:
    """Return the time of a message: of an event, of a report, or of the first event of a batch."""
    message = map_of(value)
    boot_ns: int = message.get("clock", message)["boot_ns"]
    return boot_ns


def events_of(value: bytes) -> list[dict[str, Any]]:
    """Return the events of a message of any shape as `event` maps, in the message's order."""
    message = map_of(value)
    if message["kind"] != "batch":
        return [message]
    shift = message["clock"]["wall_ns"] - message["clock"]["boot_ns"]
    common = {"v": 1} | {name: message[name] for name in ("run_ns", "host", "boot_id")}
    common |= dict.fromkeys(("cgroup", "container", "service", "app_group"))
    labels = message.get("labels", [])
    events = []
    for found in _rows(message) if message["v"] == 1 else map(_readable, _columns(message)):
        event = common | found
        event["wall_ns"] = event["boot_ns"] + shift
        if "label" in event:
            event |= labels[event.pop("label")]
        events.append(event)
    return events


def _rows(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a batch of version 1."""
    for group in message["groups"]:
        call = {"call": group["call"]} if "call" in group else {}
        for position, row in enumerate(group["rows"]):
            event = dict(zip(group["fields"], row, strict=True)) | {"kind": group["kind"]} | call
            event["comm"] = message["strings"][event["comm"]]
            for text in ("filename", "argv"):
                if text in group:
                    event[text] = group[text][position]
            yield event


def _columns(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a batch of version 2, their texts as bytes."""
    columns = message["columns"]
    groups = message["groups"]
    everywhere = range(len(groups))
    values = {}
    for name, column in columns.items():
        count = sum(groups[place]["count"] for place in column.get("groups", everywhere))
        values[name] = _values(column, count)
    for place, group in enumerate(groups):
        names = [n for n, column in columns.items() if place in column.get("groups", everywhere)]
        call = {"call": group["call"]} if "call" in group else {}
        for _ in range(group["count"]):
            yield {n: next(values[n]) for n in names} | {"kind": group["kind"]} | call
    assert all(next(rest, None) is None for rest in values.values())


def _values(column: dict[str, Any], count: int) -> Iterator[Any]:
    if column["type"] == "bytes":
        at = 0
        for (length,) in struct.iter_unpack("<I", column["lengths"]):
            yield column["data"][at : at + length]
            at += length
        return
    numbers = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "char[16]": "16s"}
    numbers |= {"i8": "<b", "i16": "<h", "i32": "<i"}
    data, format_ = column["data"], numbers[column.get("written", column["type"])]
    if column.get("layout") == "byte_stream_split":
        written = len(data) // struct.calcsize(format_)
        data = b"".join(data[nth::written] for nth in range(written))
    found = [value for (value,) in struct.iter_unpack(format_, data)]
    match column.get("encoding"):
        case "constant":
            yield from found * count
        case "delta":
            bits = 8 * struct.calcsize(numbers[column["type"]])
            base = column.get("base", 0)
            yield from ((base + total) % 2**bits for total in accumulate(found))
        case None:
            yield from found


def _readable(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with what an `event` message says beside: texts, and how it ended."""
    found = event | {"comm": event["comm"].split(b"\0")[0]}
    if "exit_code" in event:
        code = event["exit_code"]
        found |= {"status": code >> 8 & 255, "signal": code & 127, "core": code & 128 > 0}
    if "argv" in event:
        found["argv"] = event["argv"].removesuffix(b"\0").split(b"\0") if event["argv"] else []
    try:
        return found | _texts(found, bytes.decode)
    except UnicodeDecodeError:
        return found | _texts(found, _escaped) | {"flags": event["flags"] | 1 << 13}


def _texts(event: dict[str, Any], text: Callable[[bytes], str]) -> dict[str, Any]:
    texts: dict[str, Any] = {n: text(event[n]) for n in ("comm", "filename") if n in event}
    return texts | ({"argv": [text(arg) for arg in event["argv"]]} if "argv" in event else {})


def _escaped(raw: bytes) -> str:
    return raw.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace")
