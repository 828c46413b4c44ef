"""Texts survive whatever bytes they are made of."""

from hypothesis import given
from hypothesis import strategies as st

from taskstream.text import escape, is_utf8, split_argv, unescape
from tests.property.strategy import any_bytes


@given(any_bytes)
def test_escaped_bytes_are_text_and_become_the_same_bytes_again(raw):
    text = escape(raw)
    text.encode()
    assert unescape(text) == raw


@given(any_bytes, any_bytes)
def test_two_byte_strings_never_have_the_same_escaped_text(one, other):
    assert (escape(one) == escape(other)) == (one == other)


@given(st.text())
def test_all_text_is_utf8(text):
    assert is_utf8(text.encode())


@given(st.binary(max_size=6))
def test_what_is_utf8_is_what_can_be_decoded(raw):
    decodable = raw.decode("utf-8", "replace").encode() == raw
    assert is_utf8(raw) == decodable


@given(st.lists(any_bytes.filter(lambda arg: b"\0" not in arg)))
def test_argv_is_split_into_the_arguments_it_was_made_of(arguments):
    assert split_argv(b"".join(arg + b"\0" for arg in arguments)) == arguments
