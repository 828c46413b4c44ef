"""A C compiler has every member of bpf/kernel.h where a layout says; or it refuses."""

import re
import subprocess

import pytest

from taskstream import resource
from taskstream.source.kernel_tree import assertions, headers, placed

KERNEL_H = resource.bpf_source("kernel.h").read_text()
STRUCTS = {
    name: re.findall(r"(\w+)(?:\[\d+\])?;", body)
    for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", KERNEL_H, re.MULTILINE | re.DOTALL)
}
ABSENT = {("pt_regs", "regs"), ("signal_struct", "nr_threads")}


class Layout(dict):
    """Places by struct and member; sizes by struct."""

    def size_of(self, name):
        return 9001 if name == "task_struct" else 4003  # it has two of the others in it

    def offset_of(self, name, member):
        return self.get((name, member))


def layout():
    """Put the members of every struct in an order and at places that no compiler would choose."""
    places = Layout()
    for name, members in STRUCTS.items():
        for number, member in enumerate(reversed(members)):
            if (name, member) not in ABSENT:
                places[name, member] = 101 * number
    return places


def compile_(text):
    """Return what clang complains of."""
    types = headers("6.12.0", 4096)["linux/types.h"]
    command = ["clang", "-target", "bpf", "-fsyntax-only", "-ferror-limit=0", "-xc", "-w", "-"]
    ran = subprocess.run(command, input=types + text, capture_output=True, text=True)
    assert bool(ran.returncode) == ("error:" in ran.stderr), ran.stderr
    return ran.stderr


def test_every_struct_and_member_of_the_header_is_known_here():
    assert len(STRUCTS) > 12
    assert {"pid", "tgid", "comm", "real_cred", "se"} < set(STRUCTS["task_struct"])
    assert set(ABSENT) < {(name, m) for name, members in STRUCTS.items() for m in members}


def test_the_members_are_where_the_layout_has_them():
    places = layout()
    assert compile_(placed(KERNEL_H, places) + assertions(KERNEL_H, places)) == ""


@pytest.mark.parametrize("by", [-1, 1])
def test_each_member_that_is_a_byte_off_does_not_compile(by):
    places = layout()
    moved = Layout({place: at + by for place, at in places.items() if at})
    said = compile_(placed(KERNEL_H, moved) + assertions(KERNEL_H, places))
    told = set(re.findall(r"the kernel has (\w+)\.(\w+) at", said))
    assert set(moved) <= told


def test_one_member_that_is_a_byte_off_is_the_one_that_is_named():
    places = layout()
    moved = Layout(places | {("task_struct", "tgid"): places["task_struct", "tgid"] + 1})
    said = compile_(placed(KERNEL_H, moved) + assertions(KERNEL_H, places))
    assert set(re.findall(r"the kernel has (\S+ at \d+)", said)) == {
        f"task_struct.tgid at {places['task_struct', 'tgid']}"
    }


def test_a_struct_is_as_large_as_the_kernels():
    places = layout()
    sizes = "".join(
        f'_Static_assert(sizeof(struct {name}) == {places.size_of(name)}, "{name}");\n'
        for name in STRUCTS
    )
    assert compile_(placed(KERNEL_H, places) + sizes) == ""


def test_a_member_that_the_kernel_lacks_cannot_be_read():
    use = "int f(struct signal_struct *s) { return s->nr_threads; }"
    assert "no member named 'nr_threads'" in compile_(placed(KERNEL_H, layout()) + use)
