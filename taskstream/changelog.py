"""What is known of a run, as records of a compacted topic, and back.

Pure: no I/O, no clock. A value that is too long for a message is cut into pieces, each with its
own key; all of them are written in one transaction, so they are never seen in part.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgpack

from taskstream.batch import Origin
from taskstream.errors import MessageError
from taskstream.message.columns import pack

__all__ = ["Changelog", "Key", "Outgoing", "states"]

PIECE_BYTES = 900_000
"""Of a value in one message; brokers take a megabyte."""


class Outgoing(NamedTuple):
    """A message to be produced.

    Attributes:
        topic: Where to.
        partition: Which partition of it; None to let the key decide.
        key: Its key.
        value: Its payload; None takes the key out of a compacted topic.
        stamp_ms: Its time, Unix milliseconds; 0 for the time at which it is produced.
    """

    topic: str
    partition: int | None
    key: bytes
    value: bytes | None
    stamp_ms: int = 0


class Key(NamedTuple):
    """Whose state it is, and which part of it."""

    origin: Origin
    part: str

    def piece(self, number: int) -> bytes:
        """Return the key of a piece of the value."""
        origin = self.origin
        text = f"{origin.host}/{origin.boot_id}/{origin.run_ns}/{self.part}/{number}"
        return text.encode()

    @classmethod
    def of(cls, raw: bytes) -> tuple["Key", int]:
        """Return a key, and the number of the piece.

        Raises:
            MessageError: it is no key of ours.
        """
        try:
            text = raw.decode()
            host, boot_id, run_ns, part, number = text.rsplit("/", 4)
            return cls(Origin(host, boot_id, int(run_ns)), part), int(number)
        except ValueError:
            raise MessageError(f"{raw!r} is no key of a changelog") from None


class Changelog:
    """Writes what changed in one partition.

    Args:
        topic: The changelog.
        partition: Which partition of it.
        pieces: In how many pieces what is there already was cut, by key.
    """

    def __init__(self, topic: str, partition: int, pieces: Mapping[Key, int]) -> None:
        self._topic, self._partition = topic, partition
        self._pieces = dict(pieces)

    def put(self, key: Key, state: Mapping[str, Any]) -> Iterator[Outgoing]:
        """Yield the messages that make a state known."""
        value = pack(state)
        pieces = [value[at : at + PIECE_BYTES] for at in range(0, len(value), PIECE_BYTES)]
        for number, piece in enumerate(pieces):
            yield self._message(key, number, piece)
        yield from self._remove(key, len(pieces))
        self._pieces[key] = len(pieces)

    def delete(self, key: Key) -> Iterator[Outgoing]:
        """Yield the messages that make a state forgotten."""
        yield from self._remove(key, 0)
        self._pieces.pop(key, None)

    def forget(self, origin: Origin) -> Iterator[Outgoing]:
        """Yield the messages that make every part of a run's state forgotten."""
        for key in [key for key in self._pieces if key.origin == origin]:
            yield from self.delete(key)

    def _remove(self, key: Key, first: int) -> Iterator[Outgoing]:
        for number in range(first, self._pieces.get(key, 0)):
            yield self._message(key, number, None)

    def _message(self, key: Key, number: int, value: bytes | None) -> Outgoing:
        return Outgoing(self._topic, self._partition, key.piece(number), value)


def states(entries: Mapping[bytes, bytes]) -> tuple[dict[Key, dict[str, Any]], dict[Key, int]]:
    """Put together what a partition of a changelog holds.

    Args:
        entries: The last value of each key that was not taken out.

    Returns:
        The states by key, and in how many pieces each was cut.

    Raises:
        MessageError: they are none of ours.
    """
    pieces: defaultdict[Key, dict[int, bytes]] = defaultdict(dict)
    for raw, value in entries.items():
        key, number = Key.of(raw)
        pieces[key][number] = value
    found = {}
    for key, numbered in pieces.items():
        try:
            whole = b"".join(numbered[number] for number in range(len(numbered)))
            found[key] = msgpack.unpackb(whole, strict_map_key=False)
        except (KeyError, ValueError, msgpack.UnpackException) as error:
            raise MessageError(f"state of {key.origin.host} ({key.part}): {error!r}") from None
    return found, {key: len(numbered) for key, numbered in pieces.items()}
