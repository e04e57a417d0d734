"""Signing one piece: what its records put into each band, and its keys into the bands of single sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.dedupe.classes import Numbers
from pipeline.dedupe.pieces import SIDES, Piece
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import SHORT, SKETCH, Bands, Keys, Signed, Slots, sign, slots
from pipeline.minhash.compiled import Hashes, Ints, kernel

_MIX = np.uint64(0xFF51AFD7ED558CCD)


@dataclass(frozen=True)
class Plan:
    """Bands of pairs, at the floor on both sides, and of single sides, where groups begin, from the same permutations."""

    pair: Bands
    side: Bands

    @classmethod
    def of(cls, config: DedupeConfig) -> Plan:
        pair = Bands.reaching(config.floor * config.floor, config.num_perm, config.recall)
        return cls(pair, Bands.reaching(config.groups, max(pair.permutations, SKETCH)))


def sign_piece(piece: Piece, config: DedupeConfig) -> None:
    """Writes what the classes and keys met first in this piece put into the bands.

    `owners` (class of each entry), `one`, `two` (sketches of its sides) and `pair_bands` (bands, entries); `side_owners`
    (number of each key), `sketches` and `side_bands` (bands, slots).
    """
    plan = Plan.of(config)
    reps = piece.load("reps") if piece.near else np.zeros(0, np.int64)
    text, pos = (piece.load(side)[reps].astype(np.int64) for side in SIDES)
    hashes, start = piece.load("hashes"), piece.load("start")
    used = np.zeros(len(hashes), np.bool_)
    used[text], used[pos] = True, True
    at = np.flatnonzero(used)
    at = at[np.argsort(start[at])]  # as they lie in the file
    data = np.fromfile(piece.texts, np.uint8)
    keys = Keys.to_sign(data, start[at], start[at] + piece.load("size")[at], hashes[at], config.floor)
    chosen = slots(keys, np.arange(len(at)), config.floor)
    signed = sign(keys, chosen, config.seed, plan.pair, plan.side)
    place = np.full(len(hashes), -1, np.int64)
    place[at] = np.arange(len(at))
    entries = _Entries.of(piece, place[text], place[pos], chosen, len(at))
    piece.save("owners", piece.load("members")[reps][entries.owner])
    piece.save("one", signed.sketch[entries.one])
    piece.save("two", signed.sketch[entries.two])
    piece.save("pair_bands", entries.band_keys(signed, keys.hashes[chosen.at]))

    home = np.zeros(len(at), np.bool_)
    home[place[piece.load("homes")]] = True
    sided = slots(keys, np.flatnonzero(home & (keys.chars >= SHORT)), config.groups)
    rows = _where(chosen, len(at))
    picked = np.concatenate([rows[k][sided.at[sided.k == k]] for k in (2, 3)])
    piece.save("side_owners", piece.load("numbers")[at][chosen.at[picked]])
    piece.save("sketches", signed.sketch[picked])
    piece.save("side_bands", np.ascontiguousarray(signed.side[picked].T))


def _where(chosen: Slots, keys: int) -> dict[int, Ints]:
    """For each shingle length the slot of every key, -1 where it has none."""
    where = {k: np.full(keys, -1, np.int64) for k in (0, 2, 3)}
    for k, place in where.items():
        slot = np.flatnonzero(chosen.k == k)
        place[chosen.at[slot]] = slot
    return where


@dataclass(frozen=True)
class _Entries:
    """What a class puts into each band: entry i belongs to rep `owner[i]`; `one` and `two` are slots.

    A class has one entry per combination of its sides' slots, and, being symmetric, the same turned round. The sides
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
    def of(cls, piece: Piece, text: Ints, pos: Ints, chosen: Slots, keys: int) -> _Entries:
        where = _where(chosen, keys)

        def entries(first: int, second: int, left: Ints, right: Ints) -> tuple[Ints, Ints, Ints]:
            one, two = where[first][left], where[second][right]
            at = np.flatnonzero((one >= 0) & (two >= 0))
            return at, one[at], two[at]

        ways = [(text, pos), (pos, text)]
        full = [entries(a, b, *way) for a in (2, 3) for b in (2, 3) for way in ways[: 1 + piece.symmetric]]
        lone = [entries(0, k, *way) for k in (2, 3) for way in ways]
        owner, one, two = (np.concatenate(column) for column in zip(*full, *lone, strict=True))
        return cls(owner, one, two, sum(len(told[0]) for told in full))

    def band_keys(self, signed: Signed, whole: Hashes) -> Hashes:
        out = np.empty((signed.pair.shape[1], len(self.owner)), np.uint64)
        _band_keys(signed.pair, whole, self.one, self.two, self.lone, out)
        return out


@kernel
def _band_keys(parts, whole, one, two, lone, out):  # type: ignore[no-untyped-def]
    """Entry by entry in tiles, so that what is written to the many bands stays in cache."""
    bands, n = out.shape
    half = np.uint64(32)
    for low in range(0, n, 512):
        high = min(n, low + 512)
        for band in range(bands):
            following = band + 1 if band + 1 < bands else 0
            for i in range(low, high):
                second = np.uint64(parts[two[i], following])
                if i < lone:
                    out[band, i] = np.uint64(parts[one[i], band]) << half | second
                else:
                    h = (whole[one[i]] ^ (np.uint64(parts[two[i], band]) << half | second)) * _MIX
                    out[band, i] = h ^ h >> half


def gather_entries(pieces: list[Piece]) -> tuple[Numbers, Hashes, Hashes]:
    """Owner and both sketches of every entry of all pieces, in their order."""
    owners, one, two = (_joined(pieces, name) for name in ("owners", "one", "two"))
    return owners, one, two


def gather_sides(pieces: list[Piece]) -> tuple[Numbers, Hashes]:
    """Key number and sketch of every slot of all pieces, in their order."""
    owners, sketches = (_joined(pieces, name) for name in ("side_owners", "sketches"))
    return owners, sketches


def read_band(pieces: list[Piece], name: str, band: int) -> Hashes:
    """One band of all pieces; the rest of the files is not read."""
    return np.concatenate([np.zeros(0, np.uint64), *(_row(piece, name, band) for piece in pieces)])


def _row(piece: Piece, name: str, band: int) -> npt.NDArray[np.uint64]:
    with (piece.folder / f"{name}.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        (_, count), _, _ = np.lib.format.read_array_header_1_0(file)
        file.seek(band * count * 8, 1)
        return np.fromfile(file, np.uint64, count)


def _joined(pieces: list[Piece], name: str) -> Any:
    return np.concatenate([piece.load(name) for piece in pieces])
