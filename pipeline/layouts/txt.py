"""Plain text: one row per line that holds more than blanks, in one column `line`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from pipeline.layouts import scan
from pipeline.layouts.rows import BATCH_ROWS, BadRow, OnBad, RowBatch, raw_text
from pipeline.layouts.stream import decodes, refuse_wrong_encoding, undecodable

_SCHEMA = pa.schema([("line", pa.string())])


def read_text(blocks: Iterable[bytes], encoding: str, place: str, on_bad: OnBad) -> Iterator[RowBatch]:
    """Lines without their ends, blanks kept; blank lines are no rows and are not counted."""
    first_row = 0
    for data in blocks:
        starts, ends = scan.lines_of(data)
        if not len(starts):
            continue
        good = decodes(data, starts, ends)
        if first_row == 0:
            refuse_wrong_encoding(good, data, starts, ends, encoding, place)
        for row in np.flatnonzero(~good).tolist():
            raw = data[starts[row] : ends[row]]
            on_bad(BadRow(first_row + row, undecodable(raw, encoding), raw_text(raw)))
        kept = np.flatnonzero(good)
        for low in range(0, max(1, len(kept)), BATCH_ROWS):
            part = kept[low : low + BATCH_ROWS]
            sizes = ends[part] - starts[part]
            offsets, packed = np.empty(len(part) + 1, dtype=np.int32), np.empty(sizes.sum(), dtype=np.uint8)
            scan.gather(np.frombuffer(data, dtype=np.uint8), starts[part], ends[part], offsets, packed)
            lines = pa.StringArray.from_buffers(len(part), pa.py_buffer(offsets), pa.py_buffer(packed))
            yield RowBatch(pa.Table.from_arrays([lines], schema=_SCHEMA), part + first_row)
        first_row += len(starts)
