"""Scores upon a finished build: the step graph of a recipe with a base, and the folder that comes of it."""

from pipeline.scoring.context import ScoringContext, scoring_context
from pipeline.scoring.folder import write_scored
from pipeline.scoring.graph import Scored, score_build

__all__ = ["Scored", "ScoringContext", "score_build", "scoring_context", "write_scored"]
