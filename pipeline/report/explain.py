"""Where a record went and why: by its id, or by any text it held.

The ledger names stage, reason and the kept record or benchmark; evidence finds removed records by the hash of their
match keys, so that a text nobody kept can still be explained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.errors import UsageError
from pipeline.minhash import Keys, jaccard
from pipeline.normalize import key_hash, match_key
from pipeline.report.opened import Build

#: Reasons in the order in which they show best what a build does.
TELLING = (
    "near_duplicate",
    "benchmark_query",
    "benchmark_inside",
    "benchmark_pair",
    "swapped_duplicate",
    "exact_duplicate",
)


@dataclass(frozen=True)
class Fate:
    """What became of one record; `other` is the kept record it duplicates."""

    record_id: str
    corpus: str
    kept: bool
    flags: tuple[str, ...]
    stage: str | None = None
    reason: str | None = None
    duplicate_of: str | None = None
    benchmark: str | None = None
    similarity: float | None = None
    pair: tuple[str, str] | None = None
    other: tuple[str, str, str] | None = None
    #: Jaccard of text and of text_pos with the kept record's; of a swapped duplicate, with its other side.
    sides: tuple[float, float] | None = None

    def sentence(self) -> str:
        """One sentence a person can act on."""
        head = f"{self.record_id} ({self.corpus})"
        if self.kept:
            return f"{head} is kept." + (f" Flags: {', '.join(self.flags)}." if self.flags else "")
        told = f"{head} was removed by {self.stage}: {self.reason}"
        if self.duplicate_of:
            told += f" of {self.duplicate_of} ({self.other[0]})" if self.other else f" of {self.duplicate_of}"
        if self.benchmark:
            told += f", found in benchmark {self.benchmark}"
        if self.similarity is not None:
            told += f", similarity {self.similarity:.3f}"
        return told + "."


def explain(build: Build, what: str, limit: int = 20) -> list[Fate]:
    """The fate of the record with this id, or of records one of whose sides reads like this text.

    Raises UsageError when the build never saw it.
    """
    by_id = re.fullmatch(r"[0-9a-f]{32}", what.strip())
    found = list(_by_id(build, what.strip()) if by_id else _by_text(build, what, limit))
    if not found:
        kind = "record id" if by_id else "text"
        raise UsageError(
            str(build.folder),
            f"no record of this build has this {kind}",
            "check the spelling, or the corpora in funnel.json",
        )
    return found


def examples(build: Build, n: int = 3) -> list[Fate]:
    """Removed records worth looking at: one per reason, the telling reasons first, the same ones every time."""
    found: dict[str, tuple[str, str]] = {}
    for corpus in build.corpora:
        ledger = pl.scan_parquet(build.folder / "ledger" / f"{corpus}.parquet")
        for reason, record_id in ledger.group_by("reason").agg(pl.col("record_id").min()).collect().iter_rows():
            found.setdefault(reason, (corpus, record_id))
    told = [reason for reason in TELLING if reason in found] + sorted(set(found) - set(TELLING))
    return [fate for reason in told[:n] for fate in _by_id(build, found[reason][1])]


def _by_id(build: Build, record_id: str) -> Iterator[Fate]:
    for corpus in build.corpora:
        at = _evidence(build, corpus).with_row_index("at").filter(pl.col("record_id") == record_id)
        for row in at.collect().iter_rows(named=True):
            yield _fate(build, corpus, row)


def _by_text(build: Build, text: str, limit: int) -> Iterator[Fate]:
    given = pl.Series([text])
    keys = pl.concat([key_hash(match_key(given, code=code)) for code in (False, True)]).unique().implode()
    left = limit
    for corpus in build.corpora:
        hit = pl.col("text_key").is_in(keys) | pl.col("pos_key").is_in(keys)
        for row in _evidence(build, corpus).with_row_index("at").filter(hit).head(left).collect().iter_rows(named=True):
            left -= 1
            yield _fate(build, corpus, row)


def _evidence(build: Build, corpus: str) -> pl.LazyFrame:
    return pl.scan_parquet(build.folder / "evidence" / f"{corpus}.parquet")


def _fate(build: Build, corpus: str, row: dict[str, Any]) -> Fate:
    record_id, flags = row["record_id"], tuple(row["flags"])
    if row["kept"]:
        held = _kept_pair(build, record_id, [corpus])
        return Fate(record_id, corpus, True, flags, pair=held[1:] if held else None)
    ledger = pl.scan_parquet(build.folder / "ledger" / f"{corpus}.parquet")
    told = ledger.filter(pl.col("record_id") == record_id).collect().row(0, named=True)
    other = _kept_pair(build, told["duplicate_of"], [corpus, *build.corpora]) if told["duplicate_of"] else None
    names = ("stage", "reason", "duplicate_of", "benchmark", "similarity")
    pair = _removed_pair(build, corpus, row["at"], record_id)
    sides = _sides(row, pair, other[1:], swapped=told["reason"] == "swapped_duplicate") if pair and other else None
    return Fate(
        record_id, corpus, False, flags, **{name: told[name] for name in names}, pair=pair, other=other, sides=sides
    )


def _sides(row: dict[str, Any], pair: tuple[str, str], other: tuple[str, str], *, swapped: bool) -> tuple[float, float]:
    """The similarity that dedupe measures, on either side."""
    against = other[::-1] if swapped else other
    first, second = (
        _similarity(left, right, row[key])
        for left, right, key in zip(pair, against, ("text_key", "pos_key"), strict=True)
    )
    return first, second


def _similarity(left: str, right: str, key: int) -> float:
    texts = pl.Series([left, right])
    # Code has keys of its own; which kind this side has, its key in the evidence tells.
    prose = match_key(texts)
    keys = prose if key_hash(prose)[0] == key else match_key(texts, code=True)
    measured = Keys.of(keys, key_hash(keys).to_numpy())
    return float(jaccard(measured, [0], measured, [1])[0])


def _kept_pair(build: Build, record_id: str, corpora: list[str]) -> tuple[str, str, str] | None:
    """Corpus, text and text_pos of a kept record."""
    for corpus in dict.fromkeys(corpora):
        mine = pl.scan_parquet(build.data(corpus)).filter(pl.col("record_id") == record_id)
        frame = mine.select("text", "text_pos").collect()
        if frame.height:
            text, text_pos = frame.row(0)
            return corpus, text, text_pos
    return None


def _removed_pair(build: Build, corpus: str, at: int, record_id: str) -> tuple[str, str] | None:
    """The text of a removed record, which a build folder does not hold: from the store, while that is there."""
    paths = [Path(p) for p in build.run.get("text", {}).get(corpus, [])]
    if not paths or not all(path.exists() for path in paths):
        return None
    row = pl.scan_parquet(paths).select("record_id", "text", "text_pos").slice(at, 1).collect()
    return (row["text"][0], row["text_pos"][0]) if row.height and row["record_id"][0] == record_id else None
