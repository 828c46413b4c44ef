"""Up to which moment all that was published to partitions has been read.

Rim: touches a broker through confluent-kafka. The moments are those of whoever reads: what of a
partition has no end behind what was read when that end is told was read to when it was asked for.
"""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import OffsetSpec as _OffsetSpec  # type: ignore[attr-defined]

from taskstream.consumer.place import Place
from taskstream.errors import BrokerError
from taskstream.kafka_client import refresh

__all__ = ["Reached"]

_LATEST = _OffsetSpec.latest()  # type: ignore[no-untyped-call]

ASK_S = 0.5
"""How often the ends of the partitions are asked for."""


class Reached:
    """Asks for the ends of partitions now and then, and compares.

    Args:
        admin: A client that may ask.
        now_ms: The moment, Unix milliseconds, as everyone reckons it who is told of it.

    Attributes:
        moments_ms: By partition, up to when all that was published has been read.
    """

    def __init__(self, admin: AdminClient, now_ms: Callable[[], int]) -> None:
        self._admin, self._now_ms = admin, now_ms
        self.moments_ms: dict[Place, int] = {}
        self._asked: tuple[int, dict[TopicPartition, Future[Any]]] | None = None
        self._told: dict[Place, tuple[int, int]] = {}
        self._ask_s = 0.0

    def look(self, places: Collection[Place], ends: Mapping[Place, int]) -> None:
        """Compare the ends that were told with what was read, and ask again when it is time.

        Args:
            places: The partitions that are read.
            ends: The offset behind what was read of each.
        """
        if self._asked is not None and all(future.done() for future in self._asked[1].values()):
            self._hear(*self._asked)
            self._asked = None
        for place, (asked_ms, end) in list(self._told.items()):
            if place not in places:
                del self._told[place]
            elif end == 0 or ends.get(place, 0) >= end:
                self.moments_ms[place] = asked_ms
                del self._told[place]
        if self._asked is None and places and time.monotonic() >= self._ask_s:
            wanted = dict.fromkeys((TopicPartition(*place) for place in places), _LATEST)
            self._asked = self._now_ms(), self._admin.list_offsets(wanted)
            self._ask_s = time.monotonic() + ASK_S

    def _hear(self, asked_ms: int, futures: Mapping[TopicPartition, Future[Any]]) -> None:
        failed = False
        for one, future in futures.items():
            if future.exception() is not None:
                failed = True
            else:
                # What is not read so far yet keeps the end that was told before.
                place = Place(one.topic, one.partition)
                self._told.setdefault(place, (asked_ms, future.result().offset))
        if failed:
            refresh(self._admin)

    def present_ends(
        self, places: Collection[Place], answer_s: float
    ) -> dict[tuple[str, int], int]:
        """Return the present ends of partitions, what is not committed included.

        Raises:
            BrokerError: the broker does not tell them.
        """
        if not places:
            return {}
        wanted = {TopicPartition(*place): _LATEST for place in places}
        try:
            asked = self._admin.list_offsets(wanted, request_timeout=answer_s)
            return {(one.topic, one.partition): a.result().offset for one, a in asked.items()}
        except KafkaException as error:
            refresh(self._admin)
            raise BrokerError(f"the ends of topics are not told: {error.args[0].str()}") from None

    def close(self) -> None:
        """Let the client go, here and now.

        The garbage collector might do so in a thread of the client's own, and librdkafka ends
        the process then.
        """
        self._asked = None
        vars(self).pop("_admin", None)

    def forget(self, place: Place) -> None:
        """Forget a partition that is read by another from now on."""
        self.moments_ms.pop(place, None)
        self._told.pop(place, None)
