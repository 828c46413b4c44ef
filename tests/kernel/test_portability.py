"""Nothing in the object depends on where one kernel has a member."""

import re
from pathlib import Path

from taskstream import resource
from taskstream.source.bpf_object import BpfObject
from tests.kernel.relocations import members, relocated_members

KERNEL_TYPES = Path(__file__).parents[2] / "bpf" / "kernel.h"


def test_every_member_of_a_kernel_struct_is_found_through_btf_at_load() -> None:
    names = set(re.findall(r"^struct (\w+) \{", KERNEL_TYPES.read_text(), re.MULTILINE))
    known = members(resource.bpf_object(), names)
    assert {"task_struct.tgid", "signal_struct.live", "linux_binprm.filename"} <= known
    assert known <= relocated_members(resource.bpf_object())


def test_no_probe_reads_the_record_of_a_tracepoint_at_a_fixed_offset() -> None:
    """tp_btf, fentry and fexit get the kernel's own arguments. The record of a system call's
    tracepoint has one member that is read, as has a kprobe's set of registers, and the test above
    says that they are relocated."""
    with BpfObject(resource.bpf_object()) as probes:
        kinds = {section.split("/")[0] for section in probes.programs.values()}
        records = {s for s in probes.programs.values() if s.startswith("tp/")}
    assert kinds == {"tp_btf", "tp", "fentry", "fexit", "kprobe", "kretprobe", "iter"}
    assert all(section.startswith("tp/syscalls/sys_exit_") for section in records)
