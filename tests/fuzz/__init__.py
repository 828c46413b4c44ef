"""Decoders given whatever a coverage-guided fuzzer thinks of. ``python -m tests.fuzz --help``."""
