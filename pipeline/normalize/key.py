"""The match key: what is left of a text when spelling, width, case, script and punctuation no longer count.

1. NFKC, then lower case, then traditional to simplified (OpenCC t2s).
2. Characters of the Unicode categories P, Z and C are dropped, except in a run between two decimal digits (Nd). Of
   such a run the P characters stay as they are and the rest goes; a run without any P becomes one blank. So `3.5`,
   `3，5` (as `3,5`) and `3 5` are three keys, none of them `35`, while `3, 5` is `3,5`.
3. Both steps repeat until nothing changes: a dropped character can bring two together that combine.
4. A text of which nothing is left keeps its NFC form, trimmed: `……` and `？！` are no duplicates.

Symbols (S), digits, letters and marks stay: `a>b` is not `a<b`. Code keeps everything, only blanks are folded.

Most texts hold nothing but characters that mean the same wherever they stand. Those go through one compiled loop over a
table of single characters; the others take the plain way, which also fills the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh
import pyarrow as pa

from pipeline.normalize.chinese import convertible_pattern, simplify
from pipeline.normalize.rows import patch, put
from pipeline.normalize.table import DROPPED, Bytes, Ints, Table, fold_rows, folding, mark_phrases, phrases, unfolded

_TOKENS = rf"\p{{Nd}}+(?:[{DROPPED}]+\p{{Nd}}+)*|[^{DROPPED}\p{{Nd}}]+"


def match_key(texts: pl.Series, *, code: bool = False) -> pl.Series:
    """The match key of every text, as the head of this module defines it.

    Types: strings without nulls in, the same out; `match_key(match_key(x))` is `match_key(x)`.

    >>> match_key(pl.Series(["借 呗，怎麼還款？", "Ｖｅｒ３.5", "……"])).to_list()
    ['借呗怎么还款', 'ver3.5', '……']
    >>> match_key(pl.Series(["select  a\\nfrom t "]), code=True).to_list()
    ['select a from t']
    """
    if code:
        return texts.str.replace_all(r"\s+", " ").str.strip_chars()
    keys, needs_context = _fold_by_table(texts, folding(simplified=False))
    rest = texts.filter(needs_context)
    return put(keys, needs_context, _fold_fully(rest)) if rest.len() else keys


@dataclass(frozen=True)
class Laid:
    """Match keys in one buffer: key i lies at `data[start[i] : end[i]]` and has the xxh3-64 `hashes[i]`."""

    data: Bytes
    start: Ints
    end: Ints
    hashes: npt.NDArray[np.uint64]


class Folder:
    """Folds batch after batch into a buffer of its own, which lives as long as the largest batch needed it.

    What comes of a batch is overwritten by the next one. Of each `fold` the few rows that the table cannot fold are left
    over, so that a caller may put those of many batches together for `fold_rest`.

    >>> texts = pa.array(["借 呗", "花呗，还款", "……"])
    >>> laid, settled = Folder().fold(texts, np.array([1, 2]))
    >>> bytes(laid.data[laid.start[0] : laid.end[0]]).decode(), settled.tolist()
    ('花呗还款', [True, False])
    """

    def __init__(self) -> None:
        self._out = np.empty(1 << 16, np.uint8)

    def fold(self, texts: pa.Array, rows: Ints, *, code: bool = False) -> tuple[Laid, npt.NDArray[np.bool_]]:
        """The match keys of some rows of an Arrow column of strings, as far as they are settled; and which are."""
        data, offsets = string_buffers(texts)
        if code:
            return _laid(match_key(picked(texts, rows), code=True)), np.ones(len(rows), np.bool_)
        start, end = offsets[rows], offsets[rows + 1]
        needed = int((end - start).sum())
        if len(self._out) < needed:
            self._out = np.empty(needed + needed // 4, np.uint8)
        keys, found, context = _folded(data, start, end, self._out, folding(simplified=False))
        settled = ~context
        hashes = key_hash(keys).to_numpy(writable=True)
        laid = Laid(self._out[: found[-1]], found[:-1][settled], found[1:][settled], hashes[settled])
        return laid, settled

    def fold_rest(self, texts: pl.Series) -> Laid:
        """The match keys of texts that `fold` left over."""
        return _laid(_fold_fully(texts))


def picked(texts: pa.Array, rows: Ints) -> pl.Series:
    """Some rows of an Arrow column of strings."""
    return pl.Series(texts.take(pa.array(rows)), dtype=pl.String)


def _laid(keys: pl.Series) -> Laid:
    data, offsets = string_buffers(keys.rechunk().to_arrow())
    # Copies: numba compiles anew for arrays that may not be written, as those over Arrow memory.
    return Laid(
        data[: offsets[-1]].copy(), offsets[:-1].copy(), offsets[1:].copy(), key_hash(keys).to_numpy(writable=True)
    )


def string_buffers(column: pa.Array) -> tuple[Bytes, Ints]:
    """UTF-8 bytes and n + 1 offsets of an Arrow column of strings without nulls; the bytes are not copied if they need not be."""
    if column.type != pa.large_string():
        column = column.cast(pa.large_string())
    if not len(column):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8), bounds


def key_hash(keys: pl.Series) -> pl.Series:
    """xxh3-64 of every key's UTF-8 bytes, as UInt64.

    >>> key_hash(pl.Series(["a"])).to_list()
    [16629034431890738719]
    """
    return keys.to_frame("key").select(plh.col("key").nchash.xxh3_64()).to_series().rename(keys.name)


def _fold_fully(texts: pl.Series) -> pl.Series:
    """All four steps, for texts that the table alone cannot fold."""
    keys = texts
    unsettled = pl.repeat(True, texts.len(), eager=True)
    while unsettled.any():
        rows = keys.filter(unsettled)
        folded, odd = _fold(rows)
        keys = put(keys, unsettled, folded)
        unsettled = put(unsettled, unsettled, (odd | folded.str.contains(convertible_pattern())) & (folded != rows))
    empty = keys == ""
    return put(keys, empty, texts.filter(empty).str.normalize("NFC").str.strip_chars())


def _fold(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Steps 1 and 2, once, and which rows hold characters whose meaning hangs on their neighbours."""
    texts = simplify(texts.str.normalize("NFKC").str.to_lowercase())
    keys, odd = _fold_by_table(texts, folding(simplified=True))
    return put(keys, odd, _drop(texts.filter(odd))), odd


