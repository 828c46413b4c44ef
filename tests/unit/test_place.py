"""The user's file goes before the stock one, in Netdata's directories as in ours."""

from pathlib import Path

import pytest

from taskstream import place, resource


@pytest.fixture
def directories(tmp_path: Path) -> dict[str, str]:
    """Return an environment whose directories are empty."""
    names = ("TASKSTREAM_CONFIG_DIR", "NETDATA_USER_CONFIG_DIR", "NETDATA_STOCK_CONFIG_DIR")
    for name in names:
        (tmp_path / name / "ebpf.d").mkdir(parents=True)
    return {name: str(tmp_path / name) for name in names}


def test_without_a_users_file_the_stock_file_is_in_force(directories):
    assert place.find("process.conf", directories) == resource.stock("process.conf")


def test_the_users_file_goes_before_the_stock_one(directories):
    own = place.user_file("process.conf", directories)
    own.write_text("")
    assert place.find("process.conf", directories) == own


def test_started_by_netdata_its_users_file_goes_first(directories):
    place.user_file("process.conf", directories).write_text("")
    theirs = Path(directories["NETDATA_USER_CONFIG_DIR"]) / "ebpf.d/process.conf"
    theirs.write_text("")
    assert place.find("process.conf", directories) == theirs


def test_netdatas_stock_options_are_never_read(directories):
    (Path(directories["NETDATA_STOCK_CONFIG_DIR"]) / "ebpf.d/process.conf").write_text("")
    assert place.find("process.conf", directories) == resource.stock("process.conf")


def test_without_any_variable_the_users_directory_is_etc_taskstream():
    assert place.user_file("process.conf", {}) == Path("/etc/taskstream/process.conf")
    assert place.candidates("process.conf", {}) == [
        Path("/etc/taskstream/process.conf"),
        resource.stock("process.conf"),
    ]


def test_app_groups_are_read_from_our_directory_then_netdatas_then_the_stock_file(directories):
    name = "apps_groups.conf"
    order = [
        Path(directories["TASKSTREAM_CONFIG_DIR"]) / name,
        Path(directories["NETDATA_USER_CONFIG_DIR"]) / name,
        Path(directories["NETDATA_STOCK_CONFIG_DIR"]) / name,
        resource.stock(name),
    ]
    assert place.candidates(name, directories) == order
    assert order[-1].exists()
    for path in reversed(order[:-1]):
        path.write_text("")
        assert place.find(name, directories) == path


def test_netdatas_usual_directories_are_known_without_any_variable():
    assert place.candidates("apps_groups.conf", {})[1:3] == [
        Path("/etc/netdata/apps_groups.conf"),
        Path("/usr/lib/netdata/conf.d/apps_groups.conf"),
    ]
