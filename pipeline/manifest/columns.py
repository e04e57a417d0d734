"""What the type of a column may be: the closed grammar behind `columns:` in a corpus manifest.

::

    string | int | float | bool      each with `?` where the value may be null or absent
    [T]                              a list of T
    {a: T, b: T}                     a struct with at least these fields
    {names: [no, yes]}               a label, stored as its number or its name (top level only, two names or more)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

Kind = Literal["string", "int", "float", "bool"]


@dataclass(frozen=True)
class Scalar:
    kind: Kind
    optional: bool = False

    def __str__(self) -> str:
        return self.kind + "?" * self.optional


@dataclass(frozen=True)
class ListOf:
    item: Column

    def __str__(self) -> str:
        return f"[{self.item}]"


@dataclass(frozen=True)
class StructOf:
    fields: tuple[tuple[str, Column], ...]

    def __str__(self) -> str:
        return "{" + ", ".join(f"{name}: {column}" for name, column in self.fields) + "}"


@dataclass(frozen=True)
class Label:
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}"


Column: TypeAlias = Scalar | ListOf | StructOf | Label


def parse_column(declared: object, *, inner: bool = False) -> Column:
    """The column that a manifest declares; ValueError with a sentence where it is none.

    >>> parse_column({"names": ["no", "yes"]})
    Label(names=('no', 'yes'))
    >>> str(parse_column([{"text": "string?"}]))
    '[{text: string?}]'
    """
    if isinstance(declared, str):
        kind = declared.removesuffix("?")
        if kind not in get_args(Kind):
            raise ValueError(f"'{declared}' is no column type; use {', '.join(get_args(Kind))}, with ? where null")
        return Scalar(cast(Kind, kind), declared.endswith("?"))
    if isinstance(declared, list):
        if len(declared) != 1:
            raise ValueError(f"a list names one item type, not {len(declared)}: [string]")
        return ListOf(parse_column(declared[0], inner=True))
    if not isinstance(declared, Mapping) or not declared:
        raise ValueError(f"{declared!r} is no column type; use string, [string], {{a: string}} or {{names: [no, yes]}}")
    names = declared.get("names")
    if set(declared) == {"names"} and isinstance(names, list) and len(names) > 1:
        if inner:
            raise ValueError("a label is a column of its own, not part of a list or struct; declare string or int here")
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ValueError(f"label names are different strings, not {names!r}")
        return Label(tuple(names))
    return StructOf(tuple((str(name), parse_column(kind, inner=True)) for name, kind in declared.items()))


def parse_columns(declared: Mapping[str, object]) -> dict[str, Column]:
    """All columns of a part, in their order.

    >>> parse_columns({"query": "string"})
    {'query': Scalar(kind='string', optional=False)}
    """
    columns: dict[str, Column] = {}
    for name, kind in declared.items():
        try:
            columns[name] = parse_column(kind)
        except ValueError as fault:
            raise ValueError(f"column {name}: {fault}") from None
    return columns


def optional(column: Column) -> bool:
    """May the value be null or absent?"""
    return isinstance(column, Scalar) and column.optional
