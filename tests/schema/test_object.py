"""The C side has the same structs and numbers as ``taskstream.record``, in the compiler's words.

BTF tells: of the object, for what its maps and settings hold; of a file with one variable of
every type in ``task_event.h``, for what no map holds.
"""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from taskstream import record, resource

ROOT = Path(__file__).parents[2]

STRUCTS = {
    "task_event": record.RECORD,
    "exec_args": record.ARGS_HEADER,
    "cpu_totals": record.CPU_TOTALS,
    "window_totals": record.WINDOW_TOTALS,
    "settings": record.SETTINGS,
}
ENUMS = {
    "task_kind": {f"KIND_{name.upper()}": value for name, value in record.KINDS.items()},
    "task_call": {f"CALL_{name.upper()}": value for name, value in record.CALLS.items()},
    "task_flag": {f"FLAG_{name.upper()}": flag.mask for name, flag in record.FLAGS.items()},
    "task_count": {f"COUNT_{c.name.upper()}": i for i, c in enumerate(record.COUNTS)}
    | {"COUNT_N": len(record.COUNTS)},
}
IN_THE_OBJECT = ["cpu_totals", "window_totals", "settings"]


class Btf:
    """The types of one object file, by name."""

    def __init__(self, path):
        bpftool = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin")
        dump = subprocess.run(
            [bpftool, "btf", "dump", "file", path, "-j"], check=True, capture_output=True
        )
        types = json.loads(dump.stdout)["types"]
        self._by_id = {t["id"]: t for t in types}
        self._by_name = {t["name"]: t for t in types if t["kind"] in ("STRUCT", "ENUM")}

    def _size(self, kind):
        while "size" not in kind:
            if kind["kind"] == "ARRAY":
                return kind["nr_elems"] * self._size(self._by_id[kind["type_id"]])
            kind = self._by_id[kind["type_id"]]
        return kind["size"]

    def _members(self, kind, start=0):
        """Yield name, offset and size of what is in a struct; structs in its unions are opened."""
        for member in kind["members"]:
            inner = self._by_id[member["type_id"]]
            offset = start + member["bits_offset"] // 8
            if inner["kind"] in ("STRUCT", "UNION"):
                yield from self._members(inner, offset)
            else:
                yield member["name"], offset, self._size(inner)

    def struct(self, name):
        """Return a struct's size and its members."""
        kind = self._by_name[name]
        return kind["size"], list(self._members(kind))

    def enum(self, name):
        """Return an enum's values by name."""
        return {value["name"]: value["val"] for value in self._by_name[name]["values"]}


def layout(dtype):
    """Return size and members of a dtype as `Btf.struct` does."""
    return dtype.itemsize, [
        (name, offset, kind.itemsize) for name, (kind, offset, *_) in dtype.fields.items()
    ]


def compile_header(path, text, *flags):
    headers = f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
    command = ["clang", "-target", "bpf", "-g", "-Werror", f"-I{ROOT / 'bpf'}", f"-I{headers}"]
    source = f'#include <linux/types.h>\n#include "task_event.h"\n{text}'
    subprocess.run(
        [*command, *flags, "-c", "-x", "c", "-", "-o", path], input=source, check=True, text=True
    )


@pytest.fixture(scope="module")
def header(tmp_path_factory):
    path = tmp_path_factory.mktemp("btf") / "header.o"
    text = [f"struct {name} a_{name};\n" for name in STRUCTS]
    text += [f"enum {name} a_{name};\n" for name in ENUMS]
    compile_header(path, "".join(text))
    return Btf(path)


@pytest.mark.parametrize("name", STRUCTS)
def test_a_struct_of_the_header_is_the_dtype_member_by_member(header, name):
    size, members = header.struct(name)
    if name == "task_event":
        assert members.pop()[0] == "tail"  # the union's whole, for clearing it
    assert (size, members) == layout(STRUCTS[name])


@pytest.mark.parametrize("name", ENUMS)
def test_an_enum_of_the_header_is_the_table_value_by_value(header, name):
    assert header.enum(name) == ENUMS[name]


@pytest.mark.parametrize("name", IN_THE_OBJECT)
def test_a_struct_in_the_compiled_object_is_the_dtype_member_by_member(name):
    assert Btf(resource.bpf_object()).struct(name) == layout(STRUCTS[name]), "make bpf"


def test_no_shared_struct_has_an_unnamed_byte(tmp_path):
    compile_header(tmp_path / "padded.o", "", "-Wpadded")
