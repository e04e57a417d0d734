"""A dose of noise: some records get the positive of another, as web pairs are often none; and what the pipeline makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.data_value.arms import Frames
from benchmarks.data_value.slices import SUITE, read_manifest, write_manifest

#: The corpora whose evaluation sets are held back, and one from the web.
CORPORA = ("lcqmc", "bq", "cmrc2018", "Chinese-SQuAD", "webqa")
DOSES = (0, 10, 30)
#: `top` of consistency: the recipes' own, and a wider one.
TOPS = (20, 100)


def shuffled(frame: pl.DataFrame, dose: int, seed: int = 0) -> pl.DataFrame:
    """text, text_pos and `wrong`: of `dose` percent of the rows the positives changed places, each to another row."""
    n = frame.height * dose // 100
    order = np.arange(frame.height)
    rows = np.random.default_rng(seed).permutation(frame.height)[:n]
    order[rows] = np.roll(rows, 1)
    positives = frame["text_pos"]
    moved = positives.gather(order)
    return frame.select("text").with_columns(text_pos=moved, wrong=moved != positives)


def write_noise(raw: Frames, dose: int, work: Path, manifests: Path) -> None:
    """Corpora `NAME-noise-DOSE`, all weak, and the recipes `noise-DOSE` and, with consistency, `kept-DOSE-TOP`."""
    names = []
    for corpus in (name for name in CORPORA if name in raw):
        name = f"{corpus}-noise-{dose}"
        names.append(name)
        path = work / "files" / f"{name}.jsonl"
        rows = shuffled(raw[corpus], dose).rows(named=True)
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        told = read_manifest(corpus)
        part = {
            "files": {"train": path.name},
            "layout": "jsonl",
            "columns": {"text": "string", "text_pos": "string", "wrong": "bool"},
            "select": {"text": "text", "text_pos": "text_pos"},
        }
        source = {"kind": "local", "root": str(path.parent)}
        told |= {"name": name, "source": source, "splits": ["train"], "parts": [part], "weak": True}
        told.pop("expect")
        write_manifest(manifests, "corpora", told)
    plain: dict[str, Any] = {"corpora": names, "decontaminate": {"benchmarks": [SUITE]}}
    plain["cap"] = {"positives_per_text": 5}
    write_manifest(manifests, "recipes", {"name": f"noise-{dose}", **plain})
    for top in TOPS:
        consistency = {"consistency": {"encoder": "teacher", "top": top}}
        write_manifest(manifests, "recipes", {"name": f"kept-{dose}-{top}", **plain, **consistency})


def fate(ledgers: Mapping[str, pl.DataFrame], converted: Frames, work: Path) -> dict[tuple[str, bool], int]:
    """(stage, whether the pair was wrong) -> records that it removed; the stage "kept" for the others."""
    counted: dict[tuple[str, bool], int] = {}
    for name, frame in converted.items():
        rows = pl.read_ndjson(work / "files" / f"{name}.jsonl")
        assert frame["text_pos"].equals(rows["text_pos"]), f"{name}: records do not stand as they were written"
        told = frame.select("record_id", wrong=rows["wrong"])
        told = told.join(ledgers[name].select("record_id", "stage"), on="record_id", how="left")
        for stage, wrong, n in (
            told.with_columns(pl.col("stage").fill_null("kept")).group_by("stage", "wrong").len().rows()
        ):
            counted[stage, wrong] = counted.get((stage, wrong), 0) + n
    return counted
