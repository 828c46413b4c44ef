"""What was switched on ends after its time; what the configuration has on does not."""

import pytest

from taskstream.collection import Collections
from taskstream.errors import ControlError

SECOND = 10**9


def ended(collections: Collections, at_s: float) -> list[str]:
    return collections.end(int(at_s * SECOND))


def test_what_is_switched_on_is_on_for_the_lifetime_and_then_off():
    collections = Collections([], 300)
    assert collections.enable("apps", 5 * SECOND) == "apps is on for 300 s"
    assert collections.left_s("apps", 6 * SECOND) == 299
    assert ended(collections, 304.9) == []
    assert collections.on == {"apps"}
    assert ended(collections, 305) == ["apps: 300 s are over, collection ends"]
    assert collections.on == set()
    assert ended(collections, 306) == []


def test_another_time_may_be_asked_for_and_the_last_one_asked_for_holds():
    collections = Collections([], 300)
    collections.enable("apps", 0)
    collections.enable("apps", 0, 2.5)
    assert ended(collections, 2.5) == ["apps: 2.5 s are over, collection ends"]


def test_what_is_configured_does_not_end():
    collections = Collections(["cgroups"], 300)
    assert "does not end" in collections.enable("cgroups", 0)
    assert collections.left_s("cgroups", 0) is None
    assert ended(collections, 10**6) == []
    assert collections.on == {"cgroups"}


def test_what_does_not_end_is_given_no_time():
    with pytest.raises(ControlError, match="does not end"):
        Collections(["apps"], 300).enable("apps", 0, 5)


def test_what_is_configured_can_be_switched_off_and_on_again_for_good_or_for_a_time():
    collections = Collections(["apps"], 300)
    assert "until it is enabled" in collections.disable("apps")
    assert collections.on == set()
    collections.enable("apps", 0, 5)
    assert ended(collections, 5)
    collections.enable("apps", 0)
    assert ended(collections, 10**6) == []
    assert collections.on == {"apps"}


def test_what_is_off_can_be_switched_off():
    assert Collections([], 300).disable("apps") == "apps was off already"


def test_each_has_its_own_time():
    collections = Collections([], 300)
    collections.enable("apps", 0, 1)
    collections.enable("cgroups", 0, 2)
    assert ended(collections, 1.5) == ["apps: 1 s are over, collection ends"]
    assert collections.on == {"cgroups"}


@pytest.mark.parametrize("do", ["enable", "disable"])
def test_what_there_is_not_is_told_with_what_there_is(do):
    collections = Collections([], 300)
    with pytest.raises(ControlError, match="no collection `users`: there are apps, cgroups"):
        collections.disable("users") if do == "disable" else collections.enable("users", 0)
