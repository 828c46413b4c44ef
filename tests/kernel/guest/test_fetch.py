"""A kernel that cannot be had is named, with what is there instead."""

import pytest

from tests.kernel.guest.apt import Apt, FetchError
from tests.kernel.guest.fetch import DIRECTORY, KERNELS, Wanted, fetch
from tests.needs import go_without


@pytest.fixture(scope="module")
def mirror() -> None:
    """Check that there is a mirror and that it answers."""
    try:
        Apt(DIRECTORY / "apt/bookworm-amd64", [("debian", "bookworm")], "amd64")
    except FetchError as error:
        go_without(str(error))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            Wanted("debian", "bookworm", "linux-image-cloud-amd64", "1.0."),
            r"kernel odd: suite bookworm has 6\.1\..* as linux-image-6\.1.*, not 1\.0\.\*",
        ),
        (
            Wanted("debian", "bookworm", "linux-image-of-nobody"),
            "kernel odd: suite bookworm has no linux-image-of-nobody",
        ),
        (
            Wanted("debian", "no-such-suite", "linux-image-cloud-amd64"),
            "apt-get -q update failed:(.|\n)*no-such-suite",
        ),
    ],
)
def test_a_kernel_that_cannot_be_had_is_an_error_that_says_what_is_there(
    mirror: None, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, message: str
) -> None:
    monkeypatch.setitem(KERNELS, "odd", wanted)
    with pytest.raises(FetchError, match=message):
        fetch("odd")
