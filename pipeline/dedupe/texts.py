"""Match keys read back, of a few pieces' worth at a time: verification asks for candidates only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.dedupe.classes import Classes
from pipeline.dedupe.pieces import Piece
from pipeline.minhash import Keys
from pipeline.minhash.compiled import Bytes, Ints, kernel


def fetch(pieces: Sequence[Piece], classes: Classes, numbers: Ints) -> Keys:
    """The keys of some numbers (ascending, each once), measured; position i is that of `numbers[i]`."""
    return Keys.lying(*lying(pieces, classes, numbers), np.array(classes.hashes[numbers]))


def lying(pieces: Sequence[Piece], classes: Classes, numbers: Ints) -> tuple[Bytes, Ints, Ints]:
    """Their bytes, and where each begins and ends."""
    end = np.cumsum(classes.sizes[numbers], dtype=np.int64)
    start = end - classes.sizes[numbers]
    data = np.empty(int(end[-1]) if len(end) else 0, np.uint8)
    missing = np.ones(len(numbers), np.bool_)
    left = len(numbers)
    for piece in pieces:
        if not left:
            break
        if piece.texts.stat().st_size:
            held = np.asarray(np.memmap(piece.texts, np.uint8, "r"))
            left -= _copy(numbers, piece.load("numbers"), piece.load("start"), end - start, held, start, missing, data)
        else:
            empty = np.isin(numbers, piece.load("numbers")) & missing
            missing[empty] = False
            left -= int(empty.sum())
    return data, start, end


@kernel
def _copy(wanted, numbers, begin, sizes, held, start, missing, data):  # type: ignore[no-untyped-def]
    """Both lists ascend; returns how many were found here."""
    found, i = 0, 0
    for j in range(numbers.shape[0]):
        while i < wanted.shape[0] and wanted[i] < numbers[j]:
            i += 1
        if i == wanted.shape[0]:
            break
        if wanted[i] == numbers[j] and missing[i]:
            missing[i] = False
            found += 1
            data[start[i] : start[i] + sizes[i]] = held[begin[j] : begin[j] + sizes[i]]
    return found
