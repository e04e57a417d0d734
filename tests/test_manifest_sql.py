"""The light look at SQL, against polars as the judge of what is a column."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.manifest.columns import Label, ListOf, Scalar, StructOf, parse_column, parse_columns
from pipeline.manifest.sql import tokens, unknown_columns, unknown_labels

LABEL = {"label": {"names": ["neutral", "entailment", "-"]}, "other": "string"}

# Valid over the columns of FRAME; `nope` is put in the place of each column in turn.
FRAME = pl.DataFrame(
    {"title": ["a"], "n": [1], "l": [["x"]], "s": [{"field": "f"}], "标题": ["b"], "end date": ["c"], "label": ["-"]}
)
EXPRESSIONS = [
    "title",
    "标题 || title",
    "`end date`",
    "\"end date\" || 'title'",
    "concat_ws(' ', title, s.field)",
    "array_to_string(l, '')",
    "l[1]",
    "CAST(n AS VARCHAR)",
    "n::varchar",
    "CASE WHEN n > 2.5e3 AND title IS NOT NULL THEN title ELSE NULL END",
    "title LIKE '%nope%' -- nope\n",
    "title /* nope */ IN ('nope', 'x''y')",
    "n BETWEEN 1 AND 2 OR NOT title ILIKE 'a'",
    "s->'field'",
    "TRIM(BOTH ' ' FROM title)",
    "SUBSTR(title, 1, 2)",
    "coalesce(title, 'nope')",
    "title RLIKE '^[a-z]+$'",
    "true",
]


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_names_that_polars_knows_are_not_reported(expr: str) -> None:
    FRAME.select(pl.sql_expr(expr))
    assert unknown_columns(expr, FRAME.columns) == []


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_every_column_taken_away_is_reported(expr: str) -> None:
    needed = pl.sql_expr(expr).meta.root_names()
    for name in needed:
        assert unknown_columns(expr, [column for column in FRAME.columns if column != name]) == [name]


def test_unknown_columns_are_named_once_in_order() -> None:
    assert unknown_columns("b || a || b || title", ["title"]) == ["b", "a"]


def test_quotes_come_off() -> None:
    assert [token.value for token in tokens("""'it''s' "a""b" `c d`""")] == ["it's", 'a"b', "c d"]


@pytest.mark.parametrize(
    "expr",
    [
        "label = 'entailed'",
        "'entailed' = label",
        "label <> 'entailed' OR label = 'neutral'",
        "label != 'entailed'",
        "label == 'entailed'",
        "\"label\" = 'entailed'",
        "label IN ('neutral', 'entailed')",
        "label not in ('entailed')",
        "label IS DISTINCT FROM 'entailed'",
        "label is not distinct from 'entailed'",
        "CASE label WHEN 'neutral' THEN 0 WHEN 'entailed' THEN 1 END = 1",
        "(label = 'entailed') AND other = 'x'",
    ],
)
def test_misspelt_labels_are_found(expr: str) -> None:
    assert unknown_labels(expr, LABEL) == ["label has no name 'entailed'; it is one of neutral, entailment, -"]


@pytest.mark.parametrize(
    "expr",
    [
        "label = 'entailment'",
        "other = 'entailed'",
        "'entailed' = other AND label = '-'",
        "label IN ('neutral', '-') AND other IN ('entailed')",
        "CASE WHEN other = 'entailed' THEN label ELSE '-' END = 'neutral'",
        "CASE other WHEN 'entailed' THEN 1 END = 1",
        "concat_ws('entailed', label, other) = 'x'",
    ],
)
def test_right_labels_and_other_texts_pass(expr: str) -> None:
    assert unknown_labels(expr, LABEL) == []


def test_a_struct_may_have_a_field_called_names() -> None:
    assert parse_column({"names": ["string"]}) == StructOf((("names", ListOf(Scalar("string"))),))
    assert parse_column({"names": ["a", "b"]}) == Label(("a", "b"))


@pytest.mark.parametrize(
    "wrong", ["text", "string??", [], ["string", "int"], {}, 3, {"names": ["a", "a"]}, {"a": None}]
)
def test_wrong_types_say_what_is_possible(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"column q: .*(string|list|different)"):
        parse_columns({"q": wrong})


def test_a_label_stands_alone() -> None:
    with pytest.raises(ValueError, match="a label is a column of its own"):
        parse_column([{"names": ["a", "b"]}])
