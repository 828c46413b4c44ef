"""Simple patterns take what Netdata's take."""

import pytest

from taskstream.grouping.pattern import SimplePattern


@pytest.mark.parametrize(
    ("pattern", "text", "taken"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "ab", True),
        ("a*", "a", True),
        ("*b", "ab", True),
        ("*b", "ba", False),
        ("a*c", "abbc", True),
        ("a*c", "abcd", False),
        ("*a*c*", "xaxcx", True),
        ("*a*c*", "xcxax", False),
        ("*", "", True),
        ("*", "anything/at.all", True),
        ("a", "A", False),
        ("a b", "b", True),
        ("", "a", False),
        ("", "", False),
        ("a.c", "abc", False),
        ("a[bc]", "ab", False),
        ("a?", "ab", False),
        ("*", "two\nlines", True),
    ],
)
def test_a_word_takes_the_whole_text_with_stars_for_any_letters(pattern, text, taken):
    assert SimplePattern(pattern).matches(text) is taken


@pytest.mark.parametrize(
    ("text", "taken"), [("ab", False), ("ac", True), ("b", False), ("abc", False)]
)
def test_the_first_word_that_fits_decides(text, taken):
    assert SimplePattern("!ab* a*").matches(text) is taken


def test_a_refusal_after_the_match_comes_too_late():
    assert SimplePattern("a* !ab").matches("ab")


@pytest.mark.parametrize(
    ("pattern", "text"), [(r"a\*", "a*"), (r"a\ b", "a b"), (r"\!a", "!a"), (r"a\\", "a\\")]
)
def test_a_backslash_takes_the_next_letter_as_it_is(pattern, text):
    assert SimplePattern(pattern).matches(text)
    assert not SimplePattern(pattern).matches("axxb")
