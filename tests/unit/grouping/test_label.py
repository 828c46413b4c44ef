"""Labels say of each event what its cgroup and its app group were at that moment."""

import numpy as np

from taskstream.batch import Label
from taskstream.grouping.label import labels_of
from taskstream.grouping.names import CgroupNames
from taskstream.record import RECORD
from tests.synthetic import batch, bits, event

CONTAINER = "c" * 64


def names(**paths: str) -> CgroupNames:
    known = CgroupNames()
    for id_, path in paths.items():
        known.learn(int(id_.lstrip("_")), path)
    return known


def labels(known: CgroupNames, *cgroups: int, flags: int = 0) -> list[Label]:
    given = batch(*(event("fork", cgroup_id=id_, flags=flags) for id_ in cgroups))
    found = labels_of(given.records, known, None)
    return [found.table[row] for row in found.rows]


def test_a_label_has_path_and_container_and_service():
    known = names(_7=f"/docker/{CONTAINER}", _8="/system.slice/cron.service", _9="/user.slice")
    assert labels(known, 7, 8, 9, 7) == [
        Label(f"/docker/{CONTAINER}", CONTAINER),
        Label("/system.slice/cron.service", None, "cron"),
        Label("/user.slice"),
        Label(f"/docker/{CONTAINER}", CONTAINER),
    ]


def test_a_cgroup_that_is_gone_has_its_path():
    known = names(_7="/gone")
    known.remove(7)
    assert labels(known, 7) == [Label("/gone")]


def test_a_cgroup_that_nobody_knows_has_no_path():
    assert labels(names(), 7, 0) == [Label(), Label()]


def test_a_cgroup_that_could_not_be_told_is_not_looked_up():
    assert labels(names(_7="/a"), 7, flags=bits("cgroup_unknown")) == [Label()]


def test_every_label_stands_once_in_the_table():
    given = batch(*(event("fork", cgroup_id=id_) for id_ in (9, 7, 9, 7, 9)))
    found = labels_of(given.records, names(_7="/a", _9="/b"), None)
    assert sorted(found.table) == [Label("/a"), Label("/b")]
    assert found.column("cgroup") == ["/b", "/a", "/b", "/a", "/b"]


def test_the_app_group_is_the_one_of_each_event():
    given = batch(*(event("fork", cgroup_id=7) for _ in range(3)))
    found = labels_of(
        given.records, names(_7="/a"), (np.array([1, 0, 1], np.intp), ["other", "web"])
    )
    assert found.column("app_group") == ["web", "other", "web"]
    assert found.column("cgroup") == ["/a"] * 3


def test_a_backslash_alone_stays_as_it_is():
    assert labels(names(_7="/a\\x2db"), 7) == [Label("/a\\x2db")]


def test_no_records_have_no_labels():
    found = labels_of(np.zeros(0, RECORD), names(), None)
    assert (list(found.table), len(found.rows)) == ([], 0)
