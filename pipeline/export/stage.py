"""Export: a build in the columns that trainers expect, one folder per corpus, read and written a few thousand records at a time.

A folder per corpus because batches of one corpus at a time train better, and because calibrated scores are comparable
within one. Below it one folder per shape of rows, which `datasets.load_dataset(kind, data_dir=...)` reads.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.disk import writable
from pipeline.errors import StoreError, UsageError
from pipeline.export.formats import FORMATS, Format, Shapes
from pipeline.export.parts import Parts
from pipeline.folder import readable_json
from pipeline.report.opened import Build
from pipeline.store import sync_folder, write_durably

#: Records read at a time.
BATCH_ROWS = 8192
#: More distinct prompts than this are counted, not listed.
LISTED_PROMPTS = 20
NAME = "export.json"


@dataclass(frozen=True)
class Exported:
    """Where an export lies, and what its `export.json` says."""

    folder: Path
    told: Mapping[str, Any]


def export(
    build: Build, to: str, out: Path | None = None, *, corpora: Sequence[str] = (), commercial: bool = False
) -> Exported:
    """Write a build as training data of a format, into a folder of its own in `out` (default: beside the build).

    Columns, in this order:

        st-pair     anchor, positive
        st-triplet  anchor, positive, negative: one row per negative
        st-ntuple   anchor, positive, negative_1 ... negative_n: a folder per n
        st-scored   sentence1, sentence2, score: each pair, then its negatives; labelled rows in a folder of their own
        uniem       text, text_pos | text, text_pos, text_neg | sentence1, sentence2, label: a folder each
        flag        jsonl: query, pos, neg, pos_scores, neg_scores, prompt

    Negatives are those of a build with scores, or the shipped `text_neg` of a plain one. Scores are the calibrated ones
    where there are any, else cosines. `commercial`: only records that may be used commercially, negatives and all.
    `export.json` counts everything, also what was left out, and names the prompts, which trainers take as settings.

    Raises UsageError for scores of a plain build and for unknown names, StoreError where the folder is not ours.
    """
    kind = _format(build, to)
    if unknown := sorted(set(corpora) - set(build.corpora)):
        cure = f"choose among: {', '.join(build.corpora)}"
        raise UsageError(str(build.folder), f"corpus {', '.join(unknown)} is not part of this build", cure)
    names = [name for name in build.corpora if not corpora or name in corpora]
    home = build.folder.resolve()
    parts = [home.name, *(["commercial"] if commercial else []), *(["only-" + "+".join(names)] if corpora else []), to]
    target = (home.parent if out is None else out) / ".".join(parts)
    if target.exists() and not (target / NAME).is_file():
        raise StoreError(str(target), f"it holds no {NAME}, so it is no export", "choose another --out, or remove it")
    with writable(target.parent, "exporting"):
        made = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        try:
            told = {
                "build": hashlib.sha256((home / "build.json").read_bytes()).hexdigest(),
                "recipe": build.receipt["recipe"]["name"],
                "format": to,
                "commercial": commercial,
                "corpora": {name: _corpus(build, name, kind, made, commercial=commercial) for name in names},
            }
            write_durably(made / NAME, readable_json(told))
            shutil.rmtree(target, ignore_errors=True)
            os.rename(made, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        sync_folder(target.parent)
    return Exported(target, told)


def _format(build: Build, to: str) -> Format:
    if to not in FORMATS:
        raise UsageError(f"--to {to}", "there is no such format", f"choose one of: {', '.join(FORMATS)}")
    if FORMATS[to].needs_scores and "score" not in build.receipt:
        cure = "export a build of a recipe with a base, such as m3e-hq-with-score, or choose st-pair or st-triplet"
        raise UsageError(str(build.folder), f"{to} needs scores, and this build has none", cure)
    return FORMATS[to]


def _corpus(build: Build, corpus: str, kind: Format, out: Path, *, commercial: bool) -> dict[str, Any]:
    parts: dict[str, Parts] = {}
    prompts: dict[str, set[str]] = {"text": set(), "text_pos": set()}
    records = barred = bare = 0

    def write(shapes: Shapes) -> None:
        for name, rows in shapes.items():
            if rows.height:
                if name not in parts:
                    parts[name] = Parts(out / corpus / name, kind.suffix)
                parts[name].write(rows)

    for frame in _records(build.data(corpus), scored="score" in build.receipt):
        usable = frame.filter(pl.col("commercial") == "allowed") if commercial else frame
        barred += frame.height - usable.height
        bare += usable.select((pl.col("neg").list.len() == 0).sum()).item()
        records += usable.height
        for side, column in (("text", "prompt"), ("text_pos", "prompt_pos")):
            prompts[side] |= set(usable[column].unique())
        write(kind.shapes(usable))
    labelled = build.folder / "labelled" / f"{corpus}.parquet"
    if kind.needs_scores and labelled.is_file():
        scale = build.receipt["score"][corpus]["calibration"]["gold_scale"]
        for frame in _labelled(labelled, scale, commercial=commercial):
            write({"labelled": frame})
    return {
        "records": records,
        "left_out": {"not_commercial": barred, "without_negative": bare if kind.skips else 0},
        "prompts": {side: sorted(told) if len(told) <= LISTED_PROMPTS else len(told) for side, told in prompts.items()},
        "rows": {name: part.close() for name, part in sorted(parts.items())},
    }


def _records(data: Sequence[Path], *, scored: bool) -> Iterator[pl.DataFrame]:
    """Records as every format reads them: text, text_pos, neg (list of texts), prompts, use; with scores, their numbers."""
    columns = ["text", "text_pos", "prompt", "prompt_pos", "commercial"]
    more = ["score_pos", "calibrated_pos", "neg"] if scored else ["text_neg"]
    for batch in _batches(data, [*columns, *more]):
        frame = pl.DataFrame(pa.Table.from_batches([batch]))
        if not scored:
            yield frame.rename({"text_neg": "neg"})
            continue
        item = pl.element().struct
        yield frame.with_columns(
            neg=pl.col("neg").list.eval(item.field("text")),
            score_pos=pl.coalesce("calibrated_pos", "score_pos"),
            neg_scores=pl.col("neg").list.eval(pl.coalesce(item.field("calibrated"), item.field("score"))),
        )


def _batches(paths: Sequence[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path, memory_map=True) as file:
            yield from file.iter_batches(BATCH_ROWS, columns=columns)


def _labelled(path: Path, scale: float, *, commercial: bool) -> Iterator[pl.DataFrame]:
    """Judged pairs with their gold value, 0 to 1."""
    gold = pl.coalesce(pl.col("score") / scale, pl.col("label").cast(pl.Float32)).clip(0, 1)
    for batch in _batches([path], ["text", "other", "label", "score", "commercial"]):
        frame = pl.DataFrame(pa.Table.from_batches([batch])).with_columns(gold=gold.cast(pl.Float32)).drop_nulls("gold")
        usable = frame.filter(pl.col("commercial") == "allowed") if commercial else frame
        yield usable.select(sentence1="text", sentence2="other", score="gold")
