"""What every layout gives: batches of well-typed rows, and the rows it could not read."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.record import RAW_BYTES

Int64s: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

#: Bytes read at a time; with rows of any usual size a batch stays below four times this.
CHUNK_BYTES = 8 << 20
#: Rows of a batch at most.
BATCH_ROWS = 65_536
#: A row longer than this is taken for a wrong layout or a quote that never closes, not for a row.
MAX_ROW_BYTES = 256 << 20


class RowBatch(NamedTuple):
    """Rows of one file: a table of the declared columns, and each row's 0-based number inside the file.

    Bad rows count too, so that a number points at the same row whatever else is wrong with the file.
    """

    table: pa.Table
    rows: Int64s


class BadRow(NamedTuple):
    """A row that is not as declared: its number, one sentence why, and its first RAW_BYTES bytes."""

    row: int
    reason: str
    raw: str


OnBad: TypeAlias = Callable[[BadRow], None]


def raw_text(raw: bytes) -> str:
    """The head of a malformed row, at most RAW_BYTES bytes of UTF-8, cut between two characters.

    >>> raw_text("一行".encode())
    '一行'
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    head = decoder.decode(raw[:RAW_BYTES], final=len(raw) <= RAW_BYTES)
    return head.encode()[:RAW_BYTES].decode("utf-8", "ignore")  # a byte that did not decode has grown to three
