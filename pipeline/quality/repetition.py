"""How much of a text says again what it has said before."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from numba import njit

#: Characters of one n-gram: long enough that ordinary words, names and units do not count as repetition.
NGRAM = 8


def repeated_share(keys: pl.Series) -> npt.NDArray[np.float32]:
    """For every match key the share of its 8-character windows that stood earlier in it; 0 below 16 characters.

    Keys, not texts: a row of dots after a question is no repetition. One number finds the usual kinds at
    once: a stuck key (哈哈哈…), a looping generator, a paragraph pasted twice, boilerplate lines.

    >>> [round(float(share), 2) for share in repeated_share(pl.Series(["哈" * 40, "春眠不觉晓处处闻啼鸟夜来风雨声花落"]))]
    [0.97, 0.0]
    """
    sizes = keys.str.len_chars().to_numpy().astype(np.int64)
    points = np.frombuffer("".join(keys.to_list()).encode("utf-32-le"), np.uint32)
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
    shares = np.zeros(len(sizes), np.float32)
    if len(sizes):
        room = 1 << int(2 * max(1, int(sizes.max())) - 1).bit_length()
        _fill_shares(points, offsets, shares, np.zeros(room, np.uint64), np.full(room, -1, np.int64))
    return shares


@njit(nogil=True, cache=True)
def _fill_shares(points, offsets, shares, slots, owners):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """One open-addressed table for all rows: `owners` says which row a slot was last written by."""
    base = np.uint64(0x9E3779B97F4A7C15)
    leading = np.uint64(1)
    for _ in range(NGRAM):
        leading *= base
    for row in range(len(shares)):
        start, stop = offsets[row], offsets[row + 1]
        size = stop - start
        if size < 2 * NGRAM:
            continue
        mask = np.uint64(1)
        while mask < np.uint64(2 * size):
            mask <<= np.uint64(1)
        mask -= np.uint64(1)
        rolling = np.uint64(0)
        seen = 0
        for at in range(start, stop):
            rolling = rolling * base + np.uint64(points[at]) + np.uint64(1)
            if at - start >= NGRAM:
                rolling -= leading * (np.uint64(points[at - NGRAM]) + np.uint64(1))
            if at - start < NGRAM - 1:
                continue
            slot = (rolling ^ (rolling >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(20) & mask
            while owners[slot] == row and slots[slot] != rolling:
                slot = (slot + np.uint64(1)) & mask
            if owners[slot] == row:
                seen += 1
            else:
                owners[slot] = row
                slots[slot] = rolling
        shares[row] = seen / (size - NGRAM + 1)
