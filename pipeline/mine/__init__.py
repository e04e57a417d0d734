"""Mine: hard negatives for every record of a build, found by one encoder, none of them a known positive.

`pipeline.mine.rule` applies the rule to what is stored, without vectors.
"""

from pipeline.mine.stage import mine
from pipeline.mine.texts import Known, MineInput

__all__ = ["Known", "MineInput", "mine"]
