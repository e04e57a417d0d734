"""Export: a finished build as training data, in the columns that each trainer expects."""

from __future__ import annotations

from pipeline.export.formats import FORMATS
from pipeline.export.stage import Exported, export

__all__ = ["FORMATS", "Exported", "export"]
