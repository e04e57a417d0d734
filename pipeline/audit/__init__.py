"""Audit: what is wrong with anyone's own pairs, row by row, before they are trained on.

The file becomes a corpus of a throw-away recipe and goes through the stages of a build; nothing is removed, everything
that would be is told with its row, the rule, and the row, record or benchmark on the other side.
"""

from pipeline.audit.columns import Given
from pipeline.audit.stage import Audit, audit

__all__ = ["Audit", "Given", "audit"]
