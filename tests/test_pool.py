"""The pool against a plain Python set of texts."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encode import PoolIndex, pool
from pipeline.errors import FormatError
from pipeline.record import POOL_SCHEMA

#: The function `pool` hides the module of its name.
module = importlib.import_module("pipeline.encode.pool")
RECORDS = pa.schema([("text", pa.string()), ("text_pos", pa.string()), ("text_neg", pa.list_(pa.string()))])
LABELLED = pa.schema([("text", pa.string()), ("other", pa.string())])
words = st.text("甲乙丙abc ", min_size=1, max_size=3)
records = st.lists(
    st.fixed_dictionaries({"text": words, "text_pos": words, "text_neg": st.lists(words, max_size=2)}), max_size=12
)
judged = st.lists(st.fixed_dictionaries({"text": words, "other": words}), max_size=6)


def made(folder: Path, rows: list[Any], labelled: list[Any], *, one_side: bool) -> tuple[list[Path], dict[str, Any]]:
    """Two data shards and one labelled file, pooled below `folder`."""
    half = len(rows) // 2
    for name, part in (("a", rows[:half]), ("b", rows[half:])):
        pq.write_table(pa.Table.from_pylist(part, RECORDS), folder / f"{name}.parquet")
    pq.write_table(pa.Table.from_pylist(labelled, LABELLED), folder / "labelled.parquet")
    out = folder / "pool"
    out.mkdir()
    data = [folder / "a.parquet", folder / "b.parquet"]
    receipt = pool(data, [folder / "labelled.parquet"], out, one_side=one_side)
    assert sorted(path.suffix for path in out.iterdir()) == [".parquet"] * receipt["shards"]
    return sorted(out.iterdir()), receipt


def expected(rows: list[Any], labelled: list[Any], *, one_side: bool) -> set[tuple[str, bool]]:
    told = {(row["text"], False) for row in [*rows, *labelled]}
    others = [x for row in rows for x in (row["text_pos"], *row["text_neg"])] + [row["other"] for row in labelled]
    return told | {(x, not one_side) for x in others}


@settings(max_examples=25, deadline=None)
@given(records, judged, st.booleans(), st.sampled_from([1, 4, 1000]))
def test_every_text_once_by_hash(rows: list[Any], labelled: list[Any], one_side: bool, size: int) -> None:
    want = expected(rows, labelled, one_side=one_side)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_TEXTS", size)
        paths, receipt = made(Path(folder), rows, labelled, one_side=one_side)
        tables = [pq.read_table(path) for path in paths]
        assert all(table.schema.equals(POOL_SCHEMA) for table in tables)
        assert len(paths) == receipt["shards"] == 1 << max(0, int(np.ceil(np.log2(max(len(want), 1) / size))))
        bits = len(paths).bit_length() - 1
        for shard, table in enumerate(tables):
            hashes = [xxhash.xxh3_64_intdigest(text.encode()) for text in table["text"].to_pylist()]
            assert all(h >> (64 - bits) == shard for h in hashes) and hashes == sorted(hashes)
        found = [(row["text"], row["document"]) for table in tables for row in table.to_pylist()]
        assert set(found) == want and len(found) == len(want) == receipt["texts"]
        index = PoolIndex(paths)
        for document in (False, True):
            asked = [text for text, _ in found] + ["nowhere"]
            places = index.find(pl.Series(asked), document=document).tolist()
            assert places == [found.index((t, document)) if (t, document) in want else -1 for t in asked]


def test_texts_that_share_a_hash_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """xxh3-64 collides once in 10^19 pairs, so it is replaced by the length, which collides all the time."""
    monkeypatch.setattr(module, "text_hash", lambda texts: texts.str.len_chars().cast(pl.UInt64).to_numpy())
    rows = [{"text": "aa", "text_pos": "bb", "text_neg": ["cc", "d"]}, {"text": "bb", "text_pos": "aa", "text_neg": []}]
    paths, receipt = made(tmp_path, rows, [], one_side=False)
    found = [(row["text"], row["document"]) for row in pq.read_table(paths[0]).to_pylist()]
    assert set(found) == expected(rows, [], one_side=False) and receipt["texts"] == 6
    index = PoolIndex(paths)
    for document in (False, True):
        asked = ["aa", "bb", "cc", "d", "zz"]
        places = index.find(pl.Series(asked), document=document).tolist()
        assert places == [found.index((t, document)) if (t, document) in found else -1 for t in asked]


def test_a_new_text_changes_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_TEXTS", 20)
    rows = [{"text": f"问{i}", "text_pos": f"答{i}", "text_neg": []} for i in range(60)]
    for name, more in (("before", []), ("after", [{"text": "新", "text_pos": "答1", "text_neg": []}])):
        (tmp_path / name).mkdir()
        made(tmp_path / name, rows + more, [], one_side=True)
    before, after = ([p.read_bytes() for p in sorted((tmp_path / n / "pool").iterdir())] for n in ("before", "after"))
    assert len(before) == len(after) == 8
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_an_empty_corpus_has_an_empty_shard(tmp_path: Path) -> None:
    paths, receipt = made(tmp_path, [], [], one_side=True)
    assert receipt == {"texts": 0, "documents": 0, "shards": 1, "values": 0}
    index = PoolIndex(paths)
    assert len(index) == 0 and index.find(pl.Series(["a"]), document=False).tolist() == [-1]


def test_a_pool_out_of_order_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"text": t, "document": False} for t in "ab"], POOL_SCHEMA)
    pq.write_table(table, tmp_path / "pool-00000.parquet")
    pq.write_table(table.take([1, 0]), tmp_path / "pool-00001.parquet")
    with pytest.raises(FormatError, match="in the order of their hashes"):
        PoolIndex([tmp_path / "pool-00000.parquet", tmp_path / "pool-00001.parquet"])
