"""A partition of a topic, by name and number. It touches nothing."""

from typing import NamedTuple

__all__ = ["Place"]


class Place(NamedTuple):
    """A partition."""

    topic: str
    partition: int
