"""From matches to verdicts: what each use of a benchmark text means for the records that hold it."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pipeline.decontaminate.protected import Protected
from pipeline.manifest.settings import DecontaminateConfig

#: Reasons a record is removed for, the most telling first: of two equal similarities the first is named.
REASONS = ("benchmark_query", "benchmark_pair", "benchmark_joined", "benchmark_inside")
#: What a text that is no query means on its own.
FLAGS = {"positive": "benchmark_positive", "passage": "corpus_overlap"}


@dataclass(frozen=True)
class Sided:
    """Matches by the side that holds them, each in `sides.HITS`' columns.

    `negative` speaks of text_neg and has `neg` too, the place within it.
    """

    first: pl.DataFrame
    second: pl.DataFrame
    joined: pl.DataFrame
    inside: pl.DataFrame
    negative: pl.DataFrame


@dataclass(frozen=True)
class Verdicts:
    """`found`: row, task, reason, similarity - the best per row and task. `flags`: row, task, flag.

    `negatives`: record_row, neg, task - the negatives that are benchmark text.
    """

    found: pl.DataFrame
    flags: pl.DataFrame
    negatives: pl.DataFrame

    def marks(self, rows: int, config: DecontaminateConfig) -> pl.DataFrame:
        """One mark per record in MARK_SCHEMA's columns: the most similar task, ties by name."""
        rank = pl.col("reason").replace_strict({r: n for n, r in enumerate(REASONS)}, return_dtype=pl.UInt8)
        best = self.found.sort(-pl.col("similarity"), "task", rank).unique("row", keep="first")
        contaminated = self.found.select("row", flag=pl.format("contaminated:{}", "task"))
        flags = pl.concat([contaminated, self.flags.select("row", flag=pl.format("{}:{}", "flag", "task"))])
        flags = flags.group_by("row").agg(flags=pl.col("flag").unique().sort())
        reason = pl.col("reason") if config.policy == "drop" else pl.lit(None, pl.String)
        every = pl.DataFrame({"row": pl.int_range(rows, dtype=pl.UInt32, eager=True)})
        marks = every.join(best, on="row", how="left", maintain_order="left")
        return marks.join(flags, on="row", how="left", maintain_order="left").select(
            reason=reason, against="task", similarity="similarity", flags=pl.col("flags").fill_null([])
        )


def judge(sided: Sided, protected: Protected, config: DecontaminateConfig) -> Verdicts:
    """Apply the roles: queries and pairs remove, positives and passages flag.

    A text that stands alone needs `min_chars` characters (the shorter of the two compared counts); a pair needs none.
    """
    alone = pl.concat([sided.first, sided.second]).filter(pl.col("chars") >= config.min_chars)
    alone = alone.join(protected.uses, on="bench")
    joined = sided.joined.filter(pl.col("chars") >= config.min_chars)
    joined = joined.join(protected.joined, on="bench")
    inside = sided.inside.join(protected.uses.filter(role="query"), on="bench")
    found = [
        _found(alone.filter(role="query"), "benchmark_query"),
        _found(_paired(sided.first, sided.second, protected.pairs, ["row"]), "benchmark_pair"),
        _found(joined.filter(role="query"), "benchmark_joined"),
        _found(inside, "benchmark_inside"),
    ]
    negative = sided.negative.filter(pl.col("chars") >= config.min_chars)
    negative = negative.join(protected.uses.filter(role="query"), on="bench").select("row", "neg", "task")
    paired = _paired(sided.first, sided.negative, protected.pairs, ["row", "neg"]).select("row", "neg", "task")
    negatives = pl.concat([negative, paired]).unique().sort("row", "neg", "task")
    flags = [
        pl.concat([alone, joined])
        .filter(pl.col("role") != "query")
        .select("row", "task", flag=pl.col("role").replace_strict(FLAGS, return_dtype=pl.String)),
        negatives.select("row", "task", flag=pl.lit("benchmark_negative")),
    ]
    rank = pl.col("reason").replace_strict({r: n for n, r in enumerate(REASONS)}, return_dtype=pl.UInt8)
    best = pl.concat(found).sort("row", "task", -pl.col("similarity"), rank).unique(["row", "task"], keep="first")
    return Verdicts(
        best.sort("row", "task"),
        pl.concat(flags).unique().sort("row", "task", "flag"),
        negatives.rename({"row": "record_row"}),
    )


def _found(hits: pl.DataFrame, reason: str) -> pl.DataFrame:
    return hits.select("row", "task", reason=pl.lit(reason), similarity="similarity")


def _paired(first: pl.DataFrame, second: pl.DataFrame, pairs: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Records (and negatives) whose two sides match the two texts of one pair; the smaller similarity counts."""
    # Sides are joined before pairs: few records match on both, while one text may stand in thousands of pairs.
    known = pairs.select(bench="bench_a").unique()
    first, second = (side.join(known, on="bench", how="semi") for side in (first, second))
    both = first.join(second, on="row", suffix="_b")
    hits = both.join(pairs, left_on=["bench", "bench_b"], right_on=["bench_a", "bench_b"])
    return hits.select(*by, "task", similarity=pl.min_horizontal("similarity", "similarity_b"))
