"""Score: the rule cuts candidates, cosines are calibrated, licences joined; the records of a build with scores come out."""

from __future__ import annotations

from pipeline.score.holders import PoolPart
from pipeline.score.profile import Profile
from pipeline.score.stage import ScoreInput, score

__all__ = ["PoolPart", "Profile", "ScoreInput", "score"]
