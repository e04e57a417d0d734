"""What a match key does to single characters, as tables, and the compiled loops that follow them."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from numba import njit

from pipeline.normalize.chinese import IN_PHRASES, PHRASE_ONLY, PHRASES, simplify

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

#: What step 2 drops: punctuation, separators and what is no character (Unicode categories P, Z, C).
DROPPED = r"\p{P}\p{Z}\p{C}"
_KEEP, _DIGIT, _PUNCTUATION, _BLANK, _CONTEXT, _SAME, _PHRASE = range(7)
#: What means the same wherever it stands is known of planes 0 and 1, and categories of all Chinese characters as well;
#: whatever lies beyond takes the plain way.
_TABLE_SIZE, _CATEGORIES_SIZE = 0x20000, 0x32400
#: An index that cannot be negative: numba looks at every other one to see whether it counts from the end.
_AT = np.uint64


class Table(NamedTuple):
    """For each code point its class, and where its replacement lies in `pool`."""

    classes: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    pool: npt.NDArray[np.uint8]


_CLASSES = {_KEEP: rf"^{DROPPED}\p{{Nd}}", _DIGIT: r"\p{Nd}", _PUNCTUATION: r"\p{P}", _BLANK: r"\p{Z}\p{C}"}


@cache
def folding(*, simplified: bool) -> Table:
    """The fold of every character that means the same wherever it stands; the others are of class _CONTEXT.

    _SAME is kept as it is. So is _PHRASE where no neighbour makes it part of a phrase that OpenCC knows.

    Those are the ones that combine (marks, Hangul jamo), lower by their place (sigma), grow, or change when folded
    again; and, unless the texts are `simplified` already, those that OpenCC changes by the phrase.
    """
    codes, alone = _characters(_TABLE_SIZE)
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
    return Table(classes, *_laid_out(codes, folded))


@cache
def unfolded() -> Table:
    """Every character as itself, by its category: what is folded already only needs characters dropped."""
    codes, alone = _characters(_CATEGORIES_SIZE)
    classes = np.full(_CATEGORIES_SIZE, _CONTEXT, np.uint8)
    for number, members in _CLASSES.items():
        classes[codes[alone.str.contains(f"^[{members}]$").to_numpy()]] = _SAME if number == _KEEP else number
    return Table(classes, *_laid_out(codes, alone))


def _characters(size: int) -> tuple[Ints, pl.Series]:
    """All code points below `size` that are characters, and those."""
    codes = np.delete(np.arange(size), slice(0xD800, 0xE000))
    return codes, pl.Series([codes.astype("<u4").tobytes().decode("utf-32-le")]).str.split("").explode()


def _laid_out(codes: Ints, replacements: pl.Series) -> tuple[npt.NDArray[np.int32], Bytes]:
    """Where the replacement of each code point begins, and their bytes."""
    sizes = np.zeros(codes[-1] + 2, np.int32)
    sizes[codes + 1] = replacements.str.len_bytes().to_numpy()
    return np.cumsum(sizes, dtype=np.int32), np.frombuffer(replacements.str.join().item().encode(), np.uint8)


@cache
def phrases() -> npt.NDArray[np.uint64]:
    """The pairs of characters that `PHRASES` matches: its phrases have two each, one of PHRASE_ONLY among them."""
    both = [pair for one in PHRASE_ONLY for other in set(PHRASES) for pair in (one + other, other + one)]
    found = {ord(pair[0]) << 32 | ord(pair[1]) for pair in both if re.search(PHRASES, pair)}
    return np.array(sorted(found), np.uint64)


@njit(nogil=True, cache=True)
def mark_phrases(rows, data, offsets, classes, phrases, context):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Which of some keys hold a phrase; all characters of phrases have three bytes."""
    for row in rows:
        before, p = np.int64(0), offsets[row]
        while p < offsets[row + 1]:
            byte = data[p]
            if not 0xE0 <= byte < 0xF0:
                before = np.int64(0)
                p += 1
                continue
            point = (np.int64(byte & 0x0F) << 12) | (np.int64(data[p + 1] & 0x3F) << 6) | (data[p + 2] & 0x3F)
            if classes[point] == _PHRASE or classes[before] == _PHRASE:
                pair = np.uint64(before) << np.uint64(32) | np.uint64(point)
                at = np.searchsorted(phrases, pair)
                if at < len(phrases) and phrases[at] == pair:
                    context[row] = True
                    break
            before = point
            p += 3


@njit(nogil=True, cache=True)
def fold_rows(  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
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
            kind = classes[point] if point < len(classes) else _CONTEXT
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
