"""Netdata's simple patterns: words with ``*`` anywhere, ``!`` to refuse, the first match wins.

Pure. The syntax is that of Netdata's "simple patterns": words are separated by white space, a
backslash takes the next character as it is, letters count as they are written.
"""

import re

__all__ = ["SimplePattern"]

_WORD = re.compile(r"(?:\\.|\S)+", re.DOTALL)
_PART = re.compile(r"\\(.)|(\*)|(.)", re.DOTALL)


class SimplePattern:
    """A list of patterns.

    Args:
        text: Such as ``!/system.slice/run-*.scope *.scope``.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._words = [_compile(word) for word in _WORD.findall(text)]

    def matches(self, text: str) -> bool:
        """Tell whether the first pattern that fits ``text`` takes it; False if none fits."""
        return next((taken for taken, word in self._words if word.fullmatch(text)), False)


def _compile(word: str) -> tuple[bool, re.Pattern[str]]:
    """Return whether a word takes or refuses, and what it fits."""
    taken = not word.startswith("!")
    parts = _PART.findall(word if taken else word[1:])
    letters = (".*" if star else re.escape(escaped or plain) for escaped, star, plain in parts)
    return taken, re.compile("".join(letters), re.DOTALL)
