"""What a piece puts into the bands, of pairs of keys and of single ones, and bands read back, one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.dedupe.classes import Numbers
from pipeline.dedupe.pieces import Piece
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import SKETCH, Bands, Plan, Signed
from pipeline.minhash.compiled import Hashes, Ints, kernel

Words = npt.NDArray[np.uint32]
#: What is looked for: near-duplicate pairs of classes, or of single keys.
Which = Literal["pair", "side"]
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)
#: An index that cannot be negative: numba looks at every other one to see whether it counts from the end.
_AT = np.uint64
#: Entries whose band keys are worked out together.
_RUN = 16


def plan_of(config: DedupeConfig) -> Plan:
    """Bands of pairs, at the floor on both sides, and of single sides, where groups begin, from the same permutations."""
    pair = Bands.reaching(config.floor * config.floor, config.num_perm, config.recall)
    side = Bands.reaching(config.groups, max(pair.permutations, SKETCH))
    return Plan(pair, config.floor, side, config.groups, config.seed)


def write_bands(
    piece: Piece, signed: Signed, hashes: Hashes, text: Ints, pos: Ints, place: npt.NDArray[np.uint32]
) -> None:
    """Writes what distinct pairs of keys (`text[i]`, `pos[i]`) and keys (with `hashes`) put into the bands.

    `entry_pairs` (pair of each entry), `one`, `two` (sketches of its sides) and `pair_bands` (bands, entries); `side_keys`
    (key of each slot, as `place` numbers it), `sketches` and `side_bands` (bands, slots). Which pairs and keys were met
    first in this piece is not known yet: `Taken` leaves out the others.
    """
    entries = _Entries.of(signed, text, pos, len(hashes), piece.symmetric)
    piece.save("entry_pairs", entries.owner.astype(np.uint32))
    piece.save("one", signed.sketch[entries.one])
    piece.save("two", signed.sketch[entries.two])
    piece.save("pair_bands", entries.band_keys(signed, hashes[signed.at]))
    at = np.flatnonzero(signed.sided)
    piece.save("side_keys", place[signed.at[at]])
    piece.save("sketches", signed.sketch[at])
    piece.save("side_bands", _turned(signed.side, at))


@dataclass(frozen=True)
class _Entries:
    """What a pair of keys puts into each band: entry i belongs to pair `owner[i]`; `one` and `two` are slots.

    A pair has one entry per combination of its sides' slots, and, being symmetric, the same turned round. The sides
    take rows of different bands: with equal rows, two questions that share one common shingle on both sides would meet
    as if they shared four. Entries from `lone` on have a short side (`one`): it adds no rows, so the other gives two
    bands' worth; else a thousand answers to one short text would all be candidates of each other. (Two short sides are
    equal or nothing: `exact_edges` has them.)
    """

    owner: Ints
    one: Ints
    two: Ints
    lone: int

    @classmethod
    def of(cls, signed: Signed, text: Ints, pos: Ints, keys: int, symmetric: bool) -> _Entries:
        # For each shingle length the slot of every key, -1 where it has none.
        where = {k: np.full(keys, -1, np.int64) for k in (0, 2, 3)}
        for k, slot in where.items():
            at = np.flatnonzero(signed.k == k)
            slot[signed.at[at]] = at

        def entries(first: int, second: int, left: Ints, right: Ints) -> tuple[Ints, Ints, Ints]:
            one, two = where[first][left], where[second][right]
            at = np.flatnonzero((one >= 0) & (two >= 0))
            return at, one[at], two[at]

        ways = [(text, pos), (pos, text)]
        full = [entries(a, b, *way) for a in (2, 3) for b in (2, 3) for way in ways[: 1 + symmetric]]
        lone = [entries(0, k, *way) for k in (2, 3) for way in ways]
        owner, one, two = (np.concatenate(column) for column in zip(*full, *lone, strict=True))
        return cls(owner, one, two, sum(len(told[0]) for told in full))

    def band_keys(self, signed: Signed, whole: Hashes) -> Words:
        out = np.empty((signed.pair.shape[1], len(self.owner)), np.uint32)
        _band_keys(signed.pair, whole, self.one, self.two, self.lone, out)
        return out


@kernel
def _band_keys(parts, whole, one, two, lone, out):  # type: ignore[no-untyped-def]
    """Some entries at a time: the rows of each are read once, and each band is written in runs."""
    bands, n = out.shape
    lines, row = np.empty((bands, _RUN), np.uint32), np.empty(bands + 1, np.uint32)
    for low in range(0, n, _RUN):
        high = min(n, low + _RUN)
        for i in range(low, high):
            a, b, at = _AT(one[i]), _AT(two[i]), _AT(i - low)
            for band in range(bands):
                row[_AT(band)] = parts[b, _AT(band)]
            row[_AT(bands)] = row[_AT(0)]
            if i < lone:
                for band in range(bands):
                    h = np.uint64(parts[a, _AT(band)]) << _HALF | np.uint64(row[_AT(band + 1)])
                    lines[_AT(band), at] = np.uint32((h * _MIX) >> _HALF)
            else:
                for band in range(bands):
                    h = (whole[a] ^ (np.uint64(row[_AT(band)]) << _HALF | np.uint64(row[_AT(band + 1)]))) * _MIX
                    h ^= h >> _HALF
                    lines[_AT(band), at] = np.uint32((h * _MIX) >> _HALF)
        for band in range(bands):
            for i in range(low, high):
                out[_AT(band), _AT(i)] = lines[_AT(band), _AT(i - low)]


def _turned(table: Words, at: Ints) -> Words:
    """Some rows of a table, as columns."""
    out = np.empty((table.shape[1], len(at)), np.uint32)
    _turn(table, at, out)
    return out


@kernel
def _turn(table, at, out):  # type: ignore[no-untyped-def]
    columns, n = out.shape
    for low in range(0, n, 512):
        high = min(n, low + 512)
        for column in range(columns):
            for i in range(low, high):
                out[column, i] = table[at[i], column]


@dataclass(frozen=True)
class Taken:
    """Of every piece the entries, or slots, that count: those of pairs, or keys, that were met there first."""

    pieces: list[Piece]
    which: Which
    rows: list[Ints]
    size: int

    @classmethod
    def of(cls, pieces: Sequence[Piece], which: Which) -> Taken:
        owner, first = ("entry_pairs", "firsts") if which == "pair" else ("side_keys", "homes")
        rows = [np.flatnonzero(piece.load(first)[piece.load(owner)]) for piece in pieces]
        return cls(list(pieces), which, rows, sum(map(len, rows)))

    def gather(self, name: str, kind: type[Any]) -> Any:
        """One array of all pieces, in their order."""
        out, at = np.empty(self.size, kind), 0
        for piece, rows in zip(self.pieces, self.rows, strict=True):
            out[at : at + len(rows)] = piece.load(name)[rows]
            at += len(rows)
        return out

    def owners(self) -> Numbers:
        """The class of each entry, or the number of each slot's key."""
        owner, number = ("entry_pairs", "members") if self.which == "pair" else ("side_keys", "numbers")
        told = [piece.load(number)[piece.load(owner)[rows]] for piece, rows in zip(self.pieces, self.rows, strict=True)]
        return np.concatenate([np.zeros(0, np.uint32), *told])

    def band(self, number: int) -> Words:
        """One band of all pieces; the rest of the files is not read."""
        out, at = np.empty(self.size, np.uint32), 0
        for piece, rows in zip(self.pieces, self.rows, strict=True):
            with (piece.folder / f"{self.which}_bands.npy").open("rb") as file:
                np.lib.format.read_magic(file)
                (_, count), _, _ = np.lib.format.read_array_header_1_0(file)
                file.seek(number * count * 4, 1)
                if len(rows) == count:
                    file.readinto(out[at : at + count].data)
                else:
                    out[at : at + len(rows)] = np.fromfile(file, np.uint32, count)[rows]
            at += len(rows)
        return out
