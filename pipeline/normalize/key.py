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
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh
import pyarrow as pa
from numba import njit

from pipeline.normalize.chinese import IN_PHRASES, PHRASE_ONLY, PHRASES, convertible_pattern, simplify
from pipeline.normalize.rows import patch, put

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

_DROPPED = r"\p{P}\p{Z}\p{C}"
_TOKENS = rf"\p{{Nd}}+(?:[{_DROPPED}]+\p{{Nd}}+)*|[^{_DROPPED}\p{{Nd}}]+"
_KEEP, _DIGIT, _PUNCTUATION, _BLANK, _CONTEXT, _SAME, _PHRASE = range(7)
#: The table covers planes 0 and 1; rarer characters take the plain way.
_TABLE_SIZE = 0x20000
#: An index that cannot be negative: numba looks at every other one to see whether it counts from the end.
_AT = np.uint64


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
    keys, needs_context = _fold_by_table(texts, _table(simplified=False))
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
        keys, found, context = _folded(data, start, end, self._out, _table(simplified=False))
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
    keys, odd = _fold_by_table(texts, _table(simplified=True))
    return put(keys, odd, _drop(texts.filter(odd))), odd


def _drop(texts: pl.Series) -> pl.Series:
    """Step 2 alone."""
    keys, odd = _fold_by_table(texts, _unfolded())
    return patch(keys, odd, lambda _: _drop_by_pattern(texts.filter(odd)))


def _drop_by_pattern(texts: pl.Series) -> pl.Series:
    """The same in regular expressions, some twenty times slower: for characters beyond the table."""
    tokens = texts.str.extract_all(_TOKENS).list.join("")
    return tokens.str.replace_all(r"[\p{Z}\p{C}]+", " ").str.replace_all(r" ?(\p{P}+) ?", "$1")


class _Table(NamedTuple):
    """For each code point its class, and where its replacement lies in `pool`."""

    classes: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    pool: npt.NDArray[np.uint8]


_CLASSES = {_KEEP: rf"^{_DROPPED}\p{{Nd}}", _DIGIT: r"\p{Nd}", _PUNCTUATION: r"\p{P}", _BLANK: r"\p{Z}\p{C}"}


@cache
def _table(*, simplified: bool) -> _Table:
    """The fold of every character that means the same wherever it stands; the others are of class _CONTEXT.

    _SAME is kept as it is. So is _PHRASE where no neighbour makes it part of a phrase that OpenCC knows.

    Those are the ones that combine (marks, Hangul jamo), lower by their place (sigma), grow, or change when folded
    again; and, unless the texts are `simplified` already, those that OpenCC changes by the phrase.
    """
    codes = np.array([code for code in range(_TABLE_SIZE) if not 0xD800 <= code < 0xE000])
    alone = pl.Series([chr(code) for code in codes])
    folded = alone.str.normalize("NFKC").str.to_lowercase()
    by_phrase = folded.str.contains(f"[{IN_PHRASES}]")
    if not simplified:
        folded = simplify(folded)
    steady = (
        (folded == folded.str.normalize("NFKC").str.to_lowercase())
        & ~folded.str.contains(r"[\p{M}\u1100-\u11ffσς]")
        & (folded.str.len_bytes() <= alone.str.len_bytes())
    )
    if not simplified:
        steady &= ~by_phrase & (folded == simplify(folded))
    classes = np.full(_TABLE_SIZE, _CONTEXT, np.uint8)
    for number, members in _CLASSES.items():
        classes[codes[(steady & folded.str.contains(f"^[{members}]+$")).to_numpy()]] = number
    classes[codes[(folded == alone).to_numpy() & (classes[codes] == _KEEP)]] = _SAME
    if not simplified:
        classes[[ord(character) for character in PHRASE_ONLY]] = _PHRASE
    return _Table(classes, *_laid_out(codes, folded))


@cache
def _unfolded() -> _Table:
    """Every character as itself, by its category: what is folded already only needs characters dropped."""
    codes = np.array([code for code in range(_TABLE_SIZE) if not 0xD800 <= code < 0xE000])
    alone = pl.Series([chr(code) for code in codes])
    classes = np.full(_TABLE_SIZE, _CONTEXT, np.uint8)
    for number, members in _CLASSES.items():
        classes[codes[alone.str.contains(f"^[{members}]$").to_numpy()]] = _SAME if number == _KEEP else number
    return _Table(classes, *_laid_out(codes, alone))


def _laid_out(codes: Ints, replacements: pl.Series) -> tuple[npt.NDArray[np.int32], Bytes]:
    """Where the replacement of each code point begins, and their bytes."""
    sizes = np.zeros(_TABLE_SIZE + 1, np.int32)
    sizes[codes + 1] = replacements.str.len_bytes().to_numpy()
    return np.cumsum(sizes, dtype=np.int32), np.frombuffer("".join(replacements.to_list()).encode(), np.uint8)


