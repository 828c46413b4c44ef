"""Bytes of the kernel as text that every MessagePack and JSON reader can take.

Pure. UTF-8 stays as it is. Anything else is escaped, reversibly: each byte that is not part
of valid UTF-8, and each backslash, as ``\\xNN``; the event then carries flag ``text_escaped``.
"""

import re

__all__ = ["escape", "is_utf8", "readable", "split_argv", "unescape"]

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


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
