"""Who repeats whom: per corpus, how many of its records were removed as copies of a record kept in which corpus."""

from __future__ import annotations

import polars as pl

from pipeline.report.opened import Build

#: Holder of kept records that are in no corpus of the build: those of a build that stands (`--against`).
STANDING = "standing"


def repeats(build: Build) -> dict[str, dict[str, int]]:
    """Corpus that lost records -> corpus that keeps the copy -> records; corpora that lost none are left out.

    Holds 10 bytes per removed duplicate and reads every record id once, corpus by corpus. Ids are compared by half of
    their 128 bits: among 22 million a false meeting is less likely than one in a million.
    """
    names = pl.Enum(build.corpora)
    lost = [
        pl.scan_parquet(build.ledger(name))
        .filter(pl.col("duplicate_of").is_not_null())
        .select(_half("duplicate_of"), loser=pl.lit(name, names))
        .collect(engine="streaming")
        for name in build.corpora
    ]
    whole = pl.concat(lost)
    told: dict[str, dict[str, int]] = {}
    for holder in build.corpora if whole.height else ():
        kept = pl.scan_parquet(build.evidence(holder)).filter("kept").select(_half("record_id"))
        counted = whole.lazy().join(kept, on="half", how="semi").group_by("loser").len().collect(engine="streaming")
        for loser, records in counted.iter_rows():
            told.setdefault(loser, {})[holder] = records
    for loser, records in whole.group_by("loser").len().iter_rows():
        if outside := records - sum(told.get(loser, {}).values()):
            told.setdefault(loser, {})[STANDING] = outside
    return {loser: told[loser] for loser in build.corpora if loser in told}


def _half(column: str) -> pl.Expr:
    return pl.col(column).str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64).alias("half")
