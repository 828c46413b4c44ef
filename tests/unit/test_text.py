"""Any bytes become text that any reader takes, and become the same bytes again."""

import pytest

from taskstream.text import escape, is_utf8, split_argv, unescape


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"bash", "bash"),
        ("büro-\N{SNOWMAN}".encode(), "büro-\N{SNOWMAN}"),
        (b"caf\xe9", "caf\\xe9"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\\b\xff", "a\\x5cb\\xff"),
        (b"\\xff", "\\x5cxff"),
        ("ü".encode()[:1], "\\xc3"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),  # a surrogate, which UTF-8 has no room for
        (b"tab\tnewline\n\x7f", "tab\tnewline\n\x7f"),
    ],
)
def test_bytes_are_escaped_so_that_they_can_be_restored(raw, text):
    assert escape(raw) == text
    assert unescape(text) == raw


@pytest.mark.parametrize("raw", [b"", b"ls", "Ångström".encode(), b"a\\b", b"a\0b"])
def test_utf8_is_known_as_such(raw):
    assert is_utf8(raw)


@pytest.mark.parametrize("raw", [b"\xff", "ü".encode()[:1], b"\xed\xa0\x80", b"ok\xc0\xaf"])
def test_what_is_not_utf8_is_known_as_such(raw):
    assert not is_utf8(raw)


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        (b"", []),
        (b"\0", [b""]),
        (b"ls\0", [b"ls"]),
        (b"ls\0-l\0\0/tmp\0", [b"ls", b"-l", b"", b"/tmp"]),
        (b"ls\0-l", [b"ls", b"-l"]),
        (b"ls\0\0", [b"ls", b""]),
    ],
)
def test_argv_is_split_at_each_nul_and_a_cut_last_argument_is_kept(raw, arguments):
    assert split_argv(raw) == arguments
