"""Any bytes become text that any reader takes, and become the same bytes again."""

import pytest

from taskstream.text import escape, is_utf8, printable, printable_lines, split_argv, unescape


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("über-日本 \\x1b", "über-日本 \\x1b"),
        ("\x1b[2Jevil", "\\x1b[2Jevil"),
        ("a\tb\nc\rd", "a\\x09b\\x0ac\\x0dd"),
        ("\0\x7f", "\\x00\\x7f"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),  # C1: escapes of one character
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),  # turn the direction of writing
        ("\u2028\u200b\ufeff", "\\u2028\\u200b\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("caf\udce9", "caf\\xe9"),  # as Python has a file name that is no UTF-8
        ("\ud800", "\\ud800"),
    ],
)
def test_no_text_commands_a_terminal(text, shown):
    assert printable(text) == shown
    assert shown.isprintable()


def test_only_a_line_that_is_indented_goes_on_a_message():
    assert printable_lines("no:\n  why\n  \x1b") == "no:\n  why\n  \\x1b"
    assert printable_lines("a\nroot: b") == "a\\x0aroot: b"
