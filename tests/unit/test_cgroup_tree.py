"""One walk finds every cgroup with the id that events carry."""

from pathlib import PurePosixPath

from taskstream.source import cgroup_tree
from tests.needs import go_without


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
