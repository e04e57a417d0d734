"""Rows to raw records: which rows are used, filtered or quarantined, and the values each used one gives."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.convert.plan import PartPlan, Plan
from pipeline.layouts import BadRow, RowBatch
from pipeline.layouts.rows import Int64s, raw_text

#: Columns of raw records beside `at`; those a select does not give are null.
_RECORD: dict[str, pl.DataType] = {
    "text": pl.String(),
    "text_pos": pl.String(),
    "text_neg": pl.List(pl.String),
    "prompt": pl.String(),
    "prompt_pos": pl.String(),
    "score": pl.Float32(),
    "doc_group": pl.String(),
    "quality_score": pl.Float32(),
}
_LABELLED: dict[str, pl.DataType] = {
    "text": pl.String(),
    "other": pl.String(),
    "match": pl.Boolean(),
    "score": pl.Float32(),
}
_RECORDS_SCHEMA = {"at": pl.Int64(), **_RECORD, "n": pl.Int64()}
_LABELLED_SCHEMA = {"at": pl.Int64(), **_LABELLED}


@dataclass(frozen=True)
class Raw:
    """What some rows of a file give before cleaning. `at` in both frames is the row's number inside the file.

    `rows` are the rows that are not quarantined. `records` is in row order, then select order, then element order; `n`
    counts the records of each row from 0.
    """

    rows: Int64s
    records: pl.DataFrame
    labelled: pl.DataFrame
    quarantined: list[BadRow]

    def head(self, records: int, *, labelled: bool) -> Raw:
        """The same up to and with the row that gives the last of so many records (labelled rows if so asked)."""
        counted = self.labelled if labelled else self.records
        if counted.height < records:
            return self
        last = int(counted["at"][records - 1])
        return Raw(
            self.rows[self.rows <= last],
            self.records.filter(pl.col("at") <= last) if labelled else self.records.head(records),
            self.labelled.filter(pl.col("at") <= last),
            [bad for bad in self.quarantined if bad.row <= last],
        )


def only_bad(rows: list[BadRow]) -> Raw:
    """Rows that could not even be read."""
    nothing = np.empty(0, dtype=np.int64)
    return Raw(nothing, pl.DataFrame(schema=_RECORDS_SCHEMA), pl.DataFrame(schema=_LABELLED_SCHEMA), sorted(rows))


def raw_records(batch: RowBatch, plan: PartPlan, unread: list[BadRow]) -> Raw:
    """Evaluate the selects and the labelled block of a part; `unread` joins the quarantine in row order.

    A row is quarantined, and gives nothing at all, when a select whose `where` holds has a null text or text_pos (or
    a null among those it explodes), or a labelled block a null text, other, or neither match nor score.
    """
    rows = pl.DataFrame(pl.from_arrow(batch.table))
    reasons: dict[int, str] = {}
    several = len(plan.selects) > 1
    selected = [
        _records(rows, select, f"select[{number}]: " if several else "", reasons)
        for number, select in enumerate(plan.selects)
    ]
    labelled = pl.DataFrame(schema={"at": pl.UInt32, **_LABELLED})
    if plan.labelled is not None:
        labelled = _shaped(plan.labelled.evaluate(rows), _LABELLED)
        _note(labelled, pl.col("text").is_null(), "labelled: text is null", reasons)
        _note(labelled, pl.col("other").is_null(), "labelled: other is null", reasons)
        _note(labelled, pl.col("match").is_null() & pl.col("score").is_null(), "labelled: nothing is judged", reasons)
    bad = pl.Series(sorted(reasons), dtype=pl.UInt32)
    records = pl.concat(selected) if selected else pl.DataFrame(schema={"at": pl.UInt32, **_RECORD})
    if len(bad):
        records, labelled = (frame.filter(~pl.col("at").is_in(bad.implode())) for frame in (records, labelled))
    if several:
        records = records.sort("at", maintain_order=True)
    quarantined = [BadRow(int(batch.rows[at]), reasons[at], _shown(rows, at)) for at in bad]
    return Raw(
        np.delete(batch.rows, bad.to_numpy()),
        _numbered(_located(records, batch.rows)),
        _located(labelled, batch.rows),
        sorted(quarantined + unread),
    )


def _records(rows: pl.DataFrame, select: Plan, prefix: str, reasons: dict[int, str]) -> pl.DataFrame:
    values = select.evaluate(rows)
    for side in ("text", "text_pos"):
        _note(values, pl.col(side).is_null(), f"{prefix}{side} is null", reasons)
    if select.exploding is not None:
        side = select.exploding
        holes = pl.col(side).list.eval(pl.element().is_null()).list.any()
        _note(values, holes, f"{prefix}{side} holds a null", reasons)
        values = values.filter(pl.col(side).list.len() > 0).explode(side)
    if "text_neg" in values and values.schema["text_neg"] == pl.String:
        values = values.with_columns(pl.concat_list("text_neg"))
    return _shaped(values, _RECORD)


def _shaped(values: pl.DataFrame, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    return values.select(
        "at",
        *(
            (pl.col(name) if name in values.columns else pl.lit(None)).cast(kind).alias(name)
            for name, kind in schema.items()
        ),
    )


def _note(values: pl.DataFrame, fault: pl.Expr, reason: str, reasons: dict[int, str]) -> None:
    for at in values.filter(fault)["at"].to_list():
        reasons.setdefault(at, reason)


def _located(frame: pl.DataFrame, rows: Int64s) -> pl.DataFrame:
    return frame.with_columns(at=pl.Series(rows[frame["at"].to_numpy()], dtype=pl.Int64))


def _numbered(records: pl.DataFrame) -> pl.DataFrame:
    at = records["at"].to_numpy()
    place = np.arange(len(at), dtype=np.int64)
    opens = np.ones(len(at), dtype=np.bool_)
    opens[1:] = at[1:] != at[:-1]
    return records.with_columns(n=pl.Series(place - np.maximum.accumulate(np.where(opens, place, 0))))


def _shown(rows: pl.DataFrame, at: int) -> str:
    raw = json.dumps(rows.row(at, named=True), ensure_ascii=False, default=str)
    return raw_text(raw.encode("utf-8", "replace"))
