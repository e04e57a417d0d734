"""From builds to arms: which records each arm trains on, as shards in the columns of a build.

Everything comes out of one build of the recipe `hq` over all splits: what it converted is the raw concatenation, what it
kept is m3e-hq.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.data_value.student import Arm
from pipeline.make import Made, make
from pipeline.manifest.catalog import read_catalog
from pipeline.mix.windows import GROUPS
from pipeline.report.opened import open_build
from pipeline.runner import Threads
from pipeline.train.rows import PLAIN

#: The split that is held back.
HELD_SPLIT = "test"
Frames = dict[str, pl.DataFrame]


class _Silent:
    def hear(self, _: object) -> None:
        """Nobody looks on."""

    def encoded(self, _: str, __: object) -> None:
        """Nobody looks on."""


def built(manifests: Path, recipe: str, work: Path) -> Made:
    """`m3e build RECIPE` with these manifests alone. Raises where a corpus is missing."""

    @contextmanager
    def running(_: Mapping[str, int]) -> Iterator[tuple[Threads, _Silent]]:
        runner = Threads(1)
        try:
            yield runner, _Silent()
        finally:
            runner.close()

    catalog = read_catalog([manifests], shipped=False)
    return make(catalog, catalog.recipe(recipe), work / "store", work / "build", running, strict=True)


def converted(made: Made) -> Frames:
    """Every record as it was converted, before any stage looked at it."""
    assert made.outcome is not None
    entries = made.outcome.entries
    names = [name for stage, name in entries if stage == "convert"]
    return {name: pl.read_parquet(entries["convert", name].paths("text-*.parquet")) for name in names}


def kept(made: Made) -> Frames:
    """The records of the finished folder."""
    build = open_build(made.folder)
    return {name: pl.read_parquet(paths) for name in build.corpora if (paths := build.data(name))}


def ledgers(made: Made) -> Frames:
    """What was removed from each corpus."""
    return {path.stem: pl.read_parquet(path) for path in sorted((made.folder / "ledger").glob("*.parquet"))}


def ungrouped(frame: pl.DataFrame) -> pl.DataFrame:
    """Every record in groups of its own, so that batches come as rows come."""
    number = pl.int_range(pl.len(), dtype=pl.UInt64)
    return frame.with_columns(text_group=2 * number, pos_group=2 * number + 1, doc_group=number)


def thinned(frames: Frames, sizes: Mapping[str, int], seed: int) -> Frames:
    """As many records of each corpus as `sizes` says, drawn at random, in their order."""
    draw = np.random.default_rng(seed)
    return {
        name: frame[np.sort(draw.choice(frame.height, sizes[name], replace=False))] for name, frame in frames.items()
    }


def with_negatives(scored: Frames, origins: Sequence[str]) -> Frames:
    """Records of a build with scores whose text_neg are its negatives of these origins (shipped, labelled, mined)."""
    chosen = pl.col("neg").list.eval(
        pl.element().filter(pl.element().struct.field("origin").is_in(origins)).struct.field("text")
    )
    return {name: frame.with_columns(text_neg=chosen) for name, frame in scored.items()}


def arm(name: str, frames: Frames, folder: Path, negatives: int = 0) -> Arm:
    """Write the shards of an arm, a file for each corpus that has a record."""
    data = {}
    for corpus, frame in frames.items():
        if not frame.height:
            continue
        path = folder / f"{corpus}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.select(*PLAIN, *GROUPS).write_parquet(path)
        data[corpus] = [path]
    return Arm(name, data, negatives)
