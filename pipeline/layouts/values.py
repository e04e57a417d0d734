"""One value of a row against its declared column, told in words: the slow twin of `columns`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pipeline.manifest.columns import Column, Label, ListOf, Scalar, StructOf, optional

_ABSENT = object()
_INT64 = range(-(2**63), 2**63)
_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


class Fault(Exception):
    """Why a value is not as declared, as one sentence."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def shaped(column: Column, holder: Mapping[str, object], name: str) -> object:
    """`holder[name]` with the declared fields only, or Fault.

    >>> from pipeline.manifest.columns import parse_column
    >>> shaped(parse_column("string"), {"query": 7}, "query")
    Traceback (most recent call last):
    pipeline.layouts.values.Fault: column query: expected string, found int
    """
    value = holder.get(name, _ABSENT)
    if value is _ABSENT:
        if optional(column):
            return None
        raise Fault(f"column {name} is missing")
    return _shaped(column, value, name)


def _shaped(column: Column, value: object, path: str) -> object:
    if value is None:
        if optional(column):
            return None
        raise Fault(f"column {path} is null")
    match column:
        case Scalar(kind=kind):
            if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
                raise Fault(f"column {path}: expected {kind}, found {_kind(value)}")
            if kind == "float":
                return _finite(value, path)
            if isinstance(value, int) and value not in _INT64:
                raise Fault(f"column {path}: {value} does not fit 64 bits")
            if isinstance(value, str) and not _encodes(value):
                raise Fault(f"column {path} holds half a surrogate pair")
            return value
        case Label(names=names):
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
                return names[value]
            if isinstance(value, str) and value in names:
                return value
            shown = value if isinstance(value, str | int) else _kind(value)
            raise Fault(f"column {path}: {shown} is not {column}")
        case ListOf(item=item):
            if not isinstance(value, list):
                raise Fault(f"column {path}: expected a list, found {_kind(value)}")
            return [_shaped(item, element, f"{path}[]") for element in value]
        case StructOf(fields=fields):
            if not isinstance(value, dict):
                raise Fault(f"column {path}: expected an object, found {_kind(value)}")
            return {name: _field(kind, value, name, path) for name, kind in fields}


def _field(column: Column, holder: Mapping[str, object], name: str, path: str) -> object:
    if name in holder:
        return _shaped(column, holder[name], f"{path}.{name}")
    if optional(column):
        return None
    raise Fault(f"column {path}.{name} is missing")


def _finite(value: object, path: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Fault(f"column {path}: expected float, found {'a NaN' if math.isnan(number) else 'infinity'}")
    return number


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    return {"str": "string", "dict": "object", "NoneType": "null"}.get(type(value).__name__, type(value).__name__)
