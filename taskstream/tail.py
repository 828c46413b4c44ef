"""The texts that end an `event` message: read once, and known again by their bytes.

Pure: no I/O, no clock. Host, comm and label come again and again, and are looked up; arguments of
execs hardly ever do, and are read.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack
import numpy as np
from numpy.typing import NDArray

from taskstream.batch import ExecText, Label
from taskstream.message.columns import pack
from taskstream.message.member import exec_text, text, text_list
from taskstream.message.shape import ESCAPED
from taskstream.record import FLAGS

__all__ = ["Tail", "Tails", "args_of"]

KEEP_TAILS = 16_384

_ARGS = frozenset({"filename", "argv"})
_FILENAME = pack("filename")
_MAP_OF_TWO = b"\x82"
_ODD = ESCAPED | FLAGS["args_truncated"].mask


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


def args_of(event: dict[str, Any]) -> ExecText | None:
    """Return the arguments in a map; None where it does not know them.

    Raises:
        TypeError: they are no texts.
    """
    filename = None if event.get("filename") is None else text(event, "filename")
    argv = None if event.get("argv") is None else text_list(event, "argv")
    if filename is None or argv is None:
        return None
    return exec_text(filename, argv, event["flags"])


def _plain_args(raw: bytes) -> ExecText | None:
    """Return arguments as they are, which needs no look at each; None if they are no texts.

    Args:
        raw: Keys and values of filename and argv.
    """
    try:
        members = msgpack.unpackb(_MAP_OF_TWO + raw)
        filename, argv = members["filename"], members["argv"]
        if isinstance(argv, list):
            return filename.encode(), "\0".join((*argv, "")).encode()
    except (msgpack.UnpackException, ValueError, TypeError, KeyError, AttributeError):
        pass
    return None


class Tails:
    """Knows tails by number.

    Args:
        args: Read the arguments of execs, too.

    Attributes:
        known: Tails by number.
    """

    def __init__(self, *, args: bool = True) -> None:
        self._args = args
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
        self, raws: Sequence[bytes], names: frozenset[str], flags: NDArray[np.integer]
    ) -> tuple[NDArray[np.intp], list[ExecText | None]]:
        """Read what ends events.

        Args:
            raws: Keys and values, as MessagePack.
            names: The keys.
            flags: The flags of each event.

        Returns:
            The number of each event's tail, -1 where it has not just these members, or they are
            not whole; and the arguments of each exec, nothing for events of other kinds.
        """
        read = self._read.setdefault(names, {})
        if not names >= _ARGS:
            return self._looked_up(raws, names, read), []
        if not self._args:
            heads = [raw.partition(_FILENAME)[0] for raw in raws]
            numbers = self._looked_up(heads, names - _ARGS, read)
            for row in np.flatnonzero(numbers < 0).tolist():
                numbers[row] = self._read_whole(raws[row], names, int(flags[row]))[0]
            return numbers, []
        bits = flags.tolist()
        both = [self._read_exec(*one, names, read) for one in zip(raws, bits, strict=True)]
        return np.array([number for number, _ in both], np.intp), [args for _, args in both]

    def _looked_up(
        self, raws: Sequence[bytes], names: frozenset[str], read: dict[bytes, int]
    ) -> NDArray[np.intp]:
        """Return the numbers of tails without arguments, -1 where it is none."""
        numbers = list(map(read.get, raws))
        if None in numbers:
            for raw in {raw for raw, number in zip(raws, numbers, strict=True) if number is None}:
                read[raw] = self._read_whole(raw, names, 0)[0]
            numbers = list(map(read.get, raws))
        return np.array(numbers, np.intp)

    def _read_exec(
        self, raw: bytes, flags: int, names: frozenset[str], read: dict[bytes, int]
    ) -> tuple[int, ExecText | None]:
        """Read a tail with arguments, which our encoder puts last."""
        at = raw.find(_FILENAME)
        head = raw[: max(0, at)]
        number = read.get(head)
        if number is None:
            number = read[head] = self._read_whole(head, names - _ARGS, 0)[0]
        if number >= 0:
            args = None if flags & _ODD else _plain_args(raw[at:])
            if args is not None:
                return number, args
        return self._read_whole(raw, names, flags)

    def _read_whole(
        self, raw: bytes, names: frozenset[str], flags: int
    ) -> tuple[int, ExecText | None]:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        unpacker.feed(raw)
        members = {}
        try:
            while unpacker.tell() < len(raw):
                key = unpacker.unpack()
                members[key] = unpacker.unpack()
            if members.keys() == names:
                return self.enter(Tail.of(members)), args_of(members | {"flags": flags})
        except (msgpack.UnpackException, ValueError, TypeError, KeyError):
            pass
        return -1, None
