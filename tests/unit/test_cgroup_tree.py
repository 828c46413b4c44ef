"""One walk finds every cgroup with the id that events carry, in the hierarchy that they name."""

import os
from pathlib import Path, PurePosixPath

import pytest

from taskstream.source import cgroup_tree
from taskstream.source.cgroup_tree import Hierarchy
from tests.needs import go_without

MOUNTS = """\
proc /proc proc rw 0 0
cgroup /sys/fs/cgroup/systemd cgroup rw,nosuid,xattr,name=systemd 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/pids cgroup rw,nosuid,pids 0 0
"""
CGROUPS = """\
#subsys_name	hierarchy	num_cgroups	enabled
cpuset	0	1	1
cpu	4	30	1
cpuacct	4	30	1
memory	0	30	1
pids	7	41	1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root where v1 alone is mounted."""
    for name, text in (("proc/self/mounts", MOUNTS), ("proc/cgroups", CGROUPS)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "sys/fs/cgroup/pids").mkdir(parents=True)
    return tmp_path


def test_where_v1_alone_is_mounted_the_hierarchy_is_that_of_a_controller(root):
    tree = root / "sys/fs/cgroup/pids"
    assert cgroup_tree.hierarchy(root) == Hierarchy(tree, 7, "pids", slot=4)
    (root / "proc/self/mounts").write_text(MOUNTS.replace("pids", "freezer"))
    tree = root / "sys/fs/cgroup/cpu,cpuacct"
    assert cgroup_tree.hierarchy(root) == Hierarchy(tree, 4, "cpu", slot=1)


@pytest.mark.parametrize("below", ["", "unified"])
def test_v2_goes_before_v1(root, below):
    tree = root / "sys/fs/cgroup" / below
    tree.mkdir(exist_ok=True)
    (tree / "cgroup.controllers").touch()
    assert cgroup_tree.hierarchy(root) == Hierarchy(tree)


def test_a_controller_that_is_not_bound_to_v1_names_nothing(root):
    (root / "proc/cgroups").write_text(CGROUPS.replace("\t7\t", "\t0\t").replace("\t4\t", "\t0\t"))
    assert cgroup_tree.hierarchy(root) is None


def test_where_nothing_is_mounted_there_is_none(tmp_path):
    assert cgroup_tree.hierarchy(tmp_path) is None


def test_every_directory_is_a_cgroup_and_its_inode_the_id(tmp_path):
    for path in ("a/b/c", "d"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "cgroup.procs").touch()
    found = dict(cgroup_tree.scan(tmp_path))
    assert sorted(found.values()) == ["/", "/a", "/a/b", "/a/b/c", "/d"]
    for id_, path in found.items():
        assert (tmp_path / path.lstrip("/")).stat().st_ino == id_


def test_parents_come_before_their_children(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "d/e").mkdir(parents=True)
    paths = [path for _, path in cgroup_tree.scan(tmp_path)]
    for path in paths[1:]:
        assert paths.index(str(PurePosixPath(path).parent)) < paths.index(path)


def test_a_path_that_is_no_utf8_is_escaped_and_one_that_is_stays(tmp_path):
    for name in (b"caf\xe9\\x2d", "größe".encode(), b"a\\x2db"):
        (Path(os.fsdecode(bytes(tmp_path) + b"/" + name)) / "inner").mkdir(parents=True)
    escaped = "/caf\\xe9\\x5cx2d"
    assert {path for _, path in cgroup_tree.scan(tmp_path)} == {
        "/", "/größe", "/größe/inner", "/a\\x2db", "/a\\x2db/inner", escaped, f"{escaped}/inner"
    }  # fmt: skip


def test_no_link_is_followed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert [path for _, path in cgroup_tree.scan(tmp_path)] == ["/", "/a"]


def test_without_a_hierarchy_there_is_nothing(tmp_path):
    assert list(cgroup_tree.scan(None)) == []
    assert list(cgroup_tree.scan(tmp_path / "none")) == []


def test_the_hosts_own_tree_has_a_root():
    tree = cgroup_tree.mounted() or go_without("no cgroup v2 tree is mounted here")
    assert (tree.stat().st_ino, "/") in set(cgroup_tree.scan(tree))
