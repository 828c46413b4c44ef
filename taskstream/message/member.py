"""Members of a decoded MessagePack map, each checked for its type.

Pure. What is not of its type raises what a reader turns into a MessageError.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from taskstream.batch import ExecText
from taskstream.message.shape import ESCAPED
from taskstream.record import FLAGS
from taskstream.text import unescape

__all__ = ["exec_text", "exec_texts", "number", "text", "text_list"]

_TRUNCATED = FLAGS["args_truncated"].mask


def number(members: dict[str, Any], name: str) -> int:
    """Return a whole number."""
    value = members[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}")
    return value


def text(members: dict[str, Any], name: str) -> str:
    """Return a text."""
    value = members[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}")
    return value


def text_list(members: dict[str, Any], name: str) -> list[str]:
    """Return an array of texts."""
    value = members[name]
    if not isinstance(value, list) or not set(map(type, value)) <= {str}:
        raise TypeError(f"{name} is {value!r}")
    return value


def exec_text(filename: str, argv: Sequence[str], flags: int) -> ExecText:
    """Rebuild the bytes of argv: a NUL ends each argument, but for a last one that was cut.

    (An empty last one keeps its NUL, or it would be none.)
    """
    if flags & ESCAPED:
        raw = b"".join([unescape(arg) + b"\0" for arg in argv])
    else:
        raw = "\0".join((*argv, "")).encode()
    if flags & _TRUNCATED and argv and argv[-1]:
        raw = raw[:-1]
    return unescape(filename) if flags & ESCAPED else filename.encode(), raw


def exec_texts(filenames: Sequence[str], argvs: Any, flags: Sequence[int]) -> list[ExecText]:
    """Rebuild the bytes of many.

    Raises:
        TypeError: the arguments are no arrays of texts.
        ValueError: there are not as many of each.
    """
    if not isinstance(argvs, list) or not set(map(type, argvs)) <= {list}:
        raise TypeError(f"argv is {argvs!r}")
    if not set(map(type, chain.from_iterable(argvs))) <= {str}:
        raise TypeError(f"argv is {argvs!r}")
    return [exec_text(*one) for one in zip(filenames, argvs, flags, strict=True)]
