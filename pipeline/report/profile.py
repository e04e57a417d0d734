"""The profile of one corpus in a build: counts over its text and its ledger, for the papers of the build.

It is kept in the store like a stage's output, so that a build in which nothing changed never reads its text again, nor
loads the library that would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.ledger import KINDS, Leak, leaks_of
from pipeline.report.opened import Build
from pipeline.store import Entry, Receipt, Store, canonical_json, stage_key

#: Corpus -> its profile.
Profiles = Mapping[str, Mapping[str, Any]]
#: Lower ends of the bins of text lengths: 1, 2, 3, 4, 6, 8, 12, 16, 24, ... characters.
LENGTH_BINS = (1, *(n << i for i in range(16) for n in (2, 3)))
#: Reasons of dedupe whose similarity says something; an exact copy is 1 by definition.
MEASURED = ("near_duplicate", "swapped_duplicate")


def profile_of(store: Store, assembled: Entry) -> dict[str, Any]:
    """The profile of an assembled corpus, found in the store or made now."""
    data, ledger, evidence = (assembled.paths(f"{kind}-*.parquet") for kind in ("train", "ledger", "evidence"))
    return profile_from(store, [assembled.key], data, ledger, evidence)


def profile_from(
    store: Store, inputs: Sequence[str], data: list[Path], ledger: list[Path], evidence: list[Path]
) -> dict[str, Any]:
    """The profile of these files, found in the store or made now; `inputs` tell them apart."""
    key = stage_key("profile", "pipeline.report.profile", {}, inputs)

    def work(out: Path) -> Receipt:
        (out / "profile.json").write_bytes(canonical_json(profile(data, ledger, evidence)))
        return {}

    entry = store.run("profile", key, work, inputs)
    told: dict[str, Any] = json.loads((entry.path / "profile.json").read_bytes())
    return told


def profiles_of(build: Build) -> Profiles:
    """The profiles of a finished build, made from its folder alone."""
    return {name: profile(build.data(name), [build.ledger(name)], [build.evidence(name)]) for name in build.corpora}


def all_leaks(profiles: Profiles) -> list[Leak]:
    """Benchmark text by task and role, over all corpora."""
    whole: dict[tuple[str, str], Leak] = {}
    for told in profiles.values():
        for one in leaks_of(told["benchmarks"], told["flags"]):
            sum_ = whole.setdefault((one.task, one.role), Leak(one.task, one.role))
            for name in (*KINDS, "flagged"):
                setattr(sum_, name, getattr(sum_, name) + getattr(one, name))
    return [whole[key] for key in sorted(whole)]


def profile(data: list[Path], ledger: list[Path], evidence: list[Path]) -> dict[str, Any]:
    """Lengths of the kept records, similarities and benchmarks of the removed ones, flags of the kept.

    `lengths[side]` counts records per lower end of a bin; `similarity[reason]` per hundredth, rounded down;
    `benchmarks[task][reason]` per kind: an exact copy, an edited one, or text embedded in another. All keys are strings,
    as in JSON.
    """
    return {
        "lengths": {side: _lengths(data, side) for side in ("text", "text_pos")},
        "similarity": _similarity(ledger),
        "benchmarks": _benchmarks(ledger),
        "flags": _flags(evidence),
    }


def _lengths(data: list[Path], side: str) -> dict[str, Any]:
    import polars as pl

    if not data:  # a corpus that kept nothing has no file in a build with scores
        return {"bins": {}, "median": 0, "longest": 0}
    counted = (
        pl.scan_parquet(data)
        .group_by(chars=pl.col(side).str.len_chars())
        .agg(records=pl.len())
        .sort("chars")
        .collect(engine="streaming")
    )
    bins = dict.fromkeys(map(str, LENGTH_BINS), 0)
    ends = pl.Series(LENGTH_BINS[1:], dtype=pl.UInt32)
    for chars, records in counted.iter_rows():  # one row per distinct length
        bins[str(LENGTH_BINS[ends.search_sorted(chars, side="right")])] += records
    total = int(counted["records"].sum())
    middle = counted.filter(pl.col("records").cum_sum() * 2 >= total)["chars"]
    median, longest = (int(middle[0]), int(counted["chars"][-1])) if total else (0, 0)
    return {"bins": {low: n for low, n in bins.items() if n}, "median": median, "longest": longest}


def _similarity(ledger: list[Path]) -> dict[str, dict[str, int]]:
    import polars as pl

    # A float32 may lie a hair below the hundredth it stands for.
    hundredth = (pl.col("similarity").cast(pl.Float64) * 100 + 1e-4).floor().cast(pl.Int64)
    counted = (
        pl.scan_parquet(ledger)
        .filter(pl.col("reason").is_in(MEASURED) & pl.col("similarity").is_not_null())
        .group_by("reason", hundredth.alias("hundredth"))
        .agg(records=pl.len())
        .sort("reason", "hundredth")
        .collect()
    )
    told: dict[str, dict[str, int]] = {}
    for reason, at, records in counted.iter_rows():
        told.setdefault(reason, {})[str(at)] = records
    return told


def _benchmarks(ledger: list[Path]) -> dict[str, dict[str, dict[str, int]]]:
    import polars as pl

    copied = pl.when(pl.col("similarity") == 1).then(pl.lit("exact")).otherwise(pl.lit("edited"))
    kind = pl.when(pl.col("reason") == "benchmark_inside").then(pl.lit("embedded")).otherwise(copied)
    counted = (
        pl.scan_parquet(ledger)
        .filter(pl.col("benchmark").is_not_null())
        .group_by("benchmark", "reason", kind=kind)
        .agg(records=pl.len())
        .sort("benchmark", "reason", "kind")
        .collect()
    )
    told: dict[str, dict[str, dict[str, int]]] = {}
    for task, reason, how, records in counted.iter_rows():
        told.setdefault(task, {}).setdefault(reason, {})[how] = records
    return told


def _flags(evidence: list[Path]) -> dict[str, int]:
    import polars as pl

    counted = (
        pl.scan_parquet(evidence)
        .filter(pl.col("kept") & (pl.col("flags").list.len() > 0))
        .select(pl.col("flags").explode())
        .group_by("flags")
        .agg(records=pl.len())
        .sort("flags")
        .collect()
    )
    return dict(counted.iter_rows())
