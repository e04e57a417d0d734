"""What people have judged: gold values of pairs, found again by the hashes of their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.errors import CountError
from pipeline.licence import UseClass
from pipeline.normalize import key_hash, match_key


@dataclass(frozen=True)
class Gold:
    """The judged pairs of one corpus, one row per pair of texts.

    `pairs`: text, other (uint64, xxh3-64 of the texts), value (float64, 0 to 1; null where judgements of one pair
    differ), licence_id, commercial, redistribute of the freest row. `keyed`: the same by the hashes of the match keys,
    which is how mining finds the judged pairs of a text. `scale`: the gold score that counts as 1.
    `scores`, `values`: cosine and gold value of every judged row.
    """

    pairs: pl.DataFrame
    keyed: pl.DataFrame
    scale: float
    scores: NDArray[np.float32]
    values: NDArray[np.float64]

    def find(self, text: NDArray[np.uint64], other: NDArray[np.uint64]) -> pl.DataFrame:
        """The judgement of each of these pairs, whichever way round it was judged (as it stands, first); else nulls."""
        return _find(self.pairs, text, other)

    def find_alike(self, text: pl.Series, other: pl.Series) -> pl.DataFrame:
        """The judgement of each of these pairs of texts, or of a pair that differs from it in width, case, points."""
        return _find(self.keyed, *(key_hash(match_key(side)).to_numpy() for side in (text, other)))


def _find(pairs: pl.DataFrame, text: NDArray[np.uint64], other: NDArray[np.uint64]) -> pl.DataFrame:
    asked = pl.DataFrame({"text": text, "other": other})
    turned = pairs.rename({"text": "other", "other": "text"}).select(pairs.columns)
    both = pl.concat([pairs, turned]).unique(["text", "other"], keep="first")
    return asked.join(both, on=["text", "other"], how="left", maintain_order="left").drop("text", "other")


def read_gold(corpus: str, labelled: Sequence[Path], cosines: Sequence[Path], records: NDArray[np.float32]) -> Gold:
    """The judged pairs of a corpus: its labelled rows with their cosines.

    A gold score counts before a label; its scale ends at the highest that rows or records (`records`: their gold
    scores) have, or at 1 where none is higher. Raises CountError where rows and cosines differ in number.
    """
    frames = [pl.read_parquet(path) for path in labelled]
    rows = pl.concat(frames) if frames else _NO_ROWS
    scores = pl.concat([pl.read_parquet(p, columns=["score"])["score"] for p in cosines]) if cosines else _NO_SCORES
    if rows.height != scores.len():
        raise CountError(
            corpus,
            f"it has {rows.height} labelled rows, but {scores.len()} scores for them",
            "candidates and labelled rows are of different builds: build again",
        )
    golds = rows["score"].drop_nulls().to_numpy()
    scale = float(max(golds.max(initial=1), records.max(initial=1)))
    rows = rows.with_columns(
        cosine=scores,
        value=pl.coalesce(pl.col("score").cast(pl.Float64) / scale, pl.col("label").cast(pl.Float64)).clip(0, 1),
    )
    judged = rows.drop_nulls(["cosine", "value"])
    rows = rows.sort(_rank("commercial"), _rank("redistribute"), "record_id")
    keys = {side: key_hash(match_key(rows[side])) for side in ("text", "other")}
    exact = {side: key_hash(rows[side]) for side in ("text", "other")}
    pairs, keyed = (_merged(rows.with_columns(**hashes)) for hashes in (exact, keys))
    return Gold(pairs, keyed, scale, judged["cosine"].to_numpy(), judged["value"].to_numpy())


def _merged(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("text", "other", maintain_order=True).agg(
        pl.when(pl.col("value").drop_nulls().n_unique() == 1).then(pl.col("value").max()).alias("value"),
        pl.col("licence_id", "commercial", "redistribute").first(),
    )


def _rank(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Enum([use.value for use in UseClass])).to_physical()


_NO_ROWS = pl.DataFrame(
    schema={"record_id": pl.String, "text": pl.String, "other": pl.String, "label": pl.Boolean, "score": pl.Float32}
    | {name: pl.String for name in ("licence_id", "commercial", "redistribute")}
)
_NO_SCORES = pl.Series("score", [], pl.Float32)
