"""A corpus' SQL, tried on a table without rows: what is wrong with it is told before any row is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipeline.errors import CurationError
from pipeline.layouts import empty_rows
from pipeline.manifest.corpus import Corpus, Labelled, Part, Select
from pipeline.manifest.sql import unknown_labels

_STRINGS = pl.List(pl.String)
_WANTED = {
    "text": "text or a list of texts",
    "text_pos": "text or a list of texts",
    "text_neg": "text or a list of texts",
    "other": "text",
    "prompt": "text",
    "prompt_pos": "text",
    "where": "true or false",
    "match": "true or false",
    "score": "a number",
    "quality_score": "a number",
    "doc_group": "text or a whole number",
}


@dataclass(frozen=True)
class Value:
    """One SQL expression of the manifest, where it stands there, and the type it gives."""

    place: str
    key: str
    sql: str
    expr: pl.Expr
    kind: pl.DataType

    def refuse(self, cause: str) -> CurationError:
        return CurationError(self.place, f"{self.key}: {self.sql!r} {cause}", f"mend {self.key} of the part")


@dataclass(frozen=True)
class Plan:
    """The values of one select or labelled block; `where` apart, `exploding` the key that is a list."""

    where: Value | None
    values: Mapping[str, Value]
    exploding: str | None = None

    def evaluate(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The values for the rows that `where` holds for, in their order, beside `at`: the row's place in the batch.

        Raises CurationError where an expression fails on some row (a cast of what is no number).
        """
        numbered = rows.with_row_index("\0at")
        if self.where is not None:
            numbered = numbered.filter(_column(numbered, self.where).fill_null(False))
        columns = {"at": numbered["\0at"], **{key: _column(numbered, value) for key, value in self.values.items()}}
        return pl.DataFrame(columns)


def _column(rows: pl.DataFrame, value: Value) -> pl.Series:
    try:
        # with_columns, not select: a literal is repeated for every row.
        return rows.with_columns(value.expr.alias("\0value"))["\0value"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as fault:
        raise value.refuse(f"fails: {_first_line(fault)}") from None


@dataclass(frozen=True)
class PartPlan:
    """Everything to evaluate for one part; `numbered`: one row may give several records, so locators end in `/n`."""

    selects: tuple[Plan, ...]
    labelled: Plan | None
    numbered: bool


def plan(corpus: Corpus, index: int) -> PartPlan:
    """Compile part `index` of a corpus. Raises CurationError naming corpus, part, key and expression."""
    part = corpus.parts[index]
    place = f"{corpus.name} parts[{index}]"
    empty = pl.DataFrame(pl.from_arrow(empty_rows(part, place)))
    several = len(part.selects) > 1
    selects = tuple(
        _compiled(empty, part, select, f"{place}.select[{at}]" if several else f"{place}.select")
        for at, select in enumerate(part.selects)
    )
    labelled = None if part.labelled is None else _compiled(empty, part, part.labelled, f"{place}.labelled")
    return PartPlan(selects, labelled, several or any(select.exploding for select in selects))


def _compiled(empty: pl.DataFrame, part: Part, block: Select | Labelled, place: str) -> Plan:
    values = {
        key: _value(empty, part, place, key, sql)
        for key, sql in block.model_dump(exclude_none=True).items()
        if key in _WANTED
    }
    lists = [key for key in ("text", "text_pos") if key in values and values[key].kind == _STRINGS]
    if len(lists) > 1:
        raise values["text_pos"].refuse("is a list, and so is text; only one side may explode")
    if lists and isinstance(block, Labelled):
        raise values[lists[0]].refuse("is a list; a labelled row has one text and one other")
    where = values.pop("where", None)
    return Plan(where, values, lists[0] if lists else None)


def _value(empty: pl.DataFrame, part: Part, place: str, key: str, sql: str) -> Value:
    value = Value(place, key, sql, pl.lit(None), pl.Null())
    if labels := unknown_labels(sql, part.typed_columns):
        raise value.refuse(f"names a label that is not there: {labels[0]}")
    try:
        expr = pl.sql_expr(sql)
        kind = empty.select(expr.alias("value")).schema["value"]
        blank = empty.clear(2)  # two rows of nulls
        heights = {blank.select(expr.alias("value")).height, blank.with_columns(expr.alias("value")).height}
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError) as fault:
        raise value.refuse(f"is not understood: {_first_line(fault)}") from None
    if heights != {2} and (expr.meta.root_names() or _counts(expr)):
        raise value.refuse("sums up rows; every value is made of its own row")
    if not _fits(key, kind):
        raise value.refuse(f"gives {kind}, not {_WANTED[key]}")
    return Value(place, key, sql, expr, kind)


def _counts(expr: pl.Expr) -> bool:
    """Does an expression without columns depend on the number of rows, as COUNT(*) does?"""
    frames = [pl.DataFrame({"a": range(rows)}) for rows in (1, 2)]
    return bool(frames[0].select(expr.alias("n"))["n"][0] != frames[1].select(expr.alias("n"))["n"][0])


def _fits(key: str, kind: pl.DataType) -> bool:
    if key in ("where", "match"):
        return kind == pl.Boolean
    if key in ("score", "quality_score"):
        return kind.is_numeric()
    if key == "doc_group":
        return kind == pl.String or kind.is_integer()
    return kind == pl.String or (key in ("text", "text_pos", "text_neg") and kind == _STRINGS)


def _first_line(fault: BaseException) -> str:
    return str(fault).strip().splitlines()[0][:200] if str(fault).strip() else type(fault).__name__
