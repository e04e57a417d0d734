"""The first reduce: what is equal across all pieces, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.dedupe.index import distinct, places
from pipeline.dedupe.pieces import SIDES, Piece
from pipeline.minhash.compiled import Hashes, Ints

Numbers = npt.NDArray[np.uint32]
_KEY = np.uint64((1 << 31) - 1)


@dataclass(frozen=True)
class Classes:
    """Distinct match keys and distinct records.

    Key i has the hash `hashes[i]` (ascending) and `sizes[i]` bytes. A class holds all records with equal ordered keys and
    equal flags; `codes` (ascending) packs the numbers of its keys and its flags. So neither the order of inputs nor that
    of rows decides any number.
    """

    hashes: Hashes
    sizes: Numbers
    codes: Hashes

    @classmethod
    def load(cls, folder: Path) -> Classes:
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("hashes", "sizes", "codes")))

    def __len__(self) -> int:
        return len(self.codes)

    def sides(self, classes: Any) -> tuple[Ints, Ints]:
        """The key numbers of text and text_pos of some classes."""
        codes = self.codes[classes]
        return (codes >> np.uint64(33)).astype(np.int64), (codes >> np.uint64(2) & _KEY).astype(np.int64)

    def symmetric(self, classes: Any) -> npt.NDArray[np.bool_]:
        flagged: npt.NDArray[np.bool_] = (self.codes[classes] & np.uint64(2)) > 0
        return flagged


def pack_class(text: Any, pos: Any, flags: int) -> Hashes:
    """31 bits for each key, two for the flags: room for two thousand million distinct keys."""
    packed: Hashes = text.astype(np.uint64) << np.uint64(33) | pos.astype(np.uint64) << np.uint64(2) | np.uint64(flags)
    return packed


def classify(pieces: Sequence[Piece], folder: Path) -> Classes:
    """Numbers keys and classes; writes them to `folder` and, beside each piece, what is its own.

    Per piece: `numbers` (of its keys), `members` (the class of each of its pairs), `firsts` (whether a pair stands for a
    class met here for the first time) and `homes` (whether a key of near records is met here for the first time). Keys
    are told apart by their xxh3-64: among 50 million distinct ones two share it with a chance of 1 in 15,000.
    """
    held = [piece.load("hashes") for piece in pieces]
    hashes = distinct(np.concatenate([np.zeros(0, np.uint64), *held]))
    sizes = np.zeros(len(hashes), np.uint32)
    codes = [np.zeros(0, np.uint64)]
    for piece, mine in zip(pieces, held, strict=True):
        numbers = places(hashes, mine)
        sizes[numbers] = np.minimum(piece.load("size"), 0xFFFFFFFF)
        piece.save("numbers", numbers)
        text, pos = (numbers[piece.load(side)] for side in SIDES)
        codes.append(pack_class(text, pos, piece.flags))
    del held
    held_codes = distinct(np.concatenate(codes))
    known, homed = np.zeros(len(held_codes), np.bool_), np.zeros(len(hashes), np.bool_)
    for piece, code in zip(pieces, codes[1:], strict=True):
        order = np.argsort(code)
        members = np.empty(len(code), np.uint32)
        members[order] = places(held_codes, code[order])
        firsts = ~known[members]
        known[members] = True
        numbers = piece.load("numbers")
        homes = np.zeros(len(numbers), np.bool_)
        if piece.near:
            for side in SIDES:
                homes[piece.load(side)[firsts]] = True
        homes &= ~homed[numbers]
        homed[numbers[homes]] = True
        piece.save("members", members)
        piece.save("firsts", firsts)
        piece.save("homes", homes)
    for name, array in (("hashes", hashes), ("sizes", sizes), ("codes", held_codes)):
        np.save(folder / f"{name}.npy", array)
    return Classes(hashes, sizes, held_codes)
