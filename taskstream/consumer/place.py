"""Partitions of topics, and messages of them. It touches nothing."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Place", "Stretch"]


class Place(NamedTuple):
    """A partition."""

    topic: str
    partition: int


@dataclass(slots=True)
class Stretch:
    """Messages of one partition, one after another.

    Attributes:
        place: The partition.
        values: Payloads.
        end: The offset behind the last.
    """

    place: Place
    values: list[bytes]
    end: int
