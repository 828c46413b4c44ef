"""What BCC compiles instead of the kernel's headers: every member where the kernel has it.

That a C compiler agrees: ``tests/schema/test_placed.py``.
"""

import re

import pytest

from taskstream.source.kernel_tree import assertions, headers, placed

KERNEL_H = """\
#ifndef KERNEL_H
struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct gone {
	int member;
};

/* A comment. */
struct task_struct {
	unsigned int flags;
	int pid;
	int gone;
	char comm[16];
	const struct cred *real_cred;
};
#endif
"""


class Layout(dict):
    """Size and places by struct."""

    def size_of(self, name):
        return self[name][0] if name in self else None

    def offset_of(self, name, member):
        return self[name][1].get(member) if name in self else None


LAYOUT = Layout(
    upid=(16, {"nr": 0, "ns": 8}),
    task_struct=(9000, {"flags": 44, "pid": 1234, "comm": 2001, "real_cred": 0}),
)


def body(name):
    found = re.search(rf"struct {name} {{\n(.*?)\n}};", placed(KERNEL_H, LAYOUT), re.DOTALL)
    return [line.strip() for line in found[1].splitlines()]


def test_each_member_stands_behind_as_many_bytes_as_the_kernel_has_before_it():
    assert body("task_struct") == [
        "union {",
        "struct { const struct cred *real_cred; } __attribute__((packed));",
        "struct { char before_flags[44]; unsigned int flags; } __attribute__((packed));",
        "struct { char before_pid[1234]; int pid; } __attribute__((packed));",
        "struct { char before_comm[2001]; char comm[16]; } __attribute__((packed));",
        "char whole[9000];",
        "};",
    ]


def test_a_member_that_the_kernel_lacks_is_left_out():
    assert "gone;" not in placed(KERNEL_H, LAYOUT)


def test_a_struct_that_the_kernel_lacks_is_there_without_members():
    assert body("gone") == ["union {", "char whole[1];", "};"]


def test_what_is_no_struct_stays_as_it_was():
    text = placed(KERNEL_H, LAYOUT)
    assert text.startswith("#ifndef KERNEL_H\nstruct upid {")
    assert "/* A comment. */\nstruct task_struct {" in text
    assert text.endswith("};\n#endif\n")


def test_there_is_an_assertion_for_each_member_that_the_kernel_has_and_for_no_other():
    found = re.findall(
        r"_Static_assert\(__builtin_offsetof\(struct (\w+), (\w+)\) == (\d+), ",
        assertions(KERNEL_H, LAYOUT),
    )
    expected = {
        (struct, member, str(at))
        for struct, (_, members) in LAYOUT.items()
        for member, at in members.items()
    }
    assert len(found) == len(expected)
    assert set(found) == expected


def test_an_assertion_says_what_the_kernel_has():
    assert '"the kernel has task_struct.pid at 1234");\n' in assertions(KERNEL_H, LAYOUT)


@pytest.mark.parametrize(
    ("release", "code"),
    [
        ("6.1.0-50-amd64", 0x060100),
        ("6.18.44-fc-v669", 0x06122C),
        ("5.10.0", 0x050A00),
        ("7.3-rc1", 0x070301),
        ("4.19.325", 0x0413FF),  # the kernel's own macro stops at 255, too
    ],
)
def test_the_headers_have_the_version_of_a_release(release, code):
    assert f"#define LINUX_VERSION_CODE {code}\n" in headers(release, 4096)["linux/version.h"]


def test_the_headers_have_the_size_of_a_page():
    assert "#define PAGE_SIZE 65536\n" in headers("6.12.1", 65536)["linux/kconfig.h"]


def test_the_headers_are_those_that_bcc_includes_by_itself():
    made = headers("6.1.0", 4096)
    assert {"linux/kconfig.h", "linux/types.h", "linux/version.h", "uapi/linux/bpf.h"} < set(made)
    assert all(not path.startswith("/") for path in made)
