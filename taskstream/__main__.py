"""``python -m taskstream``."""

from taskstream.cli import main

main()
