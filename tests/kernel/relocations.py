"""The CO-RE relocations of a compiled object: which members the loader will look up.

Layout: include/uapi/linux/btf.h, struct bpf_core_relo in include/uapi/linux/bpf.h, and
https://docs.kernel.org/bpf/btf.html for .BTF.ext.
"""

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["members", "relocated_members"]

_FIELD_BYTE_OFFSET = 0
_FIELD_EXISTS = 2


def _sections(image: bytes) -> dict[str, bytes]:
    """Return the sections of a 64-bit little-endian ELF file, by name."""
    (table,) = struct.unpack_from("<Q", image, 0x28)
    size, count, names_at = struct.unpack_from("<HHH", image, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", image, table + i * size) for i in range(count)]
    bodies = [image[offset : offset + length] for *_, offset, length in headers]
    names = bodies[names_at]
    return {
        names[header[0] : names.index(b"\0", header[0])].decode(): body
        for header, body in zip(headers, bodies, strict=True)
    }


def _types(path: Path) -> dict[int, dict[str, Any]]:
    bpftool = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin") or "bpftool"
    command = [bpftool, "--json", "btf", "dump", "file", path]
    dump = json.loads(subprocess.check_output(command))
    return {kind["id"]: kind for kind in dump["types"]}


def _core_relocations(sections: dict[str, bytes]) -> Iterator[tuple[int, str, int]]:
    """Yield type id, access string and kind of each relocation."""
    btf, ext = sections[".BTF"], sections[".BTF.ext"]
    (btf_header,) = struct.unpack_from("<I", btf, 4)
    (strings_at,) = struct.unpack_from("<I", btf, 16)
    strings = btf[btf_header + strings_at :]
    (header,) = struct.unpack_from("<I", ext, 4)
    offset, length = struct.unpack_from("<II", ext, 24)
    at = header + offset
    end = at + length
    (record,) = struct.unpack_from("<I", ext, at)
    at += 4
    while at < end:
        _, count = struct.unpack_from("<II", ext, at)
        at += 8
        for _ in range(count):
            _, type_id, text, kind = struct.unpack_from("<IIII", ext, at)
            yield type_id, strings[text : strings.index(b"\0", text)].decode(), kind
            at += record


def relocated_members(path: Path) -> set[str]:
    """Return ``struct.member`` for every member that is looked up, or asked for, at load."""
    types = _types(path)
    found: set[str] = set()
    for type_id, access, kind in _core_relocations(_sections(path.read_bytes())):
        if kind not in (_FIELD_BYTE_OFFSET, _FIELD_EXISTS):
            continue
        here = types[type_id]
        for index in map(int, access.split(":")[1:]):
            while here["kind"] in ("TYPEDEF", "CONST", "VOLATILE"):
                here = types[here["type_id"]]
            if here["kind"] == "ARRAY":
                here = types[here["type_id"]]
                continue
            member = here["members"][index]
            found.add(f"{here['name']}.{member['name']}")
            here = types[member["type_id"]]
    return found


def members(path: Path, of: set[str]) -> set[str]:
    """Return ``struct.member`` for every member of the structs that are named."""
    return {
        f"{kind['name']}.{member['name']}"
        for kind in _types(path).values()
        if kind["kind"] == "STRUCT" and kind["name"] in of
        for member in kind["members"]
    }