def _drop(texts: pl.Series) -> pl.Series:
    """Step 2 alone."""
    keys, odd = _fold_by_table(texts, unfolded())
    return patch(keys, odd, lambda _: _drop_by_pattern(texts.filter(odd)))


def _drop_by_pattern(texts: pl.Series) -> pl.Series:
    """The same in regular expressions, some twenty times slower: for characters beyond the table."""
    tokens = texts.str.extract_all(_TOKENS).list.join("")
    return tokens.str.replace_all(r"[\p{Z}\p{C}]+", " ").str.replace_all(r" ?(\p{P}+) ?", "$1")


def _fold_by_table(texts: pl.Series, table: Table) -> tuple[pl.Series, pl.Series]:
    """Keys by the table, and the rows they are wrong for: those that need context or come out empty."""
    if not texts.len():
        return texts, pl.Series([], dtype=pl.Boolean)
    data, offsets = string_buffers(texts.rechunk().to_arrow())
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    keys, _, context = _folded(data, offsets[:-1].copy(), offsets[1:].copy(), out, table)
    return keys.rename(texts.name), pl.Series(context)


def _folded(
    data: Bytes, start: Ints, end: Ints, out: Bytes, table: Table
) -> tuple[pl.Series, Ints, npt.NDArray[np.bool_]]:
    """The same of `data[start[i] : end[i]]`, written to `out`, which is at least as long; and the n + 1 offsets there."""
    # Compiled once, for bytes that may not be written, whether those of Arrow or our own.
    data = data.view()
    data.flags.writeable = False
    n = len(start)
    offsets = np.zeros(n + 1, np.int64)
    context, phrase = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    size = fold_rows(start, end, data, *table, out, offsets, context, phrase)
    keys = pl.Series(
        pa.Array.from_buffers(pa.large_string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(out[:size])])
    )
    # Whatever stands between two characters of a phrase in the text is dropped from the key, or they are none.
    at = np.flatnonzero(phrase & ~context)
    if len(at):
        mark_phrases(at, out, offsets, table.classes, phrases(), context)
    return keys, offsets, context
