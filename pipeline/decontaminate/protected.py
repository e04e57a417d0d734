"""The texts of all benchmarks of a build side by side: which they are, which task uses them and how.

`protect` puts them together once per build, with everything a search needs: measured keys, band tables, anchors. Every
corpus maps the same files into memory, so none of it is made or held twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from pipeline.decontaminate.arrays import Array, create, opened
from pipeline.decontaminate.bands import Bands
from pipeline.decontaminate.inside import Anchors
from pipeline.decontaminate.seen import Seen
from pipeline.decontaminate.texts import PAIRS, TEXTS
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.minhash import Keys
from pipeline.shards import write_parquet
from pipeline.store import Receipt

#: Keys read at a time.
_ROWS = 65_536


@dataclass(frozen=True)
class Protected:
    """Distinct keys of all tasks, numbered in the order of their hashes; everything else speaks of those numbers.

    `uses`: `bench` (the number, u32), `task`, `role`, `joined`. `pairs`: `bench_a`, `bench_b`, `task`, each pair in both
    orders. `all_bands` and `joined_bands` are the band tables of all keys and of those that are compared with text +
    text_pos as well; `anchors` those of the queries that are searched inside instructions.
    """

    keys: Keys
    uses: pl.DataFrame
    pairs: pl.DataFrame
    all_bands: Bands
    joined_bands: Bands
    anchors: Anchors

    @classmethod
    def open(cls, folder: Path) -> Protected:
        """What `protect` wrote."""
        return cls(
            _keys(folder),
            pl.read_parquet(folder / "uses.parquet"),
            pl.read_parquet(folder / "pairs.parquet"),
            Bands.open(folder, "all"),
            Bands.open(folder, "joined"),
            Anchors.open(folder),
        )

    @property
    def tasks(self) -> list[str]:
        return sorted({*self.uses["task"].unique(), *self.pairs["task"].unique()})

    @property
    def joined(self) -> pl.DataFrame:
        """The uses that are compared with text + text_pos as well."""
        return self.uses.filter("joined")


def protect(indexes: Mapping[str, Path], out: Path, config: DecontaminateConfig) -> Receipt:
    """Put the indexes of all tasks (task -> folder that `index` wrote) together, ready to be searched.

    Of `config` the threshold, permutations and `inside_chars` count. Equal keys of several tasks become one. Texts are
    read in batches; held are the hashes of all keys (8 bytes each) and one band.
    """
    hashes = _hashes(indexes)
    _write_keys(indexes, hashes, out)
    keys = _keys(out)
    uses, pairs = [pl.DataFrame(schema=_USES)], [pl.DataFrame(schema=_PAIRS)]
    for task in sorted(indexes):
        text = _read(indexes[task], TEXTS, ["hash", "role", "joined"])
        uses.append(
            text.select("role", "joined", bench=_numbers(hashes, text["hash"]), task=pl.lit(task)).select(*_USES)
        )
        pair = _read(indexes[task], PAIRS, ["hash_a", "hash_b"])
        both = pair.select(
            bench_a=_numbers(hashes, pair["hash_a"]), bench_b=_numbers(hashes, pair["hash_b"]), task=pl.lit(task)
        )
        pairs += [both, both.select(bench_a="bench_b", bench_b="bench_a", task="task")]
    every, judged = pl.concat(uses), pl.concat(pairs).unique(maintain_order=True)
    write_parquet(out / "uses.parquet", every.to_arrow())
    write_parquet(out / "pairs.parquet", judged.to_arrow())
    Bands.write(out, "all", keys, np.arange(len(keys)), config)
    Bands.write(out, "joined", keys, _distinct(every.filter("joined")), config)
    Anchors.write(out, keys, _distinct(every.filter(role="query")), config.inside_chars)
    return {"tasks": sorted(indexes), "keys": len(keys), "pairs": judged.height // 2}


_USES = {"bench": pl.UInt32, "task": pl.String, "role": pl.String, "joined": pl.Boolean}
_PAIRS = {"bench_a": pl.UInt32, "bench_b": pl.UInt32, "task": pl.String}
#: Columns of an index that hold keys, and their hashes.
_HOLDERS = ((TEXTS, "hash", "key"), (PAIRS, "hash_a", "key_a"), (PAIRS, "hash_b", "key_b"))


def _hashes(indexes: Mapping[str, Path]) -> npt.NDArray[np.uint64]:
    """Of all distinct keys, in order."""
    seen, found = Seen(), [np.empty(0, np.uint64)]
    for task in sorted(indexes):
        for kind, name, _ in _HOLDERS:
            values = _read(indexes[task], kind, [name])[name].to_numpy()
            found.append(values[seen.new(values)])
    return np.sort(np.concatenate(found))


def _write_keys(indexes: Mapping[str, Path], hashes: npt.NDArray[np.uint64], out: Path) -> None:
    """Every key's bytes one after another as they are met, and what `Keys` measures of each, by number."""
    kinds = {field.name: getattr(_measured(pl.DataFrame(schema=_BATCH)), field.name).dtype for field in fields(Keys)}
    of = {n: create(out / f"keys-{n}.npy", (len(hashes),), kind) for n, kind in kinds.items() if n != "data"}
    written = np.zeros(len(hashes), np.bool_)
    size = 0
    with (out / "keys-data.bin").open("wb") as file:
        for batch in _batches(indexes):
            numbers = np.searchsorted(hashes, batch["hash"].to_numpy())
            new = batch.filter(~written[numbers])
            if new.is_empty():
                continue
            numbers = numbers[~written[numbers]]
            written[numbers] = True
            keys = _measured(new)
            low, high = int(keys.start.min()), int(keys.end.max())
            file.write(keys.data[low:high].tobytes())
            for name, array in of.items():
                array[numbers] = getattr(keys, name) + (size - low if name in ("start", "end") else 0)
            size += high - low


_BATCH = {"hash": pl.UInt64, "key": pl.String}


def _batches(indexes: Mapping[str, Path]) -> Iterator[pl.DataFrame]:
    """Hashes and keys of all indexes, no key twice within a batch."""
    for task in sorted(indexes):
        for kind, hash_name, key_name in _HOLDERS:
            for path in _shards(indexes[task], kind):
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(_ROWS, columns=[hash_name, key_name], use_threads=False):
                        frame = pl.DataFrame(pl.from_arrow(batch))
                        yield frame.select(hash=hash_name, key=key_name).unique("hash", maintain_order=True)


def _measured(batch: pl.DataFrame) -> Keys:
    return Keys.of(batch["key"], batch["hash"].to_numpy())


def _keys(folder: Path) -> Keys:
    path = folder / "keys-data.bin"
    data: Array = np.empty(0, np.uint8)
    if path.stat().st_size:
        data = np.asarray(np.memmap(path, np.uint8, "c"))
    rest = {f.name: opened(folder / f"keys-{f.name}.npy") for f in fields(Keys) if f.name != "data"}
    return Keys(data=data, **rest)


def _numbers(hashes: npt.NDArray[np.uint64], wanted: pl.Series) -> pl.Series:
    return pl.Series(np.searchsorted(hashes, wanted.to_numpy()), dtype=pl.UInt32)


def _distinct(uses: pl.DataFrame) -> npt.NDArray[np.int64]:
    return uses["bench"].unique().sort().cast(pl.Int64).to_numpy()


def _read(folder: Path, kind: str, columns: Sequence[str]) -> pl.DataFrame:
    return pl.read_parquet(_shards(folder, kind), columns=list(columns))


def _shards(folder: Path, kind: str) -> list[Path]:
    return sorted(folder.glob(f"{kind}-*.parquet"))
