"""A reader of all message shapes on msgpack and json, as anybody would write it from the docs.

The second opinion of the tests: it imports nothing of the package.
"""

import json
from typing import Any

import msgpack

__all__ = ["events_of", "map_of"]


def map_of(value: bytes) -> dict[str, Any]:
    """Return the map that a message is, in MessagePack or JSON."""
    return json.loads(value) if value.startswith(b"{") else msgpack.unpackb(value)


def events_of(value: bytes) -> list[dict[str, Any]]:
    """Return the events of a message of any shape as `event` maps, in the message's order."""
    message = map_of(value)
    if message["kind"] != "batch":
        return [message]
    shift = message["clock"]["wall_ns"] - message["clock"]["boot_ns"]
    common = {name: message[name] for name in ("v", "run_ns", "host", "boot_id")}
    common |= dict.fromkeys(("cgroup", "container", "service", "app_group"))
    labels = message.get("labels", [])
    events = []
    for group in message["groups"]:
        for position, row in enumerate(group["rows"]):
            event = common | dict(zip(group["fields"], row, strict=True))
            event |= {"kind": group["kind"], "wall_ns": event["boot_ns"] + shift}
            event["comm"] = message["strings"][event["comm"]]
            if "label" in event:
                event |= labels[event.pop("label")]
            if "call" in group:
                event["call"] = group["call"]
            for text in ("filename", "argv"):
                if text in group:
                    event[text] = group[text][position]
            events.append(event)
    return events
