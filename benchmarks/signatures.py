"""Claim: text to MinHash signatures, 800 times the `update` loop of datasketch and 12 times rensa, bit for bit the former.

"From text" takes in whatever a method needs before it can sign, shingling in Python above all: that is where the others
spend most. Ours is told twice: from the column of texts to signatures and nothing else, which the bars are about, and
with all that `Keys.of` counts of each text beside it, which no signature needs but the later verification does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import datasketch
import numpy as np
import polars as pl
import pyarrow as pa
import xxhash

from benchmarks import text
from benchmarks.measure import Table, cpu_seconds, rate, times
from pipeline.minhash import Keys, Slots, signatures
from pipeline.normalize import key_hash

PAIRS = 20_000
NUM_PERM, SEED = 128, 1
BAR_UPDATE, BAR_RENSA = 800, 12
#: The slow sides sign one text in so many.
SPARSE, SPARSER = 4, 32


def run(pairs: int = PAIRS, repeats: int = 5) -> Table:
    """Signs both sides of so many pairs, k = 3; the slow ways sign a part of them."""
    texts = text.both_sides(text.source(), pairs, copies=0.0)
    few, fewer = (texts.gather_every(step).to_list() for step in (SPARSE, SPARSER))
    hashes = key_hash(texts).to_numpy()
    # label: (work, how many texts it signs, bar in times ours is faster)
    sides: dict[str, tuple[Callable[[], Any], int, float | None]] = {
        "ours": (lambda: _sign(_laid_out(texts)), len(texts), None),
        "ours, with Keys.of": (lambda: _sign(Keys.of(texts, hashes)), len(texts), None),
        "datasketch, update loop": (lambda: _update_loop(fewer), len(fewer), BAR_UPDATE),
        "datasketch, bulk": (lambda: _bulk(few), len(few), None),
    }
    table = Table(
        f"signatures: text to {NUM_PERM} permutations, k = 3, {len(texts):,} texts",
        ("", "texts per CPU-s", "ours is", "with Keys.of"),
    )
    if rensa := _rensa():
        for name, work in rensa.items():
            # A default argument holds the work of this turn.
            sides[f"rensa, {name}"] = (lambda work=work: work(few), len(few), BAR_RENSA if name == "objects" else None)
    else:
        table.notes.append("rensa is not installed; pip install -c constraints.txt -e '.[bench]' adds its line")
    for work, _, _ in sides.values():
        work()
    seconds = cpu_seconds({name: work for name, (work, _, _) in sides.items()}, repeats)
    each = {name: seconds[name] / count for name, (_, count, _) in sides.items()}
    for name, (_, _, bar) in sides.items():
        ratios = [each[name] / each[ours] for ours in ("ours", "ours, with Keys.of")]
        told = ("", "") if name.startswith("ours") else tuple(map(times, ratios))
        held = None if bar is None else ratios[0] >= bar
        table.add(name, rate(1, each[name]), *told, bar="" if bar is None else f"{bar:g}x", holds=held)
    equal, looked = _identical(few)
    table.add(
        "rows equal to datasketch, k = 2 and 3", f"{equal:,} of {looked:,}", "", "", bar="all", holds=equal == looked
    )
    return table.show()


def _laid_out(texts: pl.Series) -> Keys:
    """Keys with their text alone, the counts left empty: all that signing reads."""
    column: Any = texts.rechunk().to_arrow().cast(pa.large_string())
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1].copy()
    counts, hashes = np.empty(0, np.int32), np.empty(0, np.uint64)
    return Keys(np.frombuffer(data, np.uint8), bounds[:-1], bounds[1:], hashes, counts, counts, counts, hashes)


def _sign(keys: Keys, k: int = 3) -> Any:
    return signatures(keys, Slots(np.arange(len(keys)), np.full(len(keys), k, np.int8)), NUM_PERM, SEED)


def _shingles(told: str, k: int = 3) -> Iterator[bytes]:
    return (told[i : i + k].encode() for i in range(max(1, len(told) - k + 1)))


def _update_loop(texts: list[str]) -> list[datasketch.MinHash]:
    made = []
    for told in texts:
        sketch = datasketch.MinHash(NUM_PERM, seed=SEED, hashfunc=xxhash.xxh32_intdigest)
        for shingle in _shingles(told):
            sketch.update(shingle)
        made.append(sketch)
    return made


def _bulk(texts: list[str], k: int = 3) -> list[datasketch.MinHash]:
    listed = (list(_shingles(told, k)) for told in texts)
    made: list[datasketch.MinHash] = datasketch.MinHash.bulk(
        listed, num_perm=NUM_PERM, seed=SEED, hashfunc=xxhash.xxh32_intdigest
    )
    return made


def _rensa() -> dict[str, Callable[[list[str]], Any]]:
    """Ways from texts to sketches: an object each, one matrix from lists of shingles, one from hashes that numpy makes."""
    try:
        from rensa import RMinHash
    except ImportError:
        return {}

    def listed(told: str) -> list[str]:
        return [told[i : i + 3] for i in range(max(1, len(told) - 2))]

    def objects(texts: list[str]) -> list[Any]:
        made = []
        for told in texts:
            sketch = RMinHash(NUM_PERM, SEED)
            sketch.update(listed(told))
            made.append(sketch)
        return made

    def bulk(texts: list[str]) -> Any:
        return RMinHash.digest_matrix_from_token_sets([listed(told) for told in texts], NUM_PERM, SEED)

    def flat(texts: list[str]) -> Any:
        points = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32).astype(np.uint64)
        packed = points[:-2] << np.uint64(42) | points[1:-1] << np.uint64(21) | points[2:]
        packed = (packed ^ packed >> np.uint64(31)) * np.uint64(0xBF58476D1CE4E5B9)
        ends = np.cumsum([len(told) for told in texts])
        inside = np.ones(len(packed), np.bool_)
        for back in (1, 2):  # shingles that reach into the next text
            inside[ends[:-1] - back] = False
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(inside)[ends[:-1] - 1], [inside.sum()]])
        return RMinHash.digest_matrix_from_flat_token_hashes(packed[inside], offsets.astype(np.uint64), NUM_PERM, SEED)

    return {"objects": objects, "bulk": bulk, "flat, hashed by numpy": flat}


def _identical(texts: list[str]) -> tuple[int, int]:
    column = pl.Series(texts)
    keys = Keys.of(column, key_hash(column).to_numpy())
    equal = 0
    for k in (2, 3):
        ours = _sign(keys, k)
        theirs = np.array([sketch.hashvalues for sketch in _bulk(texts, k)])
        equal += int((ours == theirs).all(axis=1).sum())
    return equal, 2 * len(texts)
