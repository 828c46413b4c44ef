"""The errors that a user can cause or meet. Nothing else is ever caught at the top.

``cli.main`` prints ``taskstream VERB: message`` for these and exits with `exit_code`;
any other exception is a bug and keeps its traceback.
"""

__all__ = [
    "BrokerError",
    "CaptureError",
    "ConfigError",
    "ControlError",
    "KernelError",
    "MessageError",
    "RecordError",
    "TaskstreamError",
]


class TaskstreamError(Exception):
    """Root of every error that says what was found, where, and what to do next."""

    exit_code = 1


class RecordError(TaskstreamError):
    """Bytes are not records, or are records of another schema version."""


class MessageError(TaskstreamError):
    """A Kafka message is not one of ours, or of a version that is not known here."""


class KernelError(TaskstreamError):
    """The kernel refused something: a load, an attachment, a file that is missing."""


class BrokerError(TaskstreamError):
    """A Kafka broker does not answer, or refuses what was asked."""


class CaptureError(TaskstreamError):
    """A file is no capture, or one of a newer format, or one that cannot be read or written."""


class ConfigError(TaskstreamError):
    """A configuration file or an option cannot be used."""


class ControlError(TaskstreamError):
    """A running agent cannot be reached, or will not do what was asked."""
