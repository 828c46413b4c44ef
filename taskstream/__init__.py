"""Record every task lifecycle event of a Linux host, publish it to Kafka, chart its rates.

Data flows one way: a source yields batches, and sinks take them. See
``taskstream.record`` for the record and ``taskstream.pipeline`` for the loop.
"""

__version__ = "0.1.0"
