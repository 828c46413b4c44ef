"""A cgroup that was learned has its name, also after it is gone."""

from collections.abc import Iterable

from taskstream.grouping.cgroup import Cgroup
from taskstream.grouping.names import TRIES, CgroupNames

ID = "0123456789abcdef" * 4


def path(names: CgroupNames, id_: int) -> str | None:
    cgroup = names.get(id_)
    return cgroup.path if cgroup else None


def test_what_was_learned_is_known():
    names = CgroupNames()
    names.learn_all([(7, "/a"), (8, "/system.slice/b.service")])
    assert path(names, 7) == "/a"
    assert names.get(8).service == "b"
    assert names.get(9) is None


def test_a_cgroup_that_is_gone_is_still_known():
    names = CgroupNames()
    names.learn(7, "/a")
    names.remove(7)
    assert path(names, 7) == "/a"


def test_a_renamed_cgroup_has_its_new_path():
    names = CgroupNames()
    names.learn(7, "/a")
    names.learn(7, "/b")
    assert path(names, 7) == "/b"


def test_of_the_cgroups_that_are_gone_the_oldest_are_forgotten():
    names = CgroupNames(keep_gone=3)
    for id_ in range(5):
        names.learn(id_, f"/{id_}")
        names.remove(id_)
    assert [path(names, id_) for id_ in range(5)] == [None, None, "/2", "/3", "/4"]
    assert len(names) == 3


def test_those_that_exist_are_never_forgotten():
    names = CgroupNames(keep_gone=3)
    names.learn_all((id_, f"/{id_}") for id_ in range(100))
    assert path(names, 0) == "/0"


def test_the_removal_of_an_unknown_cgroup_is_nothing():
    names = CgroupNames()
    names.remove(7)
    assert names.get(7) is None


class Engine:
    """Knows a name from some call on."""

    def __init__(self, name: str | None, *, after: int = 0) -> None:
        self.name, self.after, self.asked = name, after, 0

    def __call__(self, _cgroup: Cgroup) -> str | None:
        self.asked += 1
        return self.name if self.asked > self.after else None


def test_a_container_has_the_name_that_its_engine_tells_from_the_moment_it_is_learned():
    engine = Engine("my web")
    names = CgroupNames(engine)
    names.learn(7, f"/docker/{ID}")
    names.remove(7)
    assert names.get(7).name == "my_web"
    assert engine.asked == 1


def test_an_engine_that_does_not_know_yet_is_asked_again():
    names = CgroupNames(Engine("web", after=1))
    names.learn(7, f"/docker/{ID}")
    assert names.get(7).name == "web"


def test_an_engine_is_not_asked_for_ever():
    engine = Engine(None)
    names = CgroupNames(engine)
    names.learn(7, f"/docker/{ID}")
    for _ in range(10):
        assert names.get(7).name == ID[:12]
    assert engine.asked == TRIES


def test_what_is_no_container_has_no_engine_to_ask():
    engine = Engine("web")
    names = CgroupNames(engine)
    names.learn_all([(7, "/a"), (8, "/system.slice/b.service")])
    assert names.get(8).name == "b"
    assert engine.asked == 0


def test_learning_the_same_again_asks_nobody():
    engine = Engine("web")
    names = CgroupNames(engine)
    for _ in range(5):
        names.learn(7, f"/docker/{ID}")
    assert engine.asked == 1


# --- scans ---------------------------------------------------------------------------------------


class Tree:
    """The cgroups that exist."""

    def __init__(self, **paths: str) -> None:
        self.paths = {int(id_.strip("_")): path for id_, path in paths.items()}
        self.scans = 0

    def __call__(self) -> Iterable[tuple[int, str]]:
        self.scans += 1
        return self.paths.items()


def test_an_unknown_id_is_looked_for_in_the_tree():
    names = CgroupNames(scan=Tree(_7="/a"))
    assert path(names, 7) == "/a"


def test_the_tree_is_walked_once_until_it_may_have_changed():
    tree = Tree(_7="/a")
    names = CgroupNames(scan=tree)
    for id_ in (7, 8, 9):
        names.get(id_)
    assert tree.scans == 1
    tree.paths[8] = "/b"
    names.expire()
    assert (path(names, 8), tree.scans) == ("/b", 2)


def test_known_ids_need_no_walk():
    tree = Tree()
    names = CgroupNames(scan=tree)
    names.learn(7, "/a")
    names.get(7)
    assert tree.scans == 0


def test_a_cgroup_that_a_walk_does_not_find_is_gone_and_still_known():
    tree = Tree(_7="/a", _8="/b")
    names = CgroupNames(scan=tree, keep_gone=1)
    names.refresh()
    del tree.paths[7]
    names.refresh()
    assert (path(names, 7), path(names, 8)) == ("/a", "/b")
    names.learn(9, "/c")
    names.remove(9)
    assert path(names, 7) is None


def test_a_walk_that_finds_nothing_takes_nothing_away():
    names = CgroupNames(scan=Tree())
    names.learn(7, "/a")
    names.refresh()
    names.remove(7)
    names.refresh()
    assert path(names, 7) == "/a"


def test_of_too_many_those_that_were_learned_first_are_taken_to_be_gone():
    names = CgroupNames(keep_gone=2)
    names.learn_all((id_, f"/{id_}") for id_ in range(6))
    names.trim(2)
    assert [path(names, id_) for id_ in range(6)] == [None, None, "/2", "/3", "/4", "/5"]
    names.trim(2)
    assert path(names, 2) == "/2"
