"""Findings: what each stage says of the rows of a file, as one table with a sentence for every line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.audit.columns import NAME
from pipeline.audit.negatives import Holder, false_negatives
from pipeline.audit.stages import Judged
from pipeline.decontaminate.sides import negatives as exploded
from pipeline.manifest.settings import QualityConfig
from pipeline.personal import find_personal
from pipeline.quality import RULES

#: One line per finding: `row` counts from 1, `side` is text, text_pos or `negative N` ("" for the whole row), `other` is
#: what stands on the other side (`row 7`, `CORPUS RECORD_ID`, `benchmark TASK`), `grave` what a build would remove.
FINDINGS = {
    "row": pl.Int64,
    "kind": pl.String,
    "side": pl.String,
    "told": pl.String,
    "other": pl.String,
    "similarity": pl.Float32,
    "grave": pl.Boolean,
}
Rows = npt.NDArray[np.int64]

_QUALITY = {
    "empty_side": "one side is empty after cleaning",
    "equal_sides": "both sides say the same",
    "too_short": "a side is too short to say anything",
    "too_long": "a side is very long",
    "script_ratio": "too few of the letters are Chinese characters or A to Z",
    "markup": "leftover markup",
    "repetition": "a text repeats itself",
    "refusal": "the positive refuses to answer or speaks of itself as a model",
    "template_opening": "its opening is shared by too many texts",
    "hub_positive": "its positive stands with too many texts",
    "generic_title": "the text is a title that says nothing",
}
_LEAKS = {
    "benchmark_query": "a side is a query of",
    "benchmark_pair": "both sides are a pair of",
    "benchmark_joined": "both sides together are a text of",
    "benchmark_inside": "a query stands inside a side, of",
    "benchmark_positive": "a side is a relevant passage of",
    "corpus_overlap": "a side is a passage that is searched through by",
    "benchmark_negative": "the negative is a text of",
}
_DUPLICATES = {
    "exact_duplicate": "an exact copy of",
    "near_duplicate": "nearly the same on both sides as",
    "swapped_duplicate": "with its sides exchanged the same as",
}
_NEGATIVES = {
    "negative_is_text": "the negative says what its own text says",
    "negative_is_positive": "the negative says what its own positive says",
    "negative_is_known_positive": "the negative is a positive of the same text in",
    "negative_is_judged_match": "people judged the negative a match of the text in",
}
_PERSONAL = {
    "phone": "a telephone number",
    "id_card": "the number of an identity card",
    "email": "an e-mail address",
    "bank_card": "the number of a bank card",
}


def all_findings(judged: Judged, build: Path | None, least: float) -> Iterator[pl.DataFrame]:
    """Every finding, in frames of FINDINGS' columns, kind of check by kind of check."""
    yield from malformed(judged)
    if judged.marks is not None and judged.leaks is not None and judged.groups is not None:
        yield from quality_faults(judged.rows, judged.marks.paths("marks-*.parquet"))
        yield from leaks(judged.rows, judged.leaks.path)
        yield from duplicates(judged)
        yield from _negatives(judged, build, least)
        yield from personal(judged.rows, judged.text.paths("text-*.parquet"))


def malformed(judged: Judged) -> Iterator[pl.DataFrame]:
    for path in judged.text.paths("quarantine-*.parquet"):
        frame = pl.read_parquet(path, columns=["row", "reason"])
        rows = frame["row"].str.extract(r"#([0-9]+)$").cast(pl.Int64) + 1
        yield _lines(rows, kind="malformed", told=pl.format("cannot be read: {}", frame["reason"]), grave=True)


