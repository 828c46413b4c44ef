"""What stands between the agent and this machine, check by check, each with its repair.

Nothing here prints, and nothing that is tried stays. ``examination`` gets the
texts and makes the trials; what they mean is judged by ``machine``, ``trial`` and ``broker``.
"""

from taskstream.doctor.examination import examine
from taskstream.doctor.finding import Finding, State

__all__ = ["Finding", "State", "examine"]
