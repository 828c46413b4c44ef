"""A kernel that is known to fail is refused; any other is not."""

from pathlib import Path

import pytest

from taskstream import place, resource
from taskstream.errors import KernelError
from taskstream.source import kernel
from taskstream.source.kernel import check_not_rejected

VERSION = next(
    path.read_text().strip()
    for path in (Path("/proc/version_signature"), Path("/proc/version"))
    if path.exists()
)
OTHER = "Linux version 4.18.0-305.el8.x86_64"


@pytest.fixture
def reject(tmp_path):
    def reject(*lines):
        path = tmp_path / "reject.txt"
        path.write_text("".join(f"{line}\n" for line in lines))
        check_not_rejected(path)

    return reject


@pytest.mark.parametrize("beginning", [VERSION, VERSION[:20], f"  {VERSION[:20]}  "])
def test_a_kernel_whose_version_begins_as_a_line_does_is_refused(reject, tmp_path, beginning):
    with pytest.raises(KernelError) as caught:
        reject("# known to fail", "", OTHER, beginning)
    message = str(caught.value)
    assert f"this kernel ({VERSION}) is known to fail with BPF" in message
    assert f"{tmp_path}/reject.txt, line 4, has `{beginning.strip()}`" in message
    assert "run another kernel, or take the line out" in message


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["   "],
        [f"# {VERSION}"],
        [f"  #{VERSION}"],
        [OTHER],
        [f"{VERSION} and more"],
        [VERSION[1:]],  # the end is no beginning
        [VERSION[:20].upper()],
    ],
    ids=["empty", "blank", "spaces", "comment", "indented", "other", "longer", "end", "case"],
)
def test_a_comment_and_another_kernel_refuse_nobody(reject, lines):
    reject(*lines)


def test_the_list_that_comes_along_refuses_no_kernel_of_its_tests():
    check_not_rejected(resource.stock(place.REJECT_LIST))


def test_the_list_in_force_is_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKSTREAM_CONFIG_DIR", str(tmp_path))
    (tmp_path / place.REJECT_LIST).write_text(f"{VERSION[:20]}\n")
    with pytest.raises(KernelError, match=f"{place.REJECT_LIST}, line 1"):
        check_not_rejected(place.find(place.REJECT_LIST))


def test_ubuntus_signature_is_compared_where_there_is_one(tmp_path):
    signature, version = tmp_path / "version_signature", tmp_path / "version"
    version.write_text("Linux version 5.4.0-42-generic\n")
    assert kernel._first_text(str(signature), str(version)) == "Linux version 5.4.0-42-generic"
    signature.write_text("Ubuntu 5.4.0-42.46-generic 5.4.44\n")
    assert kernel._first_text(str(signature), str(version)) == "Ubuntu 5.4.0-42.46-generic 5.4.44"
