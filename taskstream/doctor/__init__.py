"""What stands between the agent and this machine, check by check, each with its repair.

Nothing here prints, and nothing that is tried stays. What a check means is judged by
``judgement`` from texts; ``examination`` gets the texts and makes the trials.
"""

from taskstream.doctor.examination import examine
from taskstream.doctor.judgement import Finding, State

__all__ = ["Finding", "State", "examine"]
