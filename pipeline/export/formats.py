"""The formats: how records become the rows that a trainer reads. Pure, frame to frame.

A frame of records holds text, text_pos, neg (list of texts) and prompt, and where the build has scores score_pos and
neg_scores. Column order matters: sentence-transformers takes columns by place, not by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

#: Rows of one kind: the folder they go to -> the rows.
Shapes = Mapping[str, pl.DataFrame]


def _pairs(frame: pl.DataFrame) -> Shapes:
    return {"pairs": frame.select(anchor="text", positive="text_pos")}


def _triplets(frame: pl.DataFrame) -> Shapes:
    return {"triplets": _one_each(frame).select(anchor="text", positive="text_pos", negative="neg")}


def _ntuples(frame: pl.DataFrame) -> Shapes:
    """Rows of one number of negatives each: the trainer wants the same columns in every row."""
    shapes: dict[str, pl.DataFrame] = {}
    for (n,), rows in frame.group_by(pl.col("neg").list.len(), maintain_order=True):
        negatives = {f"negative_{i + 1}": pl.col("neg").list.get(i) for i in range(int(str(n)))}
        shapes[f"negatives-{n}"] = rows.select(anchor="text", positive="text_pos", **negatives)
    return shapes


def _scored(frame: pl.DataFrame) -> Shapes:
    return {"scored": _scored_pairs(frame).rename({"label": "score"})}


def _uniem(frame: pl.DataFrame) -> Shapes:
    """PairRecord, TripletRecord and ScoredPairRecord: uniem tells them apart by their columns, so one kind per folder."""
    triplets = _one_each(frame).select("text", "text_pos", text_neg="neg")
    shapes = {"pair": frame.select("text", "text_pos"), "triplet": triplets}
    return shapes | ({"scored": _scored_pairs(frame)} if "score_pos" in frame.columns else {})


def _flag(frame: pl.DataFrame) -> Shapes:
    """FlagEmbedding's fine-tuning lines; those without negatives apart, since its loader divides by their number."""
    columns = {"query": pl.col("text"), "pos": pl.concat_list("text_pos"), "neg": pl.col("neg")}
    if "score_pos" in frame.columns:
        columns |= {"pos_scores": pl.concat_list("score_pos"), "neg_scores": pl.col("neg_scores")}
    lines = frame.select(**columns, prompt="prompt")
    has_negatives = pl.col("neg").list.len() > 0
    return {"lines": lines.filter(has_negatives), "lines-without-negatives": lines.filter(~has_negatives)}


def _one_each(frame: pl.DataFrame) -> pl.DataFrame:
    """A row per negative."""
    return frame.select("text", "text_pos", "neg").explode("neg", empty_as_null=False, keep_nulls=False)


def _scored_pairs(frame: pl.DataFrame) -> pl.DataFrame:
    """sentence1, sentence2, label: each pair, followed by its negatives."""
    return frame.select(
        sentence1="text",
        sentence2=pl.concat_list(pl.concat_list("text_pos"), "neg"),
        label=pl.concat_list(pl.concat_list("score_pos"), "neg_scores"),
    ).explode("sentence2", "label")


@dataclass(frozen=True)
class Format:
    """How records become rows. `skips`: records without a negative give none."""

    shapes: Callable[[pl.DataFrame], Shapes]
    suffix: str = "parquet"
    needs_scores: bool = False
    skips: bool = False


FORMATS = {
    "st-pair": Format(_pairs),
    "st-triplet": Format(_triplets, skips=True),
    "st-ntuple": Format(_ntuples),
    "st-scored": Format(_scored, needs_scores=True),
    "uniem": Format(_uniem),
    "flag": Format(_flag, "jsonl"),
}
