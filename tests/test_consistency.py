"""Ranks against a full float64 matrix and plain loops: made-up corpora full of ties, and real ones."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import Letters, manifest, tiny_model

from pipeline.consistency import consistency
from pipeline.encode import Encoder, Vectors, encode, open_encoder, pool
from pipeline.encode.blocks import Candidates, count_on_device, exact, slack
from pipeline.errors import FormatError
from pipeline.manifest.settings import ConsistencyConfig
from pipeline.record import CONSISTENCY_SCHEMA

Pairs = Sequence[tuple[str, str]]
Stored = dict[tuple[str, bool], npt.NDArray[np.float16]]


def shards_of(folder: Path, pairs: Pairs) -> list[Path]:
    """Two text shards with the columns that are read."""
    half = len(pairs) // 2
    for number, part in enumerate((pairs[:half], pairs[half:])):
        rows = [{"text": text, "text_pos": pos, "text_neg": []} for text, pos in part]
        schema = pa.schema([("text", pa.string()), ("text_pos", pa.string()), ("text_neg", pa.list_(pa.string()))])
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"text-{number:05d}.parquet")
    return sorted(folder.glob("text-*"))


def ranked(
    folder: Path, pairs: Pairs, encoder: Encoder, *, symmetric: bool, one_side: bool, **config: Any
) -> tuple[list[int], list[float], dict[str, Any], Stored]:
    text = shards_of(folder, pairs)
    pool(text, [], folder, one_side=one_side)
    vectors = []
    for shard in sorted(folder.glob("pool-*.parquet")):
        (folder / shard.stem).mkdir()
        encode(shard, folder / shard.stem, encoder)
        vectors.append(folder / shard.stem / "vectors.npy")
    (folder / "marks").mkdir()
    told = ConsistencyConfig(encoder="e", **config)
    receipt = consistency(
        text, sorted(folder.glob("pool-*.parquet")), vectors, folder / "marks", told, symmetric=symmetric, device="cpu"
    )
    tables = [pq.read_table(path) for path in sorted((folder / "marks").iterdir())]
    assert [table.num_rows for table in tables] == [pq.read_metadata(path).num_rows for path in text]
    assert all(table.schema.equals(CONSISTENCY_SCHEMA) for table in tables)
    marks = pa.concat_tables(tables)
    assert marks["reason"].null_count == marks["similarity"].null_count == len(pairs) == receipt["records"]
    stored = {
        (row["text"], row["document"]): vector
        for shard, path in zip(sorted(folder.glob("pool-*.parquet")), vectors, strict=True)
        for row, vector in zip(pq.read_table(shard).to_pylist(), np.load(path), strict=True)
    }
    return marks["rank"].to_pylist(), marks["score"].to_pylist(), receipt, stored


def plainly(pairs: Pairs, stored: Stored, *, symmetric: bool, one_side: bool) -> tuple[list[int], list[float]]:
    """The rule in words: count the distinct texts, none of them known to belong to it, that are strictly nearer."""

    def one_way(pairs: Pairs, *, other: bool) -> tuple[list[int], list[float]]:
        asked, wanted = sorted({a for a, _ in pairs}), sorted({b for _, b in pairs})
        left, right = (
            np.stack([stored[text, document] for text in side]).astype(np.float64)
            for side, document in ((asked, False), (wanted, other))
        )
        cosines = left @ right.T
        belongs = {a: {a} | {b for x, b in pairs if x == a} for a in asked}
        ranks, scores = [], []
        for a, b in pairs:
            row = cosines[asked.index(a)]
            mine = row[wanted.index(b)]
            ranks.append(1 + sum(row[j] > mine and x not in belongs[a] for j, x in enumerate(wanted)))
            scores.append(float(mine))
        return ranks, scores

    ranks, scores = one_way(pairs, other=not one_side)
    if symmetric:
        back, _ = one_way([(b, a) for a, b in pairs], other=False)
        ranks = [max(both) for both in zip(ranks, back, strict=True)]
    return ranks, scores


words = st.text("abcdefg", min_size=1, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=25), st.sampled_from(["one", "both", "symmetric"]))
def test_equal_to_plain_loops(pairs: list[tuple[str, str]], kind: str) -> None:
    """Texts of the same letters have the same vector, so there are ties everywhere."""
    told = {"symmetric": kind == "symmetric", "one_side": kind != "both"}
    with tempfile.TemporaryDirectory() as folder:
        ranks, scores, receipt, stored = ranked(Path(folder), pairs, Letters(5), **told)
    want, cosines = plainly(pairs, stored, **told)
    assert ranks == want
    assert np.allclose(scores, cosines, rtol=0, atol=1e-7)
    assert receipt["within"]["5"] == sum(rank <= 5 for rank in want)
    assert (receipt["pairs"], receipt["pool"]) == (len(set(pairs)), len({pos for _, pos in pairs}))


def real_pairs(folder: Path, name: str) -> list[tuple[str, str]]:
    if name == "cmrc2018":
        told = pl.read_parquet(folder / "cmrc2018/hf/default/validation.parquet").head(400)
        return list(zip(told["question"].to_list(), told["context"].to_list(), strict=True))
    told = pl.concat([pl.read_parquet(path) for path in sorted((folder / "lcqmc/hf").rglob("*.parquet"))])
    told = told.filter(pl.col(told.columns[2]).cast(pl.Int64) == 1).head(400)
    return list(zip(told[told.columns[0]].to_list(), told[told.columns[1]].to_list(), strict=True))


@pytest.mark.parametrize(("name", "symmetric"), [("cmrc2018", False), ("lcqmc", True)])
def test_equal_to_plain_loops_on_real_corpora(
    real_corpora: Path, tmp_path: Path, name: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    monkeypatch.setattr("pipeline.consistency.QUERY_ROWS", 128)
    monkeypatch.setattr("pipeline.encode.blocks.BLOCK_ROWS", 100)
    pairs = real_pairs(real_corpora, name)
    tiny_model(tmp_path / "model", [text for pair in pairs for text in pair], prompts={"query": "1 ", "document": "2 "})
    encoder = open_encoder(manifest(tmp_path / "model"), tmp_path, device="cpu")
    told = {"symmetric": symmetric, "one_side": symmetric}
    ranks, scores, _, stored = ranked(tmp_path, pairs, encoder, **told)
    want, cosines = plainly(pairs, stored, **told)
    assert ranks == want
    assert np.allclose(scores, cosines, rtol=0, atol=1e-7)
    assert min(ranks) == 1 and max(ranks) > 20


def test_a_capped_pool_is_drawn_by_seed(tmp_path: Path) -> None:
    drawn = np.random.default_rng(3)
    letters = "abcdefghijklmnop"
    pairs = [tuple("".join(drawn.choice(list(letters), 6)) for _ in "ab") for _ in range(120)]
    told: dict[str, Any] = {"symmetric": False, "one_side": True}
    found = {}
    for name, config in (
        ("all", {}),
        ("a", {"max_pool": 40}),
        ("b", {"max_pool": 40}),
        ("c", {"max_pool": 40, "seed": 1}),
    ):
        (tmp_path / name).mkdir()
        ranks, _, receipt, _ = ranked(tmp_path / name, pairs, Letters(), **told, **config)  # type: ignore[arg-type]
        found[name] = np.array(ranks)
        assert receipt["pool"] == (120 if name == "all" else 40)
    assert (found["a"] == found["b"]).all() and (found["a"] != found["c"]).any()
    assert (found["a"] <= found["all"]).all() and (found["a"] >= 1).all()
    # A third of the texts hold about a third of those that are nearer.
    assert 0.2 < (found["a"] - 1).sum() / (found["all"] - 1).sum() < 0.5


def rows(count: int, dimension: int, seed: int) -> npt.NDArray[np.float16]:
    """Rows of length 1 as they are stored; the last third repeats the first, the middle is off by one unit."""
    made = np.random.default_rng(seed).standard_normal((count, dimension))
    made[-count // 3 :] = made[: count - (count - count // 3)]
    stored = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)
    middle = slice(count // 3, count // 3 + 20)
    stored[middle] = stored[:20]
    stored[middle, 0] = np.nextafter(stored[middle, 0], np.float16(2))
    return stored


@pytest.mark.parametrize("dimension", [16, 384])
def test_counts_are_exact_here_and_as_on_a_gpu(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("pipeline.encode.blocks.BLOCK_ROWS", 100)
    stored = rows(330, dimension, dimension)
    vectors = Vectors([stored[:200], stored[200:]], dimension)
    ids = np.arange(0, 330)
    of = np.repeat(np.arange(60), 3)
    targets = np.random.default_rng(1).integers(0, 330, len(of))
    full = stored.astype(np.float64) @ stored.astype(np.float64).T
    scores = exact(vectors, of, targets)
    assert (scores == full[of, targets]).all()
    want = (full[of] > scores[:, None]).sum(axis=1)
    queries = vectors.take(np.arange(60))
    assert (Candidates(vectors, ids, "cpu").count_above(queries, of, scores) == want).all()
    there = torch.from_numpy(stored)
    for off in (slack(dimension, "cpu"), slack(dimension, "cuda:0"), 0.01):
        assert (count_on_device(there, queries, of, scores, off) == want).all()
    # float32 alone would not do: some of these scores differ by less than it can tell.
    single = queries @ stored.astype(np.float32).T
    assert (np.abs(single - full[:60]).max() <= slack(dimension, "cpu")).all()


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    pairs = [("ab", "cd"), ("ef", "gh")]
    for name in "ab":
        (tmp_path / name).mkdir()
    ranked(tmp_path / "a", pairs, Letters(), symmetric=False, one_side=True)
    told = ConsistencyConfig(encoder="e")
    pools, vectors = [tmp_path / "a/pool-00000.parquet"], [tmp_path / "a/pool-00000/vectors.npy"]
    other = shards_of(tmp_path / "b", [("ab", "cd"), ("ef", "zz")])
    with pytest.raises(FormatError, match=r"text-00001.parquet: the pool does not hold the texts of row 0"):
        consistency(other, pools, vectors, tmp_path / "b", told, symmetric=False)
    np.save(tmp_path / "short.npy", np.zeros((3, 8), np.float16))
    with pytest.raises(FormatError, match="4 texts of the pool have 3 vectors"):
        consistency(other, pools, [tmp_path / "short.npy"], tmp_path / "b", told, symmetric=False)


def test_an_empty_corpus_has_empty_marks(tmp_path: Path) -> None:
    ranks, scores, receipt, _ = ranked(tmp_path, [], Letters(), symmetric=True, one_side=True)
    assert ranks == scores == [] and receipt["records"] == receipt["pool"] == 0
