"""The agent for many minutes under churn. ``python -m tests.soak --help``."""
