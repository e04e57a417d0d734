"""From verdicts to files: one decision per record, positional to its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.record import DECISION_SCHEMA, ROW_GROUP_ROWS, shard_name
from pipeline.resolve.records import Records
from pipeline.shards import count_rows, group_writer
from pipeline.store import Receipt


@dataclass(frozen=True)
class Clusters:
    """`component` of each class, and the name of each component."""

    component: npt.NDArray[np.int32]
    names: npt.NDArray[np.uint64]


def counts(records: Records, span: slice) -> Receipt:
    """Records kept, and removed by stage and reason."""
    found = np.bincount(records.verdict[span], minlength=len(records.verdicts.told)).tolist()
    removed: dict[str, dict[str, int]] = {}
    for (stage, reason, _), n in zip(records.verdicts.told, found, strict=True):
        if stage and reason and n:
            of = removed.setdefault(stage, {})
            of[reason] = of.get(reason, 0) + n
    return {"records": sum(found), "kept": found[0], "removed": removed}


def write(
    records: Records, span: slice, clusters: Clusters, also_in: pl.DataFrame, text: Sequence[Path], folder: Path
) -> None:
    """`decisions-*.parquet`, one beside each text shard."""
    folder.mkdir(parents=True)
    start = span.start
    for shard, path in enumerate(text):
        stop = start + count_rows([path])
        with group_writer(folder / shard_name("decisions", shard), DECISION_SCHEMA) as file:
            for at in range(start, max(stop, start + 1), ROW_GROUP_ROWS):
                file.write_table(_table(records, slice(at, min(stop, at + ROW_GROUP_ROWS)), clusters, also_in))
        start = stop


def _table(records: Records, rows: slice, clusters: Clusters, also_in: pl.DataFrame) -> pa.Table:
    verdict, similarity = records.verdict[rows], records.similarity[rows]
    stages, reasons, benchmarks = (
        pa.array(list(told), pa.string()) for told in zip(*records.verdicts.told, strict=True)
    )
    numbers = pa.array(verdict)
    duplicates = np.array([stage == "dedupe" for stage, _, _ in records.verdicts.told])[verdict]
    columns = {
        "keep": verdict == 0,
        "stage": stages.take(numbers),
        "reason": reasons.take(numbers),
        "duplicate_of": _ids(records, records.keeper[rows], duplicates),
        "benchmark": benchmarks.take(numbers),
        "similarity": pa.array(similarity, mask=np.isnan(similarity)),
        "cluster": clusters.names[clusters.component[records.class_id[rows]]],
        "also_in": _lists(also_in, rows),
    }
    return pa.table(columns).cast(DECISION_SCHEMA)


def _ids(records: Records, wanted: npt.NDArray[np.int32], there: npt.NDArray[np.bool_]) -> pa.Array:
    """The ids of the wanted records as 32 hex digits; null where not `there`."""
    some = wanted[there]
    digits = np.stack([records.head[some], records.tail[some]], axis=1).astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, len(digits) + 1, 32, dtype=np.int32)
    ids = pa.Array.from_buffers(pa.string(), len(some), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])
    return ids.take(pa.array(np.cumsum(there) - 1, mask=~there))


def _lists(also_in: pl.DataFrame, rows: slice) -> pa.Array:
    """The lists of these records, empty for those that are not listed."""
    low, high = (int(also_in["row"].search_sorted(row)) for row in (rows.start, rows.stop))
    found = also_in.slice(low, high - low)
    sizes = np.zeros(rows.stop - rows.start + 1, np.int32)
    sizes[found["row"].to_numpy() - rows.start + 1] = found["also_in"].list.len().to_numpy()
    names = found["also_in"].explode(empty_as_null=False).to_arrow().cast(pa.string())
    return pa.ListArray.from_arrays(np.cumsum(sizes, dtype=np.int32), names)
