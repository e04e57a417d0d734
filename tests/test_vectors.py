"""Vectors on disk and the encode stage, with an encoder of ten lines: what is stored, and what is refused."""

from __future__ import annotations

import errno
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_model import Letters

from pipeline.encode import Progress, Vectors, device_of, encode, pool
from pipeline.encoding import encode_step, silent
from pipeline.errors import FormatError, StoreError
from pipeline.record import POOL_SCHEMA
from pipeline.store import Store


def shard(folder: Path, rows: list[tuple[str, bool]]) -> Path:
    table = pa.Table.from_pylist([{"text": text, "document": document} for text, document in rows], POOL_SCHEMA)
    pq.write_table(table, folder / "pool-00000.parquet")
    return folder / "pool-00000.parquet"


MIXED = [("乙", False), ("甲甲", True), ("甲甲", False), ("abc", True)]


def test_rows_stand_where_their_texts_do(tmp_path: Path) -> None:
    heard: list[Progress] = []
    receipt = encode(shard(tmp_path, MIXED), tmp_path, Letters(), heard.append)
    assert receipt == {"texts": 4, "dimension": 8, "tokens": 8, "cut": 0, "blank": 0}
    stored = np.load(tmp_path / "vectors.npy")
    want = np.stack([Letters().encode([text], document)[0] for text, document in MIXED])
    assert stored.dtype == np.float16 and (stored == want.astype(np.float16)).all()
    assert [(told.texts, told.of) for told in heard] == [(2, 4), (4, 4)]
    assert heard[-1].left == 0 and heard[0].left > 0 and heard[-1].tokens_per_second > heard[-1].texts_per_second


def test_an_empty_shard_and_a_blank_text(tmp_path: Path) -> None:
    assert encode(shard(tmp_path, []), tmp_path, Letters())["texts"] == 0
    assert np.load(tmp_path / "vectors.npy").shape == (0, 8)
    assert len(Vectors.open([tmp_path / "vectors.npy"])) == 0
    assert encode(shard(tmp_path, [("", False), ("a", False)]), tmp_path, Letters())["blank"] == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(FormatError, match=r"NaN or infinity for 1 of 2 texts, first: '甲甲'"):
        encode(shard(tmp_path, MIXED), tmp_path, Letters(spoil=value))
    assert not (tmp_path / "vectors.npy").exists()


