"""Bytes of the kernel as text that every MessagePack and JSON reader can take, and every terminal.

Pure. UTF-8 stays as it is. Anything else is escaped, reversibly: each byte that is not part
of valid UTF-8, and each backslash, as ``\\xNN``; the event then carries flag ``text_escaped``.
"""

import re

__all__ = [
    "escape",
    "is_utf8",
    "printable",
    "printable_lines",
    "readable",
    "split_argv",
    "unescape",
]

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_NEW_LINE = re.compile(r"\n(?=  )")


def is_utf8(raw: bytes) -> bool:
    """Tell whether ``raw`` is valid UTF-8."""
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def escape(raw: bytes) -> str:
    """Return ``raw`` with backslashes and bytes that are not UTF-8 written as ``\\xNN``."""
    return raw.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace")


def readable(raw: bytes) -> str:
    """Return a name: as it is where it is UTF-8, else escaped."""
    return raw.decode() if is_utf8(raw) else escape(raw)


def printable(text: str) -> str:
    """Return a text as one line that a terminal shows and does not obey.

    Tasks choose their names and arguments, and may put in escape sequences, new lines, or marks
    that turn the direction of writing. What has no picture of its own is written as ``\\xNN``,
    ``\\uNNNN`` or ``\\UNNNNNNNN``.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(ord(char)) for char in text)


def _code(point: int) -> str:
    if 0xDC80 <= point <= 0xDCFF:  # a byte of a file name that is no UTF-8
        point -= 0xDC00
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"


def printable_lines(text: str) -> str:
    """Return a text of several lines, each as `printable` has it.

    A new line is one if two spaces follow, as where messages go on; no other can be told from
    what somebody put into a name.
    """
    return "\n".join(map(printable, _NEW_LINE.split(text)))


def unescape(text: str) -> bytes:
    """Return the bytes that `escape` was given."""
    return _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()), text.encode())


def split_argv(raw: bytes) -> list[bytes]:
    """Split argv as it lies in memory: a NUL ends each argument; the last may be cut."""
    if not raw:
        return []
    parts = raw.split(b"\0")
    if raw.endswith(b"\0"):
        parts.pop()
    return parts
