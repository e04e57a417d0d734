"""The audit of one file: findings, counts, and the licences of what it repeats."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from pipeline.audit.columns import Given, Sides, choose_sides, corpus_of
from pipeline.audit.findings import FINDINGS, all_findings
from pipeline.audit.stages import Judged, Missing, judge
from pipeline.audit.table import read_table
from pipeline.disk import writable
from pipeline.manifest.catalog import Catalog
from pipeline.personal import mask_personal
from pipeline.store import Store

#: Findings of one kind that are kept with their rows; beyond them only their number is.
MOST = 100_000
#: Of each kind so many findings have their text at hand, cut to EXCERPT_CHARS, for people to look at.
SHOWN, EXCERPT_CHARS = 20, 160


@dataclass(frozen=True)
class Excerpt:
    """The texts of one row, cut, personal data masked."""

    text: str
    text_pos: str
    text_neg: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """What was found. `counts` are findings by kind, `rows_hit` the rows that have any, `findings` in FINDINGS' columns.

    `licences`: of the build's records that the file repeats, how many by licence and what they allow. `excerpts`: the
    texts of the first rows of each kind, and of the rows they name.
    """

    file: Path
    sides: Sides
    rows: dict[str, int]
    findings: pl.DataFrame
    counts: dict[str, int]
    grave: dict[str, bool]
    rows_hit: int
    tasks: tuple[str, ...]
    missing: tuple[Missing, ...]
    build: Path | None
    licences: tuple[tuple[str, str, str, int], ...]
    excerpts: dict[int, Excerpt]


def audit(
    path: Path,
    catalog: Catalog,
    store: Path,
    given: Given,
    *,
    build: Path | None = None,
    benchmarks: Sequence[str] = (),
    fetch: bool = False,
) -> Audit:
    """Look at a file of pairs: malformed rows, quality, benchmarks, duplicates, false negatives, personal data.

    The file is read once and nothing of it is kept: what the stages write lies in a folder of `store` that goes away
    with the audit (about 2 KB per pair), and benchmarks that were indexed stay there for the next one. Memory is that of
    a build of the file's size (with `build`, of both), and MOST findings of each kind.

    Raises UsageError where the file or its columns cannot be told, BuildError where `build` is none, FormatError and
    DriftError where the file is not what its opening says.
    """
    table = read_table(path.resolve())
    sides = choose_sides(table, given)
    corpus = corpus_of(table, sides, given.where)
    # Below a folder of its own, so that what a killed audit left is collected with the rest of the store.
    place = store / "audit"
    with writable(store, "audit"), Store(store).in_use():
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place) as work:
            judged = judge(
                corpus,
                table.path,
                catalog,
                store,
                Path(work),
                build=build,
                benchmarks=benchmarks,
                fetch=fetch,
            )
            least = judged.context.recipe.dedupe.threshold
            kept: dict[str, list[pl.DataFrame]] = {}
            counts, grave = Counter[str](), dict[str, bool]()
            hit = np.zeros(judged.text.receipt["totals"]["read"] + 1, np.bool_)
            for frame in all_findings(judged, build, least):
                for (kind,), mine in frame.group_by("kind", maintain_order=True):
                    name = str(kind)
                    room = MOST - min(MOST, counts[name])
                    kept.setdefault(name, []).append(mine.head(room))
                    counts[name] += mine.height
                    grave[name] = bool(mine["grave"].any())
                hit[frame["row"].to_numpy()] = True
            found = pl.concat([pl.DataFrame(schema=FINDINGS), *(f for frames in kept.values() for f in frames)])
            return Audit(
                path,
                sides,
                {
                    name: judged.text.receipt["totals"][name]
                    for name in ("read", "used", "filtered", "quarantined", "records")
                },
                found.sort("row", "kind", "side", "told"),
                {
                    name: counts[name]
                    for name in sorted(counts, key=lambda name: (not grave[name], -counts[name], name))
                },
                grave,
                int(hit.sum()),
                judged.tasks,
                judged.missing,
                build,
                _licences(judged),
                _excerpts(judged, found),
            )


def _licences(judged: Judged) -> tuple[tuple[str, str, str, int], ...]:
    """Licence, commercial use, redistribution and rows of the file, of the build's records that they duplicate."""
    if judged.context.against is None or not judged.decisions.height:
        return ()
    repeated = judged.decisions.filter(pl.col("stage") == "dedupe").select(record_id="duplicate_of")
    terms = ["licence_id", "commercial", "redistribute"]
    found = []
    for standing in judged.context.against.corpora:
        known = pl.scan_parquet(list(standing.shards)).select("record_id", *terms)
        wanted = known.filter(pl.col("record_id").is_in(repeated["record_id"].unique().implode()))
        found.append(repeated.join(wanted.collect(engine="streaming"), on="record_id"))
    counted = pl.concat(found).group_by(terms).len().sort(-pl.col("len").cast(pl.Int64), *terms)
    return tuple((str(a), str(b), str(c), int(n)) for a, b, c, n in counted.iter_rows())


def _excerpts(judged: Judged, found: pl.DataFrame) -> dict[int, Excerpt]:
    first = found.group_by("kind", maintain_order=True).head(SHOWN)
    named = first["other"].str.extract(r"^row ([0-9]+)$").cast(pl.Int64).drop_nulls()
    wanted = np.flatnonzero(np.isin(judged.rows, [*first["row"], *named]))
    excerpts: dict[int, Excerpt] = {}
    start = 0
    for path in judged.text.paths("text-*.parquet"):
        rows = pq.read_metadata(path).num_rows
        here = wanted[(wanted >= start) & (wanted < start + rows)]
        if len(here):
            frame = pl.read_parquet(path, columns=["text", "text_pos", "text_neg"])[here - start]
            sides = (_shown(frame["text"]), _shown(frame["text_pos"]), frame["text_neg"])
            for at, text, pos, negatives in zip(here, *sides, strict=True):
                excerpts.setdefault(int(judged.rows[at]), Excerpt(text, pos, tuple(_shown(negatives))))
        start += rows
    return excerpts


def _shown(texts: pl.Series) -> pl.Series:
    """Masked, then cut: a number that is cut in two is no longer found."""
    masked = mask_personal(texts.cast(pl.String))
    return (
        masked.str.slice(0, EXCERPT_CHARS)
        + pl.select(pl.when(masked.str.len_chars() > EXCERPT_CHARS).then(pl.lit("…")).otherwise(pl.lit(""))).to_series()
    )
