"""The stages of a build over one file: it becomes a corpus of a throw-away recipe, and everything is kept by row.

Benchmarks are indexed in the user's store, where builds find them too; what is made of the file lies in a folder that
goes away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.audit.columns import NAME
from pipeline.context import Context, context_of
from pipeline.errors import CurationError, UsageError
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.recipe import Recipe
from pipeline.manifest.settings import DecontaminateConfig, QualityConfig
from pipeline.quality import RULES
from pipeline.record import shard_name
from pipeline.shards import write_parquet
from pipeline.source import Fetched, SourceFile
from pipeline.steps import (
    convert_step,
    decontaminate_step,
    dedupe_step,
    fetch_step,
    index_step,
    protect_step,
    quality_step,
    resolve_step,
)
from pipeline.store import Entry, Receipt, Store


@dataclass(frozen=True)
class Missing:
    """A benchmark that was not compared, and why."""

    task: str
    why: str


@dataclass(frozen=True)
class Judged:
    """A file after all stages. Entries are positional to the shards of `text`, as in a build.

    `rows` gives the row of each record, counted from 1 (without a header). `decisions` has a row for each record, and
    its `duplicate_of` is the 1-based place of a record of the file, as 32 digits, or the id of a record of the build.
    """

    text: Entry
    rows: npt.NDArray[np.int64]
    marks: Entry | None
    leaks: Entry | None
    groups: Entry | None
    decisions: pl.DataFrame
    tasks: tuple[str, ...]
    missing: tuple[Missing, ...]
    context: Context


def judge(
    corpus: Corpus,
    path: Path,
    catalog: Catalog,
    store: Path,
    work: Path,
    *,
    build: Path | None,
    benchmarks: Sequence[str],
    fetch: bool,
) -> Judged:
    """Carry the file through convert, quality, decontaminate, dedupe and resolve.

    benchmarks: names or suites; none means all. Without `fetch` only those are compared whose files are on this disk.
    Raises UsageError for a benchmark nobody knows, BuildError where `build` is none, FormatError and DriftError where
    the file is not what it looked like.
    """
    known = {*catalog.benchmarks, *(suite for b in catalog.benchmarks.values() for suite in b.suites)}
    if unknown := sorted(set(benchmarks) - known):
        raise UsageError("--benchmarks", f"there is no benchmark or suite {', '.join(unknown)}", "run: m3e plan RECIPE")
    names = list(benchmarks) or sorted(catalog.benchmarks)
    recipe = Recipe(
        name=NAME,
        corpora=[NAME],
        quality=QualityConfig(**dict.fromkeys(RULES, "flag")),
        decontaminate=DecontaminateConfig(benchmarks=names),
    )
    homes = {**catalog.homes, f"corpora/{NAME}": path.parent}
    theirs = replace(catalog, corpora={**catalog.corpora, NAME: corpus}, homes=homes)
    lasting = context_of(theirs, recipe, store, against=build)
    context = replace(lasting, store=Store(work))
    file = SourceFile(0, "train", path.name, path, "", path.stat().st_size)
    text = convert_step(context, corpus, Fetched(None, (file,)))
    tasks, missing, indexes = _indexes(lasting, fetch=fetch)
    told = (tuple(tasks), tuple(missing), context)
    if not text.receipt["totals"]["records"]:
        nothing = np.zeros(0, np.int64)
        return Judged(text, nothing, None, None, None, pl.DataFrame(), *told)
    marks = quality_step(context, corpus, text)
    leaks = decontaminate_step(context, corpus, text, protect_step(lasting, indexes))
    groups = dedupe_step(context, [corpus], {NAME: text})
    decided = resolve_step(context, [corpus], {NAME: _in_order(context, text)}, {NAME: {}}, groups)
    decisions = pl.read_parquet(decided.paths(f"{NAME}/decisions-*.parquet"))
    return Judged(text, rows_of(text), marks, leaks, groups, decisions, *told)


def rows_of(text: Entry) -> npt.NDArray[np.int64]:
    """The row in the file of each record, from 1 on: a locator reads `name#row` or `name#row/n`, from 0."""
    column = pl.read_parquet(text.paths("text-*.parquet"), columns=["row"])["row"]
    return column.str.extract(r"#([0-9]+)(?:/[0-9]+)?$").cast(pl.Int64).to_numpy() + 1


def _indexes(context: Context, *, fetch: bool) -> tuple[list[str], list[Missing], dict[str, Entry]]:
    tasks, missing, indexes = [], [], {}
    for benchmark in context.benchmarks:
        try:
            there = fetch_step(context if fetch else context.rehearsed(), benchmark)
            if not all(file.sha256 for file in there.files):
                missing.append(Missing(benchmark.task, "its files are not on this disk; --fetch loads them"))
                continue
            indexes[benchmark.task] = index_step(context, benchmark, there)
            tasks.append(benchmark.task)
        except CurationError as error:
            missing.append(Missing(benchmark.task, str(error)))
    return tasks, missing, indexes


def _in_order(context: Context, text: Entry) -> Entry:
    """What resolve asks of the records, with their places for ids: of two copies the earlier row is kept."""

    def work(out: Path) -> Receipt:
        start = 1
        for shard, path in enumerate(text.paths("text-*.parquet")):
            frame = pl.read_parquet(path, columns=["sub_source", "quality_score"])
            places = pl.int_range(start, start + frame.height, eager=True).cast(pl.String).str.zfill(32)
            columns = {"record_id": places, **{name: frame[name] for name in frame.columns}}
            table = pa.table({name: column.to_arrow() for name, column in columns.items()})
            write_parquet(out / shard_name("text", shard), table)
            start += frame.height
        return {}

    return context.store.run("places", text.key, work)
