"""librdkafka's mock cluster with its levers: errors, brokers that go down, slow answers.

The embedded broker of the package is the same cluster without the levers; these are reached by
ctypes in the library that confluent-kafka carries. The header calls them subject to change.
"""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_int16, c_size_t, c_void_p
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import confluent_kafka

from tests.needs import go_without

__all__ = ["API_FETCH", "API_METADATA", "API_PRODUCE", "MockCluster"]

API_PRODUCE, API_FETCH, API_METADATA = 0, 1, 3

_PRODUCER = 0

_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "conf_new": (c_void_p, []),
    "conf_set": (c_int, [c_void_p, c_char_p, c_char_p, c_char_p, c_size_t]),
    "new": (c_void_p, [c_int, c_void_p, c_char_p, c_size_t]),
    "destroy": (None, [c_void_p]),
    "mock_cluster_new": (c_void_p, [c_void_p, c_int]),
    "mock_cluster_destroy": (None, [c_void_p]),
    "mock_cluster_bootstraps": (c_char_p, [c_void_p]),
    "mock_topic_create": (c_int, [c_void_p, c_char_p, c_int, c_int]),
    "mock_topic_set_error": (None, [c_void_p, c_char_p, c_int]),
    "mock_push_request_errors_array": (
        None,
        [c_void_p, c_int16, c_size_t, POINTER(c_int)],
    ),
    "mock_clear_request_errors": (None, [c_void_p, c_int16]),
    "mock_broker_set_down": (c_int, [c_void_p, c_int]),
    "mock_broker_set_up": (c_int, [c_void_p, c_int]),
    "mock_broker_set_rtt": (c_int, [c_void_p, c_int, c_int]),
    "mock_start_request_tracking": (None, [c_void_p]),
    "mock_get_requests": (POINTER(c_void_p), [c_void_p, POINTER(c_size_t)]),
    "mock_request_api_key": (c_int16, [c_void_p]),
    "mock_request_destroy_array": (None, [POINTER(c_void_p), c_size_t]),
}


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    (path,) = folder.glob("librdkafka-*.so*")
    return ctypes.CDLL(str(path))


def _missing() -> str:
    """Say what of the mock cluster is not there; empty if nothing is missing."""
    try:
        library = _library()
    except (OSError, ValueError) as error:
        return f"no librdkafka beside confluent-kafka: {error}"
    absent = [name for name in _FUNCTIONS if not hasattr(library, f"rd_kafka_{name}")]
    return f"librdkafka without {', '.join(absent)}" if absent else ""


class MockCluster:
    """A cluster on loopback, up from the moment it is made.

    Args:
        brokers: How many; their ids count from 1.
    """

    def __init__(self, *, brokers: int = 1) -> None:
        if reason := _missing():
            go_without(reason)
        self._library = _library()
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._library, f"rd_kafka_{name}")
            function.restype, function.argtypes = result, arguments
        conf = self._call("conf_new")
        self._call("conf_set", conf, b"log_level", b"0", None, 0)
        reason = ctypes.create_string_buffer(512)
        self._client = self._call("new", _PRODUCER, conf, reason, len(reason))
        assert self._client, reason.value
        self._cluster = self._call("mock_cluster_new", self._client, brokers)
        assert self._cluster
        self._call("mock_start_request_tracking", self._cluster)
        self.brokers = range(1, brokers + 1)
        self.bootstrap: str = self._call("mock_cluster_bootstraps", self._cluster).decode()

    def _call(self, name: str, *arguments: Any) -> Any:
        return getattr(self._library, f"rd_kafka_{name}")(*arguments)

    def topic_create(self, topic: str, *, partitions: int = 4) -> None:
        """Create a topic, replicated to every broker."""
        error = self._call(
            "mock_topic_create", self._cluster, topic.encode(), partitions, len(self.brokers)
        )
        assert not error, error

    def topic_set_error(self, topic: str, code: int) -> None:
        """Let metadata requests for a topic be answered with an error; 0 for none."""
        self._call("mock_topic_set_error", self._cluster, topic.encode(), code)

    def push_request_errors(self, api: int, *codes: int) -> None:
        """Let the next requests of a kind be answered with these errors, one each."""
        array = (c_int * len(codes))(*codes)
        self._call("mock_push_request_errors_array", self._cluster, api, len(codes), array)

    def clear_request_errors(self, api: int) -> None:
        """Forget the errors that were pushed and not answered yet."""
        self._call("mock_clear_request_errors", self._cluster, api)

    def set_down(self) -> None:
        """Close every broker's port and connections."""
        for broker in self.brokers:
            assert not self._call("mock_broker_set_down", self._cluster, broker)

    def set_up(self) -> None:
        """Open the ports again."""
        for broker in self.brokers:
            assert not self._call("mock_broker_set_up", self._cluster, broker)

    def set_rtt(self, milliseconds: int) -> None:
        """Let every answer take so long."""
        for broker in self.brokers:
            assert not self._call("mock_broker_set_rtt", self._cluster, broker, milliseconds)

    def requests(self, api: int) -> int:
        """Return how many requests of a kind have come."""
        count = c_size_t()
        array = self._call("mock_get_requests", self._cluster, byref(count))
        found = sum(self._call("mock_request_api_key", array[i]) == api for i in range(count.value))
        if count.value:
            self._call("mock_request_destroy_array", array, count)
        return found

    def close(self) -> None:
        """Stop it, with all that it holds."""
        self._call("mock_cluster_destroy", self._cluster)
        self._call("destroy", self._client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()