def quality_faults(rows: Rows, marks: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """All rules that hit a record; grave are those that a build drops it for unless told otherwise."""
    usual = QualityConfig()
    dropping = [rule for rule in RULES if getattr(usual, rule) == "drop"]
    for start, frame in _shards(marks, ["flags"]):
        hit = frame.with_row_index("at", start).explode("flags", keep_nulls=False, empty_as_null=False)
        told = hit["flags"].replace_strict(_QUALITY, return_dtype=pl.String)
        grave = hit["flags"].is_in(dropping)
        yield _lines(_at(rows, hit["at"]), kind=hit["flags"], told=told, grave=grave)


def leaks(rows: Rows, folder: Path) -> Iterator[pl.DataFrame]:
    """Benchmark text: what removes a record, what only flags it, and single negatives."""
    paths = sorted(folder.glob("marks-*.parquet"))
    singles = sorted(folder.glob("negatives-*.parquet"))
    for (start, frame), negatives in zip(
        _shards(paths, ["reason", "against", "similarity", "flags"]), singles, strict=True
    ):
        frame = frame.with_row_index("at", start)
        hit = frame.drop_nulls("reason")
        yield _leaked(rows, hit["at"], hit["reason"], hit["against"], hit["similarity"], grave=True)
        flags = frame.select("at", "flags").explode("flags", keep_nulls=False, empty_as_null=False)
        flags = flags.with_columns(pl.col("flags").str.splitn(":", 2).struct.rename_fields(["flag", "task"])).unnest(
            "flags"
        )
        flags = flags.filter(pl.col("flag").is_in(["benchmark_positive", "corpus_overlap"]))
        yield _leaked(rows, flags["at"], flags["flag"], flags["task"], None, grave=False)
        out = pl.read_parquet(negatives)
        kind = pl.repeat("benchmark_negative", out.height, eager=True)
        side = pl.format("negative {}", out["neg"] + 1)
        yield _leaked(rows, out["record_row"] + start, kind, out["task"], None, side=side, grave=True)


def duplicates(judged: Judged) -> Iterator[pl.DataFrame]:
    """Copies within the file and against the build, and what asked to be taken out."""
    frame = judged.decisions.with_row_index("at")
    hit = frame.filter(pl.col("stage") == "dedupe")
    other = others_named(judged, hit["duplicate_of"])
    told = pl.format("{} {}", hit["reason"].replace_strict(_DUPLICATES, return_dtype=pl.String), other)
    yield _lines(
        _at(judged.rows, hit["at"]),
        kind=hit["reason"],
        told=told,
        other=other,
        similarity=hit["similarity"],
        grave=True,
    )
    struck = frame.filter(pl.col("stage") == "tombstone")
    asked = "asked to be taken out: listed in tombstones.txt"
    yield _lines(_at(judged.rows, struck["at"]), kind="tombstone", told=asked, grave=True)


def others_named(judged: Judged, ids: pl.Series) -> pl.Series:
    """`row 7` for a place in the file, `CORPUS RECORD_ID` for a record of the build."""
    named = pl.DataFrame({"id": ids}).with_columns(corpus=pl.lit(None, pl.String))
    wanted = ids.unique().implode()
    for standing in judged.context.against.corpora if judged.context.against else ():
        known = pl.scan_parquet(list(standing.shards)).select(id="record_id").filter(pl.col("id").is_in(wanted))
        frame = known.collect(engine="streaming").with_columns(found=pl.lit(standing.corpus))
        named = named.join(frame.unique("id"), on="id", how="left", maintain_order="left")
        named = named.with_columns(corpus=pl.coalesce("corpus", "found")).drop("found")
    inside = pl.col("corpus").is_null()
    place = pl.when(inside).then("id").cast(pl.Int64, strict=False)
    rows = named.select(place - 1).to_series().fill_null(0)
    return (
        named.with_columns(row=_at(judged.rows, rows))
        .select(pl.when(inside).then(pl.format("row {}", "row")).otherwise(pl.format("{} {}", "corpus", "id")))
        .to_series()
    )


def _negatives(judged: Judged, build: Path | None, least: float) -> Iterator[pl.DataFrame]:
    assert judged.groups is not None
    holders = [
        Holder("", judged.text.paths("text-*.parquet"), judged.groups.paths(f"classes/{NAME}/classes-*.parquet"))
    ]
    for standing in judged.context.against.corpora if judged.context.against else ():
        classes = judged.groups.paths(f"classes/{standing.known_as}/classes-*.parquet")
        holders.append(Holder(standing.corpus, standing.shards, classes))
    evidence = sorted(p for p in (build / "evidence").glob("*.parquet") if p.stem != "edges") if build else []
    labelled = sorted((build / "labelled").glob("*.parquet")) if build else []
    for found in false_negatives(holders, evidence, labelled, least):
        inside = found["holder"] == ""
        places = found["other"].set(~inside, "0").cast(pl.Int64)
        row = pl.format("row {}", _at(judged.rows, places))
        named = pl.format("{} {}", found["holder"], found["other"])
        lines = found.with_columns(other=pl.when(pl.lit(inside)).then(row).otherwise(named))
        meaning = pl.col("kind").replace_strict(_NEGATIVES, return_dtype=pl.String)
        told = lines.select(
            pl.when(pl.col("kind").is_in(["negative_is_text", "negative_is_positive"]))
            .then(meaning)
            .otherwise(pl.format("{} {}", meaning, "other"))
        ).to_series()
        yield _lines(
            _at(judged.rows, found["at"]),
            kind=found["kind"],
            side=pl.format("negative {}", found["neg"] + 1),
            told=told,
            other=lines["other"],
            similarity=found["similarity"],
            grave=True,
        )


def personal(rows: Rows, shards: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Personal data by side; the value itself is not repeated."""
    for start, frame in _shards(shards, ["text", "text_pos", "text_neg"]):
        at = pl.int_range(pl.len(), dtype=pl.UInt32)
        sides = [frame.select(text=side, at=at, side=pl.lit(side)) for side in ("text", "text_pos")]
        negatives = exploded(frame["text_neg"])
        sides.append(negatives.select("text", at="row", side=pl.format("negative {}", pl.col("neg") + 1)))
        every = pl.concat(sides)
        hit = find_personal(every["text"])
        told = pl.format("holds {}", hit["kind"].replace_strict(_PERSONAL, return_dtype=pl.String))
        holders = every[hit["row"]]
        yield _lines(_at(rows, holders["at"] + start), kind=hit["kind"], side=holders["side"], told=told, grave=False)


def _leaked(
    rows: Rows, at: pl.Series, kind: pl.Series, task: pl.Series, similarity: pl.Series | None, **known: Any
) -> pl.DataFrame:
    other = pl.format("benchmark {}", task)
    told = pl.format("{} {}", kind.replace_strict(_LEAKS, return_dtype=pl.String), other)
    return _lines(_at(rows, at), kind=kind, told=told, other=other, similarity=similarity, **known)


def _lines(rows: pl.Series, **columns: Any) -> pl.DataFrame:
    """A frame of FINDINGS from series, expressions of series and plain values; what is not given is empty."""
    empty = {"side": "", "other": "", "similarity": None}
    told = {name: value for name, value in {**empty, **columns}.items()}
    frame = pl.DataFrame({"row": rows})
    lifted = {name: value if isinstance(value, pl.Series | pl.Expr) else pl.lit(value) for name, value in told.items()}
    return frame.with_columns(**lifted).select(pl.col(name).cast(kind) for name, kind in FINDINGS.items())


def _at(rows: Rows, places: pl.Series) -> pl.Series:
    return pl.Series("row", rows[places.to_numpy().astype(np.int64)])


def _shards(paths: Sequence[Path], columns: list[str]) -> Iterator[tuple[int, pl.DataFrame]]:
    """Shard by shard with the place of its first record."""
    start = 0
    for path in paths:
        frame = pl.read_parquet(path, columns=columns)
        yield start, frame
        start += frame.height
