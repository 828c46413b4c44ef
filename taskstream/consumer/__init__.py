"""Topics as a source: what agents published, from one host or from many.

`EventConsumer` is for programs that use taskstream as a library: docs/consumer.md. `TopicSource`
reads a topic without a group, as commands of this package do.
"""

from taskstream.batch import Batch, Origin
from taskstream.consumer.events import EventConsumer, Gap, Portion
from taskstream.consumer.reader import Place
from taskstream.consumer.topic import TopicSource
from taskstream.report import Report

__all__ = [
    "Batch",
    "EventConsumer",
    "Gap",
    "Origin",
    "Place",
    "Portion",
    "Report",
    "TopicSource",
]
