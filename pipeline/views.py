"""Views: the configs of a dataset card, each a choice of columns (and rows) over the same files.

`datasets` hands `columns` and `filters` of a config to its parquet reader, so no row is stored twice. sentence-transformers
takes every column of a dataset as an input, so a view holds exactly what a loss eats. Neither can reach into a list: a
build with scores is therefore published with two flat columns more, `negative` and `label`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.record import SCORED_SCHEMA

#: A record of a build with scores, as published: the text of its first negative (given ones come first, then the
#: nearest), and how much nearer the positive is (difference of cosines). Both null where there is no negative.
PUBLISHED_SCORED = pa.schema([*SCORED_SCHEMA, pa.field("negative", pa.string()), pa.field("label", pa.float32())])
#: What the sentence-transformers trainer takes as it is: anchor, positive.
LEAN = ("text", "text_pos")
#: Name -> columns of the views that only a build with scores has: for losses on triplets, and on their margin.
SCORED = {"triplet": (*LEAN, "negative"), "scored": (*LEAN, "negative", "label")}
HAS_NEGATIVE = (("negative", "!=", ""),)


@dataclass(frozen=True)
class View:
    """One config: files by glob, their columns (None: all) and the rows that pass the filters (null passes none)."""

    name: str
    globs: tuple[str, ...]
    columns: tuple[str, ...] | None = None
    filters: tuple[tuple[str, str, str], ...] | None = None

    def config(self, *, is_default: bool = False) -> dict[str, Any]:
        """As the Hub and `datasets` read it; fresh lists, which YAML writes without anchors."""
        told: dict[str, Any] = {
            "config_name": self.name,
            "data_files": [{"split": "train", "path": list(self.globs) if len(self.globs) > 1 else self.globs[0]}],
        }
        if self.columns is not None:
            told["columns"] = list(self.columns)
        if self.filters is not None:
            told["filters"] = [list(one) for one in self.filters]
        return told | ({"default": True} if is_default else {})


def views_of(corpora: Sequence[str], labelled: Sequence[str] = (), *, scored: bool = False) -> list[View]:
    """All views of a dataset, the default one first: over everything, then corpus by corpus.

    >>> [view.name for view in views_of(["bq"], scored=True)][3:]
    ['full', 'bq', 'bq-triplet', 'bq-scored', 'bq-full']
    """
    if not corpora:
        return []
    told = list(_over("all", "full", tuple(f"data/{name}/train-*.parquet" for name in corpora), scored))
    for name in corpora:
        told += _over(name, f"{name}-full", (f"data/{name}/train-*.parquet",), scored)
    if labelled:
        told.append(View("labelled", tuple(f"labelled/{name}.parquet" for name in labelled)))
    return told


def _over(name: str, full: str, globs: tuple[str, ...], scored: bool) -> Iterator[View]:
    yield View(name, globs, LEAN)
    if scored:
        yield from (View(f"{name}-{kind}", globs, columns, HAS_NEGATIVE) for kind, columns in SCORED.items())
    yield View(full, globs)


@dataclass(frozen=True)
class Measured:
    """A published data file by its footer; `with_negative` counts the rows that have one."""

    path: str
    bytes: int
    rows: int
    with_negative: int
    schema: pa.Schema
    uncompressed: Mapping[str, int]


def measured(path: str, file: Path) -> Measured:
    """What the footer of a data file says; its text is not read."""
    metadata = pq.read_metadata(file)
    sizes: dict[str, int] = {}
    absent = 0
    for group in (metadata.row_group(i) for i in range(metadata.num_row_groups)):
        for column in (group.column(i) for i in range(group.num_columns)):
            name = column.path_in_schema.partition(".")[0]
            sizes[name] = sizes.get(name, 0) + column.total_uncompressed_size
            absent += column.statistics.null_count if name == "negative" and column.statistics else 0
    schema = pq.read_schema(file)
    return Measured(path, file.stat().st_size, metadata.num_rows, metadata.num_rows - absent, schema, sizes)


def dataset_info(views: Iterable[View], files: Sequence[Measured]) -> list[dict[str, Any]]:
    """`dataset_info` of a card: features, rows and bytes of every view. `datasets` holds the rows against what it reads."""
    told = []
    for view in views:
        mine = [file for file in files if any(file.path.startswith(glob.partition("*")[0]) for glob in view.globs)]
        schema = mine[0].schema
        columns = list(view.columns or schema.names)
        size = sum(file.uncompressed.get(name, 0) for file in mine for name in columns)
        rows = sum(file.with_negative if view.filters else file.rows for file in mine)
        info = {
            "config_name": view.name,
            "features": [_feature(schema.field(name)) for name in columns],
            "splits": [{"name": "train", "num_bytes": size, "num_examples": rows}],
        }
        told.append(info | {"download_size": sum(file.bytes for file in mine), "dataset_size": size})
    return told


def _feature(field: pa.Field) -> dict[str, Any]:
    return {"name": field.name, **_kind(field.type)}


def _kind(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        inner = _kind(kind.value_type)
        return {"list": inner.get("dtype", inner.get("struct"))}
    if pa.types.is_struct(kind):
        return {"struct": [_feature(kind.field(i)) for i in range(kind.num_fields)]}
    return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind))}
