"""Band tables of protected keys: sorted once, kept as files, searched by every corpus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt

from pipeline.decontaminate.arrays import create, opened
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.minhash import SHORT, Keys, Slots, band_parts, permutations, rows_per_band, slots

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

#: Signatures made at a time.
BLOCK = 65_536


def signed(keys: Keys, at: Ints, config: DecontaminateConfig) -> Iterator[tuple[Slots, Hashes]]:
    """The parts of `keys[at]` in every band, a block of slots at a time: an array (bands, slots).

    Bands are chosen to miss fewer than one pair in a thousand at the threshold. Keys under 6 characters have none:
    equality finds them.
    """
    rows, used = _rows(config)
    multipliers, addends = (drawn[:used] for drawn in permutations(config.num_perm, config.seed))
    chosen = slots(keys, at[keys.chars[at] >= SHORT], config.threshold)
    for start in range(0, len(chosen), BLOCK):
        block = Slots(chosen.at[start : start + BLOCK], chosen.k[start : start + BLOCK])
        yield block, band_parts(keys, block, multipliers, addends, rows)


def _rows(config: DecontaminateConfig) -> tuple[int, int]:
    rows = rows_per_band(config.num_perm, config.threshold)
    return rows, config.num_perm // rows * rows


@dataclass(frozen=True)
class Bands:
    """`parts[band]` in order, `owners[band]` the keys they are of, `bits[band]` a filter asked before the search."""

    parts: Hashes
    owners: npt.NDArray[np.uint32]
    bits: npt.NDArray[np.uint8]

    @classmethod
    def write(cls, folder: Path, name: str, keys: Keys, at: Ints, config: DecontaminateConfig) -> None:
        """Sign `keys[at]` and write their table; one band is held in memory at a time."""
        rows, used = _rows(config)
        count = len(slots(keys, at[keys.chars[at] >= SHORT], config.threshold))
        # A sixteenth of the filter is set at most, up to 16 MiB: nearly every part of a clean corpus stops there.
        size = 1 << min(27, max(13, int(count * 16).bit_length()))
        parts = create(folder / f"{name}-parts.npy", (used // rows, count), np.uint64)
        owners = create(folder / f"{name}-owners.npy", (used // rows, count), np.uint32)
        bits = create(folder / f"{name}-bits.npy", (used // rows, size // 8), np.uint8)
        of = np.empty(count, np.uint32)
        start = 0
        for block, found in signed(keys, at, config):
            parts[:, start : start + len(block)], of[start : start + len(block)] = found, block.at
            start += len(block)
        for band in range(used // rows if count else 0):
            order = np.argsort(parts[band], kind="stable")
            parts[band], owners[band] = parts[band][order], of[order]
            _set(parts[band], _shift(size), bits[band])

    @classmethod
    def open(cls, folder: Path, name: str) -> Bands:
        return cls(*(opened(folder / f"{name}-{kind}.npy") for kind in ("parts", "owners", "bits")))

    def __len__(self) -> int:
        """Slots in each band."""
        return int(self.parts.shape[1])

    def shared(self, band: int, parts: Hashes, most: int) -> Iterator[tuple[Ints, Ints]]:
        """(place in `parts`, owner) wherever a part is one of the band's, about `most` at a time."""
        asked = np.empty(len(parts), np.bool_)
        _may_hold(parts, _shift(self.bits.shape[1] * 8), self.bits[band], asked)
        places = np.flatnonzero(asked)
        low = np.searchsorted(self.parts[band], parts[places], "left")
        counts = np.searchsorted(self.parts[band], parts[places], "right") - low
        places, low, counts = places[counts > 0], low[counts > 0], counts[counts > 0]
        ends = np.cumsum(counts)
        start = 0
        while start < len(places):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + most, "right")))
            n = counts[start:stop]
            first = np.repeat(low[start:stop] - (np.cumsum(n) - n), n)
            yield np.repeat(places[start:stop], n), self.owners[band][first + np.arange(len(first))].astype(np.int64)
            start = stop


def _shift(size: int) -> np.uint64:
    """What leaves the upper bits of a part: its place in a filter of `size` bits."""
    return np.uint64(64 - (size.bit_length() - 1))


@numba.njit(nogil=True, cache=True)
def _set(parts, shift, bits):  # type: ignore[no-untyped-def]
    for i in range(parts.shape[0]):
        at = parts[i] >> shift
        bits[at >> np.uint64(3)] |= np.uint8(1) << np.uint8(at & np.uint64(7))


@numba.njit(nogil=True, cache=True)
def _may_hold(parts, shift, bits, out):  # type: ignore[no-untyped-def]
    for i in range(parts.shape[0]):
        at = parts[i] >> shift
        out[i] = (bits[at >> np.uint64(3)] >> np.uint8(at & np.uint64(7))) & np.uint8(1)
