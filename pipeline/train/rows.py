"""How the records of a batch become the columns of a loss. Pure, frame to frame; column order is what a loss goes by.

A frame of records holds text, text_pos, prompt, prompt_pos and neg (list of texts); with scores also score_pos and
neg_scores (list of numbers).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.manifest.settings import TrainConfig
from pipeline.normalize.key import match_key

#: Between a prompt and its text, as uniem joined MEDI's instructions.
JOINT = "\n"
COLUMNS = ("text", "text_pos", "prompt", "prompt_pos")
PLAIN, SCORED = (*COLUMNS, "text_neg"), (*COLUMNS, "score_pos", "calibrated_pos", "neg")


def records(table: pa.Table) -> pl.DataFrame:
    """The records of a batch, from the columns PLAIN or SCORED; scores are the calibrated ones where there are any."""
    frame = pl.DataFrame(table)
    if "text_neg" in frame.columns:
        return frame.rename({"text_neg": "neg"})
    item = pl.element().struct
    return frame.with_columns(
        neg=pl.col("neg").list.eval(item.field("text")),
        neg_scores=pl.col("neg").list.eval(pl.coalesce(item.field("calibrated"), item.field("score"))),
        score_pos=pl.coalesce("calibrated_pos", "score_pos"),
    )


def contrastive(frame: pl.DataFrame, config: TrainConfig) -> dict[str, list[Any]]:
    """anchor, positive, negative_1 ... negative_m: as the ranking losses of sentence-transformers take them.

    To these losses a negative of one record is one of every record, so all negatives of the batch are laid out in as few
    columns as hold them, the first ones again where the last column is not full. A negative that is the text or the
    positive of a record of the batch (by match key) is left out, for that record would be taught a falsehood.

    >>> frame = pl.DataFrame({"text": ["a1", "b1"], "text_pos": ["a2", "b2"], "prompt": ["", "p"], "prompt_pos": ["", ""],
    ...                       "neg": [["c", "B2"], []]})
    >>> contrastive(frame, TrainConfig())
    {'anchor': ['a1', 'p\\nb1'], 'positive': ['a2', 'b2'], 'negative_1': ['c', 'c']}
    """
    told = {
        "anchor": frame.select(_prompted("text", "prompt", config)).to_series().to_list(),
        "positive": frame.select(_prompted("text_pos", "prompt_pos", config)).to_series().to_list(),
    }
    negatives = _negatives(frame, config)
    held = match_key(pl.concat([frame["text"], frame["text_pos"]]))
    free = negatives.filter(~match_key(negatives["neg"]).is_in(held.implode()))
    texts = free.select(_prompted("neg", "prompt_pos", config)).to_series().to_numpy()
    if n := len(texts):
        width = -(-n // frame.height)
        laid = texts[np.arange(width * frame.height) % n].reshape(width, frame.height)
        told |= {f"negative_{i + 1}": laid[i].tolist() for i in range(width)}
    return told


def cosent(frame: pl.DataFrame, config: TrainConfig, judged: pl.DataFrame | None = None) -> dict[str, list[Any]]:
    """sentence1, sentence2, score: every pair with its score, its negatives with theirs, and the judged pairs.

    judged: text, other and gold (0 to 1). They take the prompt of the records where these all have the same one.
    """
    first = frame.select(
        _prompted("text", "prompt", config).alias("sentence1"),
        _prompted("text_pos", "prompt_pos", config).alias("sentence2"),
        pl.col("score_pos").cast(pl.Float64).alias("score"),
    )
    parts = [
        first,
        _negatives(frame, config).select(
            _prompted("text", "prompt", config).alias("sentence1"),
            _prompted("neg", "prompt_pos", config).alias("sentence2"),
            pl.col("neg_scores").cast(pl.Float64).alias("score"),
        ),
    ]
    if judged is not None and judged.height:
        one = {side: frame[side][0] if frame[side].n_unique() == 1 else "" for side in ("prompt", "prompt_pos")}
        with_prompts = judged.with_columns(**{side: pl.lit(text) for side, text in one.items()})
        parts.append(
            with_prompts.select(
                _prompted("text", "prompt", config).alias("sentence1"),
                _prompted("other", "prompt_pos", config).alias("sentence2"),
                pl.col("gold").cast(pl.Float64).alias("score"),
            )
        )
    return pl.concat(parts).to_dict(as_series=False)


def _negatives(frame: pl.DataFrame, config: TrainConfig) -> pl.DataFrame:
    """A row per negative, the first `negatives` of each record."""
    lists = [name for name in ("neg", "neg_scores") if name in frame.columns]
    cut = frame.with_columns(pl.col(name).list.head(config.negatives) for name in lists)
    return cut.explode(lists, empty_as_null=False, keep_nulls=False)


def _prompted(text: str, prompt: str, config: TrainConfig) -> pl.Expr:
    if config.prompts == "off":
        return pl.col(text)
    return pl.when(pl.col(prompt) == "").then(pl.col(text)).otherwise(pl.concat_str(prompt, pl.lit(JOINT), text))
