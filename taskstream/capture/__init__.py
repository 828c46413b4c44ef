"""Capture files: a stream on disk, to be replayed. ``schemas/capture.md`` is the format.

Rim: ``writer`` and ``reader`` touch files; ``frame`` and ``content`` are pure.
"""
