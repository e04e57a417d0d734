"""Where a record went and why: by its id, or by any text it held.

The ledger names stage, reason and the kept record or benchmark; evidence finds removed records by the hash of their
match keys, so that a text nobody kept can still be explained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from pipeline.errors import UsageError
from pipeline.normalize import key_hash, match_key
from pipeline.report.opened import Build


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


def _by_id(build: Build, record_id: str) -> Iterator[Fate]:
    for corpus in build.corpora:
        for row in _evidence(build, corpus).filter(pl.col("record_id") == record_id).collect().iter_rows(named=True):
            yield _fate(build, corpus, row)


def _by_text(build: Build, text: str, limit: int) -> Iterator[Fate]:
    given = pl.Series([text])
    keys = pl.concat([key_hash(match_key(given, code=code)) for code in (False, True)]).unique().implode()
    left = limit
    for corpus in build.corpora:
        hit = pl.col("text_key").is_in(keys) | pl.col("pos_key").is_in(keys)
        for row in _evidence(build, corpus).filter(hit).head(left).collect().iter_rows(named=True):
            left -= 1
            yield _fate(build, corpus, row)


def _evidence(build: Build, corpus: str) -> pl.LazyFrame:
    return pl.scan_parquet(build.folder / "evidence" / f"{corpus}.parquet")


def _fate(build: Build, corpus: str, row: dict[str, object]) -> Fate:
    record_id, flags = str(row["record_id"]), tuple(map(str, row["flags"]))  # type: ignore[call-overload]
    if row["kept"]:
        held = _pair(build, record_id, [corpus])
        return Fate(record_id, corpus, True, flags, pair=held[1:] if held else None)
    ledger = pl.scan_parquet(build.folder / "ledger" / f"{corpus}.parquet")
    told = ledger.filter(pl.col("record_id") == record_id).collect().row(0, named=True)
    other = _pair(build, told["duplicate_of"], [corpus, *build.corpora]) if told["duplicate_of"] else None
    names = ("stage", "reason", "duplicate_of", "benchmark", "similarity")
    return Fate(record_id, corpus, False, flags, **{name: told[name] for name in names}, other=other)


def _pair(build: Build, record_id: str, corpora: list[str]) -> tuple[str, str, str] | None:
    """Corpus, text and text_pos of a kept record."""
    for corpus in dict.fromkeys(corpora):
        frame = (
            pl.scan_parquet(build.data(corpus))
            .filter(pl.col("record_id") == record_id)
            .select("text", "text_pos")
            .collect()
        )
        if frame.height:
            text, text_pos = frame.row(0)
            return corpus, text, text_pos
    return None
