"""A cgroup of the v2 hierarchy is named from the moment it is made, however short it lives."""

import os

import pytest

from taskstream.source import cgroup_tree
from tests.kernel.conftest import Record
from tests.kernel.control_groups import default_hierarchy, new_group
from tests.kernel.programs import Programs
from tests.kernel.recorder import wait_until
from tests.needs import go_without

SOURCES = [
    {},
    {"buffer": "perf"},
    {"type_format": "legacy"},
]


@pytest.mark.parametrize("options", SOURCES, ids=str)
def test_a_cgroup_that_is_gone_at_once_has_its_id_and_path(
    record: Record, options: dict[str, object]
) -> None:
    parent = default_hierarchy()
    if parent is None:
        go_without("no cgroup v2 hierarchy")
    recorder = record(cgroup_names=True, **options)
    with new_group(parent) as group:
        number, path = group.stat().st_ino, f"/{group.relative_to(parent)}"
    seen: list[tuple[int, str | None]] = []

    def gone() -> bool:
        seen.extend(recorder.source.read().cgroups)
        return (number, None) in seen

    wait_until(gone, lambda: seen)
    assert [change for change in seen if change[0] == number] == [(number, path), (number, None)]


def test_a_name_that_is_no_utf8_is_the_same_text_in_the_ring_and_in_the_tree(
    record: Record,
) -> None:
    parent = default_hierarchy() or go_without("no cgroup v2 hierarchy")
    recorder = record(cgroup_names=True)
    with new_group(parent) as group:
        inner = group / os.fsdecode(b"caf\xe9\\x2d")
        inner.mkdir()
        number, scanned = inner.stat().st_ino, dict(cgroup_tree.scan(parent))
        inner.rmdir()
    seen: dict[int, str | None] = {}

    def named() -> bool:
        seen.update(change for change in recorder.source.read().cgroups if change[1])
        return number in seen

    wait_until(named, lambda: seen)
    assert seen[number] == scanned[number] == f"/{group.relative_to(parent)}/caf\\xe9\\x5cx2d"


def test_the_name_of_a_cgroup_comes_no_later_than_the_events_of_its_tasks(
    record: Record, programs: Programs
) -> None:
    parent = default_hierarchy()
    if parent is None:
        go_without("no cgroup v2 hierarchy")
    recorder = record(cgroup_names=True)
    known: set[int] = set()
    for _ in range(23):
        with new_group(parent) as group, programs.start("fail", "here", 0) as running:
            (group / "cgroup.procs").write_text(str(running.pid))
            running.go_on()
            running.end()
            number = group.stat().st_ino
            batch = recorder.source.read()
            known |= {id_ for id_, path in batch.cgroups if path}
            assert number in known
            assert number in batch.records["cgroup_id"]


def test_nobody_who_did_not_ask_is_told_of_cgroups(record: Record) -> None:
    parent = default_hierarchy()
    if parent is None:
        go_without("no cgroup v2 hierarchy")
    recorder = record()
    with new_group(parent):
        pass
    assert recorder.source.read().cgroups == ()
