"""What the agent costs: the table of ``docs/benchmarks.md``.

Every number is measured when it is asked for. Run it with ``make bench``.
"""
