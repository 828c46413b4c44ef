"""``apps_groups.conf``: which app group a process belongs to, by its name and command line.

Pure: takes lines of text. Syntax and matching are those of Netdata's ebpf.plugin (1.44): a line
is ``group: pattern pattern ...``; words are separated by white space and colons, quotes keep
them together, a word that starts with ``#`` ends the line. ``name`` is the whole name,
``name*`` its beginning, ``*name`` its end, ``*name*`` a part of the command line. The first
pattern of the file that matches wins; a process that none matches is in its parent's group.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from taskstream.errors import ConfigError

__all__ = ["KEPT_NAMES", "OTHER", "AppGroups", "Rule", "parse"]

OTHER = "other"
"""The group of processes that neither match nor have a parent in a group."""

NAME_BYTES = 100
PATTERN_BYTES = 95
CMDLINE_BYTES = 16_384
KEPT_NAMES = 4096

_SEPARATORS = " \t:"
_FLAGS = re.compile(r"^[-+*]*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern.

    Attributes:
        group: The group of what it matches.
        text: What is looked for.
        begins: It stood with a ``*`` at its end: what comes after it is free.
        ends: It stood with a ``*`` before it: what comes before it is free.
        hidden: It or its group stood with a ``-`` before it.
        line: Number of its line, from 1.
    """

    group: str
    text: bytes
    begins: bool
    ends: bool
    hidden: bool
    line: int

    @property
    def of_cmdline(self) -> bool:
        """Tell whether it looks into the command line, not at the name."""
        return self.begins and self.ends

    def matches_name(self, comm: bytes) -> bool:
        """Tell whether it matches a name."""
        if self.begins:
            return not self.ends and comm.startswith(self.text)
        return comm.endswith(self.text) if self.ends else comm == self.text


def parse(lines: Iterable[str], file: str) -> list[Rule]:
    """Read the rules of a file, in order.

    Args:
        lines: Its lines.
        file: Its name, for errors.

    Raises:
        ConfigError: a quote is not closed, or a name or pattern is too long.
    """
    rules: list[Rule] = []
    for number, line in enumerate(lines, 1):
        words = _words(line.rstrip("\r\n"), f"{file}, line {number}")
        if not words:
            continue
        group, *patterns = words
        name = group.lstrip("-+")
        _measure("group", name, NAME_BYTES, f"{file}, line {number}")
        for pattern in patterns:
            rules.append(_rule(name, pattern, group.startswith("-"), number))
            _measure("pattern", pattern, PATTERN_BYTES, f"{file}, line {number}")
    return rules


def _words(line: str, where: str) -> list[str]:
    """Split a line; a closing quote ends a word, and empty words do not count."""
    words, at = [], 0
    while at < len(line):
        if line[at] in _SEPARATORS:
            at += 1
        elif line[at] in "'\"":
            end = line.find(line[at], at + 1)
            if end < 0:
                raise ConfigError(f"{where}: the quote {line[at:]} is not closed")
            words.append(line[at + 1 : end])
            at = end + 1
        else:
            end = at
            while end < len(line) and line[end] not in _SEPARATORS:
                end += 1
            words.append(line[at:end])
            at = end
        if words and words[-1].startswith("#"):
            words.pop()
            break
    return [word for word in words if word]


def _measure(what: str, text: str, limit: int, where: str) -> None:
    if len(text.encode()) > limit:
        raise ConfigError(f"{where}: {what} `{text}` is longer than {limit} bytes")


def _rule(group: str, pattern: str, hidden: bool, line: int) -> Rule:
    flags = _FLAGS.match(pattern)
    assert flags is not None
    text = pattern[flags.end() :]
    return Rule(
        group=group,
        text=text.removesuffix("*").encode(),
        begins=text.endswith("*"),
        ends="*" in flags[0],
        hidden=hidden or "-" in flags[0],
        line=line,
    )


class AppGroups:
    """Rules, ready to be asked many times.

    Args:
        rules: In the order of the file.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.groups = tuple(dict.fromkeys((*(rule.group for rule in rules), OTHER)))
        self._texts = frozenset(rule.text for rule in rules if rule.of_cmdline)
        self._kept = _Kept(self.rules)

    def match(self, comm: bytes, argv: bytes | None = None) -> str | None:
        """Return the group of the first rule that matches, None if there is none.

        Args:
            comm: Name of the process; a NUL ends it.
            argv: The arguments, with a NUL after each; None where they are not known.
        """
        return self.match_all([comm], [argv], self._texts)[0]

    def match_all(
        self, comms: Iterable[bytes], argvs: Iterable[bytes | None], present: frozenset[bytes]
    ) -> list[str | None]:
        """Return what `match` does, of many.

        Args:
            comms: Names.
            argvs: The arguments of each.
            present: What `present_in` returned of these arguments, and of others maybe.
        """
        matched = []
        for fits, argv in zip(map(self._kept.__getitem__, comms), argvs, strict=True):
            group = fits.group
            if argv is not None and not fits.texts.isdisjoint(present):
                cmdline = argv[:CMDLINE_BYTES].replace(b"\0", b" ")
                for text, its_group in fits.before:
                    if text in present and text in cmdline:
                        group = its_group
                        break
            matched.append(group)
        return matched

    def present_in(self, argvs: Iterable[bytes]) -> frozenset[bytes]:
        """Return what rules look for and any of these arguments may hold: nearly always nothing.

        (Looked for in all of them at once, that costs little.)
        """
        everything = b"\n".join(argvs).replace(b"\0", b" ")
        return frozenset(text for text in self._texts if text in everything)


@dataclass(frozen=True, slots=True)
class _Fits:
    """The group that a name alone has, and the rules of command lines that come before it."""

    group: str | None
    before: tuple[tuple[bytes, str], ...]
    texts: frozenset[bytes]


class _Kept(dict[bytes, _Fits]):
    """What fits each name, found when it is first asked for: names come again and again."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        super().__init__()
        self._rules = rules

    def __missing__(self, comm: bytes) -> _Fits:
        if len(self) >= KEPT_NAMES:
            self.clear()
        name = comm.split(b"\0", 1)[0]
        group, before = None, []
        for rule in self._rules:
            if rule.of_cmdline:
                before.append((rule.text, rule.group))
            elif rule.matches_name(name):
                group = rule.group
                break
        self[comm] = _Fits(group, tuple(before), frozenset(text for text, _ in before))
        return self[comm]
