"""The profile of one corpus in a build: what the report page shows of its text and its ledger.

It is kept in the store like a stage's output, so that a build in which nothing changed never reads its text again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.store import Entry, Receipt, Store, canonical_json, stage_key

#: Pairs shown per corpus, and how much of each text.
SAMPLES = 5
SAMPLE_CHARS = 400
SHOWN_NEGATIVES = 3
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


def profile(data: list[Path], ledger: list[Path], evidence: list[Path]) -> dict[str, Any]:
    """Lengths and samples of the kept records, similarities and benchmarks of the removed ones, flags of the kept.

    `lengths[side]` counts records per lower end of a bin; `similarity[reason]` per hundredth, rounded down;
    `benchmarks[task][reason]` per kind: an exact copy, an edited one, or text embedded in another. All keys are strings,
    as in JSON.
    """
    return {
        "lengths": {side: _lengths(data, side) for side in ("text", "text_pos")},
        "similarity": _similarity(ledger),
        "benchmarks": _benchmarks(ledger),
        "flags": _flags(evidence),
        "samples": _samples(data),
    }


def _lengths(data: list[Path], side: str) -> dict[str, Any]:
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


def _samples(data: list[Path]) -> list[dict[str, Any]]:
    """Records at even distances, the same that `m3e preview` shows."""
    if not data:
        return []
    frame = pl.scan_parquet(data).select("record_id", "text", "text_pos", "text_neg", "prompt")
    rows = int(frame.select(pl.len()).collect().item())
    step = max(1, rows // SAMPLES)
    # One slice each: parquet skips the row groups in between.
    chosen = [frame.slice(at, 1) for at in range(0, rows, step)[:SAMPLES]]
    return [
        row
        | {side: _cut(row[side]) for side in ("text", "text_pos")}
        | {"text_neg": [_cut(text) for text in row["text_neg"][:SHOWN_NEGATIVES]]}
        for row in (pl.concat(chosen).collect().to_dicts() if chosen else [])
    ]


def _cut(text: str) -> str:
    return text if len(text) <= SAMPLE_CHARS else text[:SAMPLE_CHARS] + "…"