def _fold_by_table(texts: pl.Series, table: _Table) -> tuple[pl.Series, pl.Series]:
    """Keys by the table, and the rows they are wrong for: those that need context or come out empty."""
    if not texts.len():
        return texts, pl.Series([], dtype=pl.Boolean)
    data, offsets = string_buffers(texts.rechunk().to_arrow())
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    keys, _, context = _folded(data, offsets[:-1].copy(), offsets[1:].copy(), out, table)
    return keys.rename(texts.name), pl.Series(context)


def _folded(
    data: Bytes, start: Ints, end: Ints, out: Bytes, table: _Table
) -> tuple[pl.Series, Ints, npt.NDArray[np.bool_]]:
    """The same of `data[start[i] : end[i]]`, written to `out`, which is at least as long; and the n + 1 offsets there."""
    # Compiled once, for bytes that may not be written, whether those of Arrow or our own.
    data = data.view()
    data.flags.writeable = False
    n = len(start)
    offsets = np.zeros(n + 1, np.int64)
    context, phrase = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    size = _fold_rows(start, end, data, *table, out, offsets, context, phrase)
    keys = pl.Series(
        pa.Array.from_buffers(pa.large_string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(out[:size])])
    )
    # Whatever stands between two characters of a phrase in the text is dropped from the key, or they are none.
    at = np.flatnonzero(phrase & ~context)
    if len(at):
        context[at] = keys.gather(at).str.contains(PHRASES).to_numpy()
    return keys, offsets, context


@njit(nogil=True, cache=True)
def _fold_rows(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    begins, ends, data, classes, starts, pool, out, out_offsets, context, phrase
):
    """Writes every row's key to `out`; never longer than the row, since the table holds no growing replacement."""
    write = 0
    for row in range(len(begins)):
        begin = write
        read, stop = begins[row], ends[row]
        after_digit = False  # a digit stands directly before the present run of droppable characters
        run = write  # where that run began
        in_run, run_kept, complex_row = False, False, False
        while read < stop:
            byte = data[_AT(read)]
            if 0xE3 <= byte <= 0xE9:  # nearly all of nearly all texts: the short way
                second, third = data[_AT(read + 1)], data[_AT(read + 2)]
                point = (np.int64(byte & 0x0F) << 12) | (np.int64(second & 0x3F) << 6) | (third & 0x3F)
                if classes[_AT(point)] == _SAME:
                    if in_run:
                        write = run
                        in_run = False
                    out[_AT(write)], out[_AT(write + 1)], out[_AT(write + 2)] = byte, second, third
                    write += 3
                    read += 3
                    after_digit = False
                    continue
            if byte < 0x80:
                point, width = np.int64(byte), 1
            elif byte < 0xE0:
                point, width = (np.int64(byte & 0x1F) << 6) | (data[read + 1] & 0x3F), 2
            elif byte < 0xF0:
                point = (np.int64(byte & 0x0F) << 12) | (np.int64(data[read + 1] & 0x3F) << 6) | (data[read + 2] & 0x3F)
                width = 3
            else:
                point = (
                    (np.int64(byte & 0x07) << 18)
                    | (np.int64(data[read + 1] & 0x3F) << 12)
                    | (np.int64(data[read + 2] & 0x3F) << 6)
                    | (data[read + 3] & 0x3F)
                )
                width = 4
            kind = classes[point] if point < _TABLE_SIZE else _CONTEXT
            if kind >= _SAME:
                if kind == _PHRASE:
                    phrase[row] = True
                if in_run:
                    write = run
                    in_run = False
                for at in range(read, read + width):
                    out[write] = data[at]
                    write += 1
                read += width
                after_digit = False
                continue
            if kind == _CONTEXT:
                complex_row = True
                break
            read += width
            if kind in (_PUNCTUATION, _BLANK):
                if not in_run:
                    in_run, run_kept, run = True, False, write
                if after_digit and kind == _PUNCTUATION:
                    run_kept = True
                    for at in range(starts[point], starts[point + 1]):
                        out[write] = pool[at]
                        write += 1
                continue
            if in_run:
                if not (after_digit and kind == _DIGIT):
                    write = run
                elif not run_kept:
                    out[write] = 32
                    write += 1
                in_run = False
            for at in range(starts[point], starts[point + 1]):
                out[write] = pool[at]
                write += 1
            after_digit = kind == _DIGIT
        if in_run:
            write = run
        if complex_row or write == begin:
            context[row] = True
            write = begin
        out_offsets[row + 1] = write
    return write
