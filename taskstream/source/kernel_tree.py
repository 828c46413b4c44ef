"""What BCC needs to compile without the kernel's headers, made from the running kernel's BTF.

BCC includes a handful of headers by itself; the types that our probes read are those of
``bpf/kernel.h``. So the tree is those few headers, and ``kernel.h`` rewritten: every struct is as
large as the kernel's, with each member at its place. Assertions of every place, taken from the
BTF once more, guard it: what would read another member does not compile.
Pure: text from texts and a struct layout; ``legacy`` writes it where BCC looks.
"""

import re
from collections.abc import Iterator
from typing import Protocol

__all__ = ["Layout", "assertions", "headers", "placed"]

_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};\n", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(r"^\t(?P<type>[^;]*?)(?P<name>\w+)(?P<array>\[\d+\])?;", re.MULTILINE)


class Layout(Protocol):
    """Where a kernel's structs have their members, as ``btf.KernelBtf`` tells it."""

    def size_of(self, name: str) -> int | None:
        """Return the size of a struct in bytes."""

    def offset_of(self, name: str, member: str) -> int | None:
        """Return where a struct has a member, in bytes."""


def _found(body: str, struct: str, layout: Layout) -> list[tuple[int, re.Match[str]]]:
    """Return the members that the kernel has, with their places, in order."""
    members = [
        (at, member)
        for member in _MEMBER.finditer(body)
        if (at := layout.offset_of(struct, member["name"])) is not None
    ]
    return sorted(members, key=lambda found: found[0])


def placed(kernel_h: str, layout: Layout) -> str:
    """Rewrite the text of ``bpf/kernel.h`` with every member at its place.

    Each member becomes one of a union's alternatives, behind as many bytes as come before it.
    A member or struct that the kernel lacks is left out.
    """

    def rewrite(found: re.Match[str]) -> str:
        struct, body = found[1], found[2]
        lines = [f"struct {struct} {{", "\tunion {"]
        for at, member in _found(body, struct, layout):
            before = f"char before_{member['name']}[{at}]; " if at else ""
            lines.append(
                f"\t\tstruct {{ {before}{member['type']}{member['name']}{member['array'] or ''}; }}"
                " __attribute__((packed));"
            )
        size = layout.size_of(struct) or 1
        return "\n".join([*lines, f"\t\tchar whole[{size}];", "\t};", "};\n"])

    return _STRUCT.sub(rewrite, kernel_h)


def assertions(kernel_h: str, layout: Layout) -> str:
    """Return a C assertion for the place of every member of ``bpf/kernel.h``."""

    def lines() -> Iterator[str]:
        for found in _STRUCT.finditer(kernel_h):
            for at, member in _found(found[2], found[1], layout):
                place = f"struct {found[1]}, {member['name']}"
                yield (
                    f"_Static_assert(__builtin_offsetof({place}) == {at}, "
                    f'"the kernel has {found[1]}.{member["name"]} at {at}");\n'
                )

    return "".join(lines())


_TYPES = """\
#ifndef TASKSTREAM_TYPES_H
#define TASKSTREAM_TYPES_H
typedef signed char __s8, s8;
typedef unsigned char __u8, u8, uint8_t;
typedef short __s16, s16;
typedef unsigned short __u16, u16, uint16_t, __le16, __be16, __sum16;
typedef int __s32, s32, int32_t, pid_t;
typedef unsigned int __u32, u32, uint32_t, __le32, __be32, __wsum;
typedef long long __s64, s64, int64_t;
typedef unsigned long long __u64, u64, uint64_t, __le64, __be64;
typedef __u64 __attribute__((aligned(8))) __aligned_u64;
typedef unsigned long size_t, uintptr_t;
typedef long ssize_t;
typedef _Bool bool;
enum { false, true };
#define NULL ((void *)0)
#define ETH_ALEN 6
#define offsetof(type, member) __builtin_offsetof(type, member)
#define __always_inline inline __attribute__((always_inline))
#define __maybe_unused __attribute__((unused))
#endif
"""

_EMPTY = (
    "linux/bpf_common.h",
    "linux/log2.h",
    "uapi/linux/bpf.h",
    "uapi/linux/if_ether.h",
    "uapi/linux/if_packet.h",
    "uapi/linux/ptrace.h",
    "asm/page.h",
)


def headers(release: str, page_bytes: int) -> dict[str, str]:
    """Return the headers that BCC includes by itself, by path below ``include/``.

    Args:
        release: The kernel's, as in ``6.1.0-50-amd64``.
        page_bytes: Size of a page of memory.
    """
    numbers = [int(part) for part in re.findall(r"\d+", release)[:3]]
    major, minor, patch = [*numbers, 0, 0, 0][:3]
    code = (major << 16) + (minor << 8) + min(patch, 255)
    configuration = (
        f"#define CONFIG_BPF_SYSCALL 1\n#define PAGE_SIZE {page_bytes}\n#include <linux/types.h>\n"
    )
    version = (
        f"#define LINUX_VERSION_CODE {code}\n"
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))\n"
    )
    return dict.fromkeys(_EMPTY, "") | {
        "linux/kconfig.h": configuration,
        "linux/types.h": _TYPES,
        "linux/version.h": version,
    }
