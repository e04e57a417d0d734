"""Queries x judgements x documents: which text of a retrieval set is a query, which its positive, which distracts."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipeline.decontaminate.expressions import evaluate, frames
from pipeline.errors import CurationError
from pipeline.manifest.benchmark import Benchmark
from pipeline.source import SourceFile


class Judgements:
    """The judgements of a benchmark, and the keys of its judged queries; documents pass by and are not held.

    `add_queries` takes all queries before `documents` is first asked.
    """

    def __init__(self, benchmark: Benchmark, files: Sequence[SourceFile]) -> None:
        self._name = benchmark.name
        told = [pl.DataFrame(schema={"query": pl.String, "document": pl.String, "relevant": pl.Boolean})]
        for file in files:
            part = benchmark.parts[file.part]
            if part.judges is None:
                continue
            columns = {"query": part.judges.query, "document": part.judges.document}
            is_relevant = pl.lit(True) if part.judges.where is None else pl.sql_expr(part.judges.where)
            for frame in frames(benchmark, file, part):
                named = evaluate(benchmark, frame, file, columns, None)
                relevant = frame.with_columns(relevant=is_relevant)["relevant"].fill_null(False)
                told.append(named.select("query", "document", relevant=relevant))
        every = pl.concat(told)
        self._judged = every.select(id="query").unique()
        self._relevant = every.filter("relevant").select("query", "document").unique(maintain_order=True)
        self._positive = self._relevant.select(id="document").unique()
        self._joined = pl.DataFrame(schema=self._relevant.schema)
        self._queries = pl.DataFrame(schema={"id": pl.String, "key_a": pl.String})
        self._left_out = 0

    def queries(self, keyed: pl.DataFrame) -> pl.DataFrame:
        """Those of the queries (columns `id`, `key`) that a judgement names; the others are not evaluated."""
        kept = keyed.join(self._judged, on="id", how="semi")
        self._left_out += keyed.height - kept.height
        self._queries = pl.concat([self._queries, kept.select("id", key_a="key")]).unique(maintain_order=True)
        return kept

    def documents(self, keyed: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Documents (columns `id`, `key`, `locator`) with a column `role`, and the pairs of queries with positives."""
        positive = keyed.join(self._positive, on="id", how="semi").select("id").unique()
        role = (
            pl.when(pl.col("id").is_in(positive["id"].implode())).then(pl.lit("positive")).otherwise(pl.lit("passage"))
        )
        found = self._relevant.join(keyed, left_on="document", right_on="id").join(
            self._queries, left_on="query", right_on="id"
        )
        self._joined = pl.concat([self._joined, found.select("query", "document")]).unique()
        pairs = found.select("key_a", "locator", key_b="key").sort("locator", "key_a")
        return keyed.with_columns(role=role), pairs

    def receipt(self) -> dict[str, int]:
        """Counts: relevant judgements, those whose query and document were found, queries that nobody judged.

        Raises CurationError where no judgement found both: the ids are not those of the texts.
        """
        if self._joined.is_empty():
            cause = (
                f"none of its {self._relevant.height} relevant judgements names a query and a document that are there"
            )
            raise CurationError(f"benchmark {self._name}", cause, "mend the ids of its texts, or `where` of `judges`")
        told = {"relevant": self._relevant.height, "joined": self._joined.height, "unjudged": self._left_out}
        return told