def test_a_dimension_that_is_not_the_promised_one_is_refused(tmp_path: Path) -> None:
    odd = Letters()
    odd.dimension = 8
    odd.encode = lambda texts, document, listen=None: np.zeros((len(texts), 7), np.float32)  # type: ignore[method-assign]
    with pytest.raises(FormatError, match=r"vectors of shape \(2, 7\), not \(2, 8\)"):
        encode(shard(tmp_path, MIXED), tmp_path, odd)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """np.save writes through the file system; here it says what a full disk says."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "vectors.npy")

    monkeypatch.setattr(np, "save", full)
    path = shard(tmp_path, MIXED)
    with pytest.raises(StoreError, match=r"the disk is full\. Cure: free some space"):
        Store(tmp_path / "store").run("encode", "k", lambda out: encode(path, out, Letters()))
    assert Store(tmp_path / "store").find("encode", "k") is None


def files(folder: Path, sizes: Sequence[int], dimension: int = 5) -> tuple[list[Path], npt.NDArray[np.float16]]:
    random_rows = np.random.default_rng(1).standard_normal((sum(sizes), dimension)).astype(np.float16)
    paths, start = [], 0
    for number, size in enumerate(sizes):
        paths.append(folder / f"{number}.npy")
        np.save(paths[-1], random_rows[start : start + size])
        start += size
    return paths, random_rows


def test_several_files_are_one_matrix(tmp_path: Path) -> None:
    paths, rows = files(tmp_path, [3, 0, 4, 1])
    vectors = Vectors.open(paths)
    assert (len(vectors), vectors.dimension) == (8, 5)
    ids = random.Random(2).choices(range(8), k=40)
    assert (vectors.take(np.array(ids, np.uint32)) == rows[ids].astype(np.float32)).all()
    assert vectors.take([]).shape == (0, 5)
    blocks = list(vectors.blocks(3))
    assert [start for start, _ in blocks] == [0, 3, 6]
    assert (np.concatenate([block for _, block in blocks]) == rows.astype(np.float32)).all()
    for wrong in ([8], [-1]):
        with pytest.raises(IndexError, match="ids from 0 to 7"):
            vectors.take(wrong)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    paths, rows = files(tmp_path, [3, 4])
    whole = paths[1].read_bytes()
    for size in (0, 5, len(whole) // 2, len(whole) - 1):
        paths[1].write_bytes(whole[:size])
        with pytest.raises(FormatError, match=r"1\.npy: it is no whole \.npy file"):
            Vectors.open(paths)
    paths[1].unlink()
    with pytest.raises(FormatError, match="there is no such file"):
        Vectors.open(paths)
    for spoilt in (np.nan, np.inf, -np.inf):
        bad = rows[3:].copy()
        bad[2, 4] = spoilt
        np.save(paths[1], bad)
        with pytest.raises(FormatError, match="row 2 holds NaN or infinity"):
            Vectors.open(paths)
    np.save(paths[1], rows[3:, :4])
    with pytest.raises(FormatError, match=r"its vectors have 4 dimensions, those of .*0\.npy 5"):
        Vectors.open(paths)
    np.save(paths[1], rows[3:].astype(np.float32))
    with pytest.raises(FormatError, match="it holds no float16 matrix"):
        Vectors.open(paths)


def test_a_truncated_shard_is_made_again(tmp_path: Path) -> None:
    path, store, runs = shard(tmp_path, MIXED), Store(tmp_path / "store"), []

    def work(out: Path) -> dict[str, object]:
        runs.append(out)
        return encode(path, out, Letters())

    first = store.run("encode", "k", work)
    whole = (first.path / "vectors.npy").read_bytes()
    assert store.run("encode", "k", work).cached and len(runs) == 1
    (first.path / "vectors.npy").chmod(0o644)
    (first.path / "vectors.npy").write_bytes(whole[:-10])
    again = store.run("encode", "k", work)
    assert not again.cached and len(runs) == 2
    assert (again.path / "vectors.npy").read_bytes() == whole


def test_shards_take_turns_on_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shard n of a pool is encoded on GPU n modulo their number, and its vectors stand at its place."""
    monkeypatch.setattr(sys.modules["pipeline.encode.pool"], "SHARD_TEXTS", 2)
    monkeypatch.setattr("pipeline.encode.device.gpus", lambda: 3)
    opened: dict[int, str] = {}

    def opening(_manifest: object, _home: Path, *, shard: int, cache: Path) -> Letters:
        opened[shard] = device_of(shard)
        return Letters()

    monkeypatch.setattr("pipeline.encode.open_encoder", opening)
    rows = [{"text": f"问题{n}", "text_pos": f"回答{n}", "text_neg": []} for n in range(8)]
    pl.DataFrame(rows, schema_overrides={"text_neg": pl.List(pl.String)}).write_parquet(tmp_path / "data.parquet")
    store = Store(tmp_path / "store")
    made = store.run("pool", "0" * 64, lambda out: pool([tmp_path / "data.parquet"], [], out, one_side=True))
    context = SimpleNamespace(
        encoders={"letters": (SimpleNamespace(source=None), tmp_path)}, store=store, rehearsal=False, encoded=silent
    )
    entries = encode_step(context, "one", "letters", SimpleNamespace(address=dict), made)  # type: ignore[arg-type]
    assert len(entries) == len(made.files) == 8
    assert opened == {n: f"cuda:{n % 3}" for n in range(8)}
    texts = [pl.read_parquet(path)["text"].to_list() for path in made.paths("pool-*.parquet")]
    for some, entry in zip(texts, entries, strict=True):
        want = [Letters().encode([text], False)[0].astype(np.float16) for text in some]
        assert np.array_equal(np.load(entry.path / "vectors.npy"), np.array(want).reshape(-1, 8))
