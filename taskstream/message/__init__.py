"""Batches as messages and messages as batches: the shapes `event`, `batch` and `json`.

Pure: no I/O, no clock. ``docs/messages.md`` describes them.
"""
