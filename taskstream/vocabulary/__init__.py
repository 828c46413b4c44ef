"""The names that others have given to what an event tells: OCSF, ECS, OpenTelemetry.

Pure: maps from maps. ``docs/formats.md`` lists every name; a test compares.
"""

from taskstream.vocabulary.ecs import ECS
from taskstream.vocabulary.ocsf import OCSF
from taskstream.vocabulary.otel import OTEL
from taskstream.vocabulary.term import Term, Vocabulary

__all__ = ["VOCABULARIES", "Term", "Vocabulary"]

VOCABULARIES: dict[str, Vocabulary] = {v.name: v for v in (OCSF, ECS, OTEL)}
"""Every vocabulary, by the name under which it is asked for."""
