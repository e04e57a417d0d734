"""Train: a build in, a sentence-transformers model out, by the trainer of sentence-transformers.

torch and sentence-transformers are imported inside functions of the modules that need them, so that a mistake on the
command line is told at once.

    stage    one training run: its folder, checkpoints, papers
    config   settings out of words
    base     the model it begins with, and the terms of that model
    rows     how the records of a batch become the columns of a loss
    judged   judged pairs of a corpus, as an endless stream
    feed     batches of tokens with the position of the data behind each
    trainer  the trainer, its arguments and the losses
    licence  what binds the trained model
    papers   model card and training curve
"""

from __future__ import annotations

from pipeline.train.base import Base, base_model
from pipeline.train.config import train_config
from pipeline.train.stage import Heard, Trained, train

__all__ = ["Base", "Heard", "Trained", "base_model", "train", "train_config"]
