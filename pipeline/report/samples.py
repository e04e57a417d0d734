"""Pairs of a build for the eye: kept records at even distances, and texts with their hard negatives and scores.

Only a few rows are read, whatever the size of the build; the same ones every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.licence import UseClass
from pipeline.report.opened import Build

#: Kept pairs and texts with negatives that are shown per corpus.
PAIRS, SCORED = 5, 3
#: Where some rows may not be shown, so many times more are looked at.
TRIES = 8
#: Scores are counted over so many slices of so many rows.
SLICES, SLICE_ROWS = 32, 512
#: Scores are counted by twentieths.
STEPS = 20
Row = dict[str, Any]


def even_rows(paths: Sequence[Path], columns: Sequence[str], n: int, rows: int = 1) -> pl.DataFrame:
    """`n` slices of `rows` rows at even distances.

    One slice after another: parquet skips the row groups in between, and memory holds one of them at a time.
    """
    frame = pl.scan_parquet(list(paths)).select(columns)
    total = int(frame.select(pl.len()).collect().item())
    step = max(rows, total // n) if n else 1
    return pl.concat([frame.head(0).collect(), *(frame.slice(at, rows).collect() for at in range(0, total, step)[:n])])


def kept_pairs(build: Build, corpus: str, *, show_all: bool = False) -> list[Row]:
    """Kept records: record_id, text, text_pos, text_neg, prompt; only of parts that may be passed on unless `show_all`."""
    columns = ("record_id", "sub_source", "text", "text_pos", "text_neg", "prompt")
    free, parts = build.free_parts(corpus), set(build.about(corpus)["parts"])
    if not build.data(corpus) or not (show_all or free):
        return []
    if show_all or free == parts:
        return even_rows(build.data(corpus), columns, PAIRS).to_dicts()
    tried = even_rows(build.data(corpus), columns, PAIRS * TRIES)
    return tried.filter(pl.col("sub_source").is_in(list(free))).head(PAIRS).to_dicts()


def scored_pairs(build: Build, corpus: str, *, show_all: bool = False) -> list[Row]:
    """Records with their negatives; only what may be passed on with all of its negatives, unless `show_all`."""
    columns = ("record_id", "text", "text_pos", "score_pos", "calibrated_pos", "redistribute", "neg")
    if not build.has_scores or not build.data(corpus):
        return []
    tried = even_rows(build.data(corpus), columns, SCORED * TRIES).filter(pl.col("neg").list.len() > 0)
    if not show_all:
        tried = tried.filter(pl.col("redistribute") == UseClass.ALLOWED)
    return tried.gather_every(max(1, tried.height // SCORED)).head(SCORED).to_dicts()


def score_counts(build: Build, corpus: str) -> dict[str, dict[str, int]]:
    """Cosines of positives and negatives by twentieths, over an even sample of the records: kind -> lower end -> count."""
    if not build.has_scores or not build.data(corpus):
        return {}
    sample = even_rows(build.data(corpus), ("score_pos", "neg"), SLICES, SLICE_ROWS)
    negatives = sample["neg"].explode().drop_nulls().struct.field("score")
    return {"positive": _counted(sample["score_pos"]), "negative": _counted(negatives)}


def gold_counts(build: Build, corpus: str) -> dict[str, int]:
    """Gold scores of a corpus that has them, by twentieths of their range, over an even sample: label -> count."""
    if not build.data(corpus):
        return {}
    scores = even_rows(build.data(corpus), ("score",), SLICES, SLICE_ROWS)["score"].drop_nulls().cast(pl.Float64)
    if not scores.len():
        return {}
    low, high = float(scores.min()), float(scores.max())  # type: ignore[arg-type]
    width = (high - low) / STEPS or 1.0
    bins = ((scores - low) / width).floor().cast(pl.Int64).clip(0, STEPS - 1)
    counts = dict(bins.value_counts().iter_rows())
    return {f"{low + i * width:.3g}": counts.get(i, 0) for i in range(STEPS if high > low else 1)}


def _counted(scores: pl.Series) -> dict[str, int]:
    # A float32 may lie a hair below the twentieth it stands for.
    bins = (scores.cast(pl.Float64) * STEPS + 1e-4).floor().cast(pl.Int64).value_counts()
    return {f"{at / STEPS:.2f}": n for at, n in sorted(bins.iter_rows())}
