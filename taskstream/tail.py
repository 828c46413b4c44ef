"""The texts that end an `event` message: read once, and known again by their bytes.

Pure: no I/O, no clock. Host, comm and label come again and again, and are looked up; arguments of
execs hardly ever do, and are read.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream.batch import Label
from taskstream.message.columns import pack
from taskstream.message.member import text, text_list

__all__ = ["Args", "Tail", "Tails", "args_of"]

KEEP_TAILS = 16_384

_ARGS = frozenset({"filename", "argv"})
_FILENAME = pack("filename")
_MAP_OF_TWO = b"\x82"

Args = tuple[str, list[str]]
"""filename and argv of one exec, as a message has them."""


class Tail(NamedTuple):
    """The texts that end an event, but for the arguments of an exec."""

    origin: tuple[str, str]
    label: Label
    comm: str

    @classmethod
    def of(cls, event: dict[str, Any]) -> "Tail":
        """Read what a map says.

        Raises:
            KeyError, TypeError: a text is missing, or is none.
        """
        origin = text(event, "host"), text(event, "boot_id")
        return cls(origin, Label.of(event), text(event, "comm"))


def args_of(event: dict[str, Any]) -> Args | None:
    """Return the arguments in a map; None where it does not know them.

    Raises:
        TypeError: they are no texts.
    """
    filename = None if event.get("filename") is None else text(event, "filename")
    argv = None if event.get("argv") is None else text_list(event, "argv")
    return None if filename is None or argv is None else (filename, argv)


class Tails:
    """Knows tails by number.

    Attributes:
        known: Tails by number.
    """

    def __init__(self) -> None:
        self.known: list[Tail] = []
        self._numbers: dict[Tail, int] = {}
        self._read: dict[frozenset[str], dict[bytes, int]] = {}

    def trim(self) -> None:
        """Forget all, where they are many; no number means anything any more."""
        if len(self.known) > KEEP_TAILS:
            self.known.clear()
            self._numbers.clear()
            self._read.clear()

    def enter(self, tail: Tail) -> int:
        """Return the number of a tail."""
        number = self._numbers.setdefault(tail, len(self.known))
        if number == len(self.known):
            self.known.append(tail)
        return number

    def read(
        self, raws: Sequence[bytes], names: frozenset[str]
    ) -> tuple[NDArray[np.intp], list[Args | None]]:
        """Read what ends events.

        Args:
            raws: Keys and values, as MessagePack.
            names: The keys.

        Returns:
            The number of each event's tail, -1 where it has not just these members, or they are
            not whole; and the arguments of each exec, nothing for events of other kinds.
        """
        read = self._read.setdefault(names, {})
        if names >= _ARGS:
            both = [self._read_exec(raw, names, read) for raw in raws]
            return np.array([number for number, _ in both], np.intp), [args for _, args in both]
        numbers = list(map(read.get, raws))
        if None in numbers:
            for raw in {raw for raw, number in zip(raws, numbers, strict=True) if number is None}:
                read[raw] = self._read_whole(raw, names)[0]
            numbers = list(map(read.get, raws))
        return np.array(numbers, np.intp), []

    def _read_exec(
        self, raw: bytes, names: frozenset[str], read: dict[bytes, int]
    ) -> tuple[int, Args | None]:
        """Read a tail with arguments, which our encoder puts last."""
        at = raw.find(_FILENAME)
        head = raw[: max(0, at)]
        number = read.get(head)
        if number is None:
            number = read[head] = self._read_whole(head, names - _ARGS)[0]
        if number >= 0:
            try:
                args = args_of(msgpack.unpackb(_MAP_OF_TWO + raw[at:]))
            except (msgpack.UnpackException, ValueError, TypeError):
                args = None
            if args is not None:
                return number, args
        return self._read_whole(raw, names)

    def _read_whole(self, raw: bytes, names: frozenset[str]) -> tuple[int, Args | None]:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        unpacker.feed(raw)
        members = {}
        try:
            while unpacker.tell() < len(raw):
                key = unpacker.unpack()
                members[key] = unpacker.unpack()
            if members.keys() == names:
                return self.enter(Tail.of(members)), args_of(members)
        except (msgpack.UnpackException, ValueError, TypeError, KeyError):
            pass
        return -1, None
