"""What people have judged: gold values of pairs, found again by the match keys of their texts.

By keys and not by texts, because mining finds labelled non-matches so: a row that judges another spelling of a record's
text judges the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.errors import CountError
from pipeline.licence import UseClass
from pipeline.normalize import key_hash, match_key

if TYPE_CHECKING:
    from pipeline.encode.cross import Rate


@dataclass(frozen=True)
class Gold:
    """The judged pairs of one corpus, one row per pair of keys, and turned round where it was not judged so as well.

    `pairs`: text, other (uint64, xxh3-64 of the match keys), value (float64, 0 to 1; null where judgements of one pair
    differ), licence_id, commercial, redistribute of the freest row. `scale`: the gold score that counts as 1.
    `scores`, `values`: cosine (or a cross-encoder's score) and gold value of every judged row.
    """

    pairs: pl.DataFrame
    scale: float
    scores: NDArray[np.float32]
    values: NDArray[np.float64]

    def find(self, text: NDArray[np.uint64], other: NDArray[np.uint64]) -> pl.DataFrame:
        """The judgement of each of these pairs, whichever way round it was judged; nulls where it was not."""
        asked = pl.DataFrame({"text": text, "other": other})
        return asked.join(self.pairs, on=["text", "other"], how="left", maintain_order="left").drop("text", "other")

    def none(self, rows: int) -> pl.DataFrame:
        """What `find` says where nothing is judged."""
        return self.pairs.drop("text", "other").clear(rows)


def read_gold(
    corpus: str,
    labelled: Sequence[Path],
    cosines: Sequence[Path],
    records: NDArray[np.float32],
    rate: Rate | None = None,
) -> Gold:
    """The judged pairs of a corpus: its labelled rows with their cosines.

    A gold score counts before a label; its scale ends at the highest that rows or records (`records`: their gold
    scores) have, or at 1 where none is higher. rate: gives the scores of the judged pairs in place of their cosines.
    Raises CountError where rows and cosines differ in number.
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
    texts, golds = rows.select("text", "other"), rows["score"].drop_nulls().to_numpy()
    scale = float(max(golds.max(initial=1), records.max(initial=1)))
    rows = rows.with_columns(
        cosine=scores,
        value=pl.coalesce(pl.col("score").cast(pl.Float64) / scale, pl.col("label").cast(pl.Float64)).clip(0),
        **{side: key_hash(match_key(rows[side])) for side in ("text", "other")},
    )
    is_judged = rows["cosine"].is_not_null() & rows["value"].is_not_null()
    judged = rows.filter(is_judged)
    if rate is not None:
        judged = judged.with_columns(cosine=pl.Series(rate(list(texts.filter(is_judged).iter_rows()))))
    pairs = (
        rows.sort(_rank("commercial"), _rank("redistribute"), "record_id")
        .group_by("text", "other", maintain_order=True)
        .agg(
            pl.when(pl.col("value").drop_nulls().n_unique() == 1).then(pl.col("value").max()).alias("value"),
            pl.col("licence_id", "commercial", "redistribute").first(),
        )
    )
    turned = pairs.rename({"text": "other", "other": "text"}).select(pairs.columns)
    pairs = pl.concat([pairs, turned]).unique(["text", "other"], keep="first", maintain_order=True)
    return Gold(pairs, scale, judged["cosine"].to_numpy(), judged["value"].to_numpy())


def _rank(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Enum([use.value for use in UseClass])).to_physical()


_NO_ROWS = pl.DataFrame(
    schema={"record_id": pl.String, "text": pl.String, "other": pl.String, "label": pl.Boolean, "score": pl.Float32}
    | {name: pl.String for name in ("licence_id", "commercial", "redistribute")}
)
_NO_SCORES = pl.Series("score", [], pl.Float32)
