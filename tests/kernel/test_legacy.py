"""What BCC compiles: refused in words where it cannot be, and nothing is left of the compiler."""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskstream import resource
from taskstream.errors import KernelError
from taskstream.source.live import LiveOptions, LiveSource
from tests.kernel.host import descriptors
from tests.kernel.test_refusals import ROOT, refusal

LEGACY = LiveOptions(type_format="legacy", without=("kprobes",))


def children() -> list[str]:
    """Return the children of this process."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is left of the compiler: no file, no descriptor, no process."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    LiveSource(LiveOptions(), host="test-host").close()  # opens what stays open for good
    before, had = sorted(descriptors().values()), children()
    yield
    assert list(scratch.iterdir()) == []
    assert sorted(descriptors().values()) == before
    assert children() == had


@pytest.fixture
def source_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Replace a text of a file of ``bpf/``."""
    find = resource.bpf_source

    def replace(name: str, old: str, new: str) -> None:
        text = find(name).read_text()
        assert text.count(old) == 1
        (tmp_path / name).write_text(text.replace(old, new))
        monkeypatch.setattr(
            resource,
            "bpf_source",
            lambda wanted: tmp_path / name if wanted == name else find(wanted),
        )

    return replace


def test_a_source_that_bcc_compiled_leaves_nothing_when_it_is_closed() -> None:
    with LiveSource(LEGACY, host="test-host") as source:
        assert source.plan.type_format == "legacy"
        assert list(Path(tempfile.gettempdir()).iterdir()) == []  # gone as soon as it is compiled


def test_the_compilers_memory_is_gone_with_the_compiler() -> None:
    script = """\
from pathlib import Path
from taskstream.source.live import LiveOptions, LiveSource
with LiveSource(LiveOptions(type_format="legacy"), host="test-host"):
    print(Path("/proc/self/maps").read_text())
"""
    maps = subprocess.check_output([sys.executable, "-c", script], text=True, cwd=ROOT)
    assert "libbpf" in maps
    assert "libbcc" not in maps


def test_what_is_compiled_is_not_inherited_by_children() -> None:
    with LiveSource(LEGACY, host="test-host"):
        ours = {number for number, what in descriptors().items() if "bpf" in what}
        assert len(ours) > 6
        assert not any(os.get_inheritable(number) for number in ours)


def test_an_error_of_the_compiler_is_told_with_its_line(
    source_text: Callable[[str, str, str], None],
) -> None:
    source_text("probe.h", "e->fork.clone_flags = clone_flags;", "e->fork.no_such = clone_flags;")
    with pytest.raises(KernelError) as caught:
        LiveSource(LEGACY, host="test-host")
    first, *rest = str(caught.value).splitlines()
    assert first == "BCC could not compile the probes:"
    assert re.search(r":\d+:\d+: error: no member named 'no_such'", "\n".join(rest))


def test_a_program_that_the_verifier_refuses_is_told_with_its_reason(
    source_text: Callable[[str, str, str], None],
) -> None:
    source_text(
        "legacy.bpf.c",
        "return free_event(ctx, PROBED, TASK(0));",
        "struct process_key key = {}; return *dead_group_at(&key);",
    )
    with pytest.raises(KernelError) as caught:
        LiveSource(LEGACY, host="test-host")
    first, *rest = str(caught.value).splitlines()
    assert first == "BCC could not load the probes:"
    assert "invalid mem access 'map_value_or_null'" in "\n".join(rest)


def test_a_capability_left_out_is_the_reason_that_is_told() -> None:
    with pytest.raises(KernelError, match="`legacy` cannot be used: left out by the option"):
        LiveSource(LiveOptions(type_format="legacy", without=("BCC",)), host="test-host")


def test_without_bcc_the_package_to_install_is_named() -> None:
    packages = Path(importlib.util.find_spec("bcc").origin).parents[1]
    report = refusal("--type-format", "legacy", within=f"mount -t tmpfs none {packages}")
    assert report["error"] == KernelError.__name__
    assert "BCC is not installed (Debian: apt-get install python3-bpfcc)" in report["message"]


def test_where_co_re_is_left_out_bcc_stands_in_and_says_why() -> None:
    with LiveSource(LiveOptions(without=("BTF",)), host="test-host") as source:
        assert source.plan.type_format == "legacy"
        assert source.notes[0].startswith("ebpf type format `auto` falls back to `legacy`: ")
