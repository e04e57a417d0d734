"""Declared columns as arrow types, and the check that a column holds only what its type allows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.layouts.rows import Bools
from pipeline.manifest.columns import Column, Label, ListOf, Scalar, StructOf, optional

_ARROW = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


def arrow_type(column: Column) -> pa.DataType:
    """The type of a column in a RowBatch; a label is the string of its name.

    >>> from pipeline.manifest.columns import parse_column
    >>> str(arrow_type(parse_column(["string"])))
    'list<item: string>'
    """
    match column:
        case Scalar(kind=kind):
            return _ARROW[kind]
        case ListOf(item=item):
            return pa.list_(arrow_type(item))
        case StructOf(fields=fields):
            return pa.struct([(name, arrow_type(inner)) for name, inner in fields])
        case Label():
            return pa.string()


def arrow_schema(columns: Mapping[str, Column]) -> pa.Schema:
    """The schema of a RowBatch's table."""
    return pa.schema([(name, arrow_type(column)) for name, column in columns.items()])


def broken(column: Column, values: pa.Array) -> Bools | None:
    """Rows whose value is null where it may not be, at any depth, or a float that is no number; None when no row is."""
    if isinstance(column, Scalar) and column.kind == "float":
        odd = pc.fill_null(pc.invert(pc.is_finite(values)), not column.optional)
        return _mask(odd)
    if values.null_count == 0 and isinstance(column, Scalar | Label):
        return None
    found = None if optional(column) or values.null_count == 0 else _mask(pc.is_null(values))
    if isinstance(column, ListOf):
        inner = broken(column.item, pc.list_flatten(values))
        if inner is not None:
            parents = pc.list_parent_indices(values).to_numpy()
            lists = np.zeros(len(values), dtype=np.bool_)
            lists[parents[inner]] = True
            found = _either(found, lists)
    elif isinstance(column, StructOf):
        present = pc.is_valid(values).to_numpy(zero_copy_only=False)
        for name, kind in column.fields:
            inner = broken(kind, pc.struct_field(values, name))
            if inner is not None and (inner & present).any():
                found = _either(found, inner & present)
    return found


def label_names(label: Label, values: pa.Array) -> tuple[pa.Array, Bools | None]:
    """Labels stored as numbers or names, as names; and the rows that hold neither."""
    names = pa.array(label.names, pa.string())
    if pa.types.is_integer(values.type):
        known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(names)))
        known = pc.fill_null(known, False)
        return names.take(pc.if_else(known, values, None).cast(pa.int64())), _mask(pc.invert(known))
    return values, _mask(pc.invert(pc.is_in(values, value_set=names)))


def _mask(values: pa.Array) -> Bools | None:
    mask = values.to_numpy(zero_copy_only=False).astype(np.bool_)
    return mask if mask.any() else None


def _either(left: Bools | None, right: Bools) -> Bools:
    return right if left is None else left | right
