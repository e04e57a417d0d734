"""Claim: search of hard negatives with every filter on takes at most 1.3 times a bare blocked matrix product.

The bare product is numpy's, block by block, with nothing looked at. Vectors are random directions, each query with forty
planted neighbours, so that positives, limits and bans mean something. Beside it stand faiss (flat, no filters) and
sentence-transformers' `mine_hard_negatives`, whose encoder is a table look-up here: what is timed is its search and what
Python does around it. Memory is measured in a process of its own, through the whole stage, over texts on disk.

On a GPU the claim is 40 % of its bf16 peak, of the 2 n m d operations of a product. The whole search is told, and by themselves
the plain product in blocks and the first pass of the kernel, which does all of these operations and what is chosen by.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from benchmarks.measure import (
    ROOT,
    Table,
    child_environment,
    cpu_seconds,
    gpu_peak,
    peak_bytes,
    times,
    wall_seconds,
)

PAIRS = 4000
#: Candidates by dimension: about one work.
CANDIDATES = {768: 50_000, 256: 150_000}
MEMORY_TEXTS, MEMORY_PAIRS = 1_000_000, 1000
#: Queries, candidates and dimension on a GPU.
ON_GPU = 16_384, 1_000_000, 768
KEEP, NEGATIVES, NEIGHBOURS = 100, 7, 40
FILTERED = "search, all filters"
BAR, BAR_BYTES, BAR_PEAK = 1.3, 6 << 30, 0.4


def run(pairs: int = PAIRS) -> Table:
    """So many queries against 50,000 candidates of 768 dimensions, 150,000 of 256 (fewer queries, fewer candidates)."""
    table = Table(f"mine: {pairs:,} queries, best {KEEP}", ("", "CPU-s", "against the product"))
    for work in _sides(60, 2000, 32)[0].values():  # compiles
        work()
    for dimension, most in CANDIDATES.items():
        candidates = min(most, 38 * pairs)
        sides, once, notes = _sides(pairs, candidates, dimension)
        taken = cpu_seconds(sides) | cpu_seconds(once, 1)
        bare = taken["product"]
        for name, seconds in taken.items():
            bar = BAR if name.startswith(FILTERED) else None
            told = "" if name == "product" else f"{seconds / bare:.2f}x" if bar else times(seconds / bare)
            held = None if bar is None or pairs < PAIRS else seconds <= bar * bare
            line = f"{name}, {dimension}-d, {candidates:,} candidates"
            table.add(line, f"{seconds:.2f}", told, bar=f"{bar}x" if bar else "", holds=held)
        table.notes += notes
    texts = MEMORY_TEXTS if pairs >= PAIRS else 20 * pairs
    told = _memory(texts, min(pairs, MEMORY_PAIRS))
    peak = told["peak_bytes"]
    held = peak <= BAR_BYTES if texts >= MEMORY_TEXTS else None
    table.add(f"peak MiB, {texts:,} texts, 256-d", f"{peak / 2**20:,.0f}", "", bar=f"{BAR_BYTES >> 20:,}", holds=held)
    table.notes.append(
        f"memory: {told['texts']:,} texts searched, fill {told['fill']:.0%}; before: {told['start_bytes'] / 2**20:,.0f} MiB"
    )
    from pipeline.encode import device_of, gpus

    if gpus():
        _on_device(table, device_of(), *ON_GPU, *gpu_peak())
    else:
        table.notes.append("on a GPU: not measured: no GPU")
    return table.show()


def planted(queries: int, candidates: int, dimension: int, seed: int = 0) -> tuple[npt.NDArray[np.float16], ...]:
    """float16 queries and candidates of length 1: random directions, NEIGHBOURS candidates near each query."""
    draw = np.random.default_rng(seed)
    q = draw.standard_normal((queries, dimension), dtype=np.float32)
    c = draw.standard_normal((candidates, dimension), dtype=np.float32)
    for k in range(min(NEIGHBOURS, candidates // queries)):
        # Each neighbour a little further off, from a cosine of 0.78 down to 0.53.
        noise = draw.standard_normal((queries, dimension), dtype=np.float32)
        c[k * queries : (k + 1) * queries] = q + (0.8 + 0.02 * k) * noise
    c = c[draw.permutation(candidates)]
    halves = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (q, c))
    return tuple(rows.astype(np.float16) for rows in halves)


class _Rows:
    def __init__(self, rows: npt.NDArray[np.float16]) -> None:
        self.rows = rows

    def take(self, ids: npt.NDArray[np.int64], /) -> npt.NDArray[np.float32]:
        return self.rows[ids].astype(np.float32)


class _Task:
    """A search with bans and limits among planted neighbours."""

    def __init__(self, pairs: int, candidates: int, dimension: int, device: str | None = None) -> None:
        from pipeline.mine.csr import Csr
        from pipeline.mine.search import Wanted
        from pipeline.mine.side import Side

        self.q, self.c = planted(pairs, candidates, dimension)
        draw = np.random.default_rng(1)
        self.queries = Side(_Rows(self.q), np.arange(pairs), dimension)
        self.among = Side(_Rows(self.c), np.arange(candidates), dimension, hold=True, device=device)
        self.bans = Csr.of(np.repeat(np.arange(pairs), 8), draw.integers(0, candidates, 8 * pairs), pairs)
        self.wanted = Wanted(KEEP, NEGATIVES, np.arange(pairs + 1), draw.uniform(0.4, 0.7, pairs))

    def search(self, vetoes: Sequence[Any] = (), *, binary: bool = False) -> list[Any]:
        from pipeline.mine.csr import Csr
        from pipeline.mine.search import ROWS, Search

        # Drawn in no order, as a pool is.
        look = Search(self.among, self.wanted, vetoes, binary=binary, shuffled=True)
        found = []
        for lo in range(0, len(self.q), ROWS):
            rows = np.arange(lo, min(lo + ROWS, len(self.q)))
            owner, items = self.bans.rows(rows)
            found.append(look(self.queries, rows, Csr.sorted(owner, items, len(rows))))
        return found


def _on_device(
    table: Table, device: str, n: int, m: int, dimension: int, name: str, peak: float | None, repeats: int = 3
) -> None:
    """Seconds by the clock, and the share of a device's peak."""
    import torch

    from pipeline.encode.nearest import COLUMNS
    from pipeline.encode.tensors import products
    from pipeline.encode.tiles import kernel_on
    from pipeline.mine.search import ROWS

    task = _Task(n, m, dimension, device)
    queries, rows = (torch.from_numpy(part).to(device) for part in (task.q, task.c))
    tops = kernel_on(device, dimension)

    def product() -> None:
        for asked in queries.split(ROWS):
            for block in rows.split(COLUMNS):
                products(asked, block)

    def first_pass() -> None:
        for asked in queries.split(ROWS):
            tops(asked, rows)

    def done(work: Callable[[], Any]) -> Callable[[], None]:
        def whole() -> None:
            work()
            if device != "cpu":
                torch.cuda.synchronize(device)

        return whole

    works = {"product": product, FILTERED: task.search} | ({"first pass": first_pass} if tops else {})
    sides = {side: done(work) for side, work in works.items()}
    for work in sides.values():
        work()
    for side, seconds in wall_seconds(sides, repeats).items():
        rate = 2.0 * n * m * dimension / seconds
        share = "" if peak is None else f"{rate / peak:.0%} of {name}'s bf16 peak"
        bar = side.startswith("search") and peak is not None
        holds = rate >= BAR_PEAK * peak if bar and peak is not None else None
        told = f"{seconds:.3f} s, {rate / 1e12:.3g} TFLOP/s"
        table.add(f"{side} on {device}", told, share, bar=f"{BAR_PEAK:.0%}" if bar else "", holds=holds)
    near = task.among.there
    assert near is not None
    table.notes.append(
        f"on {device}: {n:,} queries, {m:,} candidates, {dimension}-d, by the clock; of {near.met:,} queries in first "
        f"passes {near.unsettled:,} were not settled" + ("" if tops else "; without Triton")
    )


def _sides(
    pairs: int, candidates: int, dimension: int
) -> tuple[dict[str, Callable[[], Any]], dict[str, Callable[[], Any]], list[str]]:
    """What is compared, what is run only once because it has no bar and is slow, and notes."""
    from pipeline.mine.search import COLUMNS, ROWS, Veto
    from pipeline.mine.side import Side

    task = _Task(pairs, candidates, dimension)
    q, c, among = task.q, task.c, task.among
    left, right = q.astype(np.float32), c.astype(np.float32)
    room = np.empty(ROWS * COLUMNS, np.float32)

    def product() -> None:
        for lo in range(0, pairs, ROWS):
            for at in range(0, candidates, COLUMNS):
                a, b = left[lo : lo + ROWS], right[at : at + COLUMNS]
                np.matmul(a, b.T, out=room[: len(a) * len(b)].reshape(len(a), len(b)))

    # The middle of each query and of one more neighbour of it; what lies nearer to it than 0.6 is out: some dozens.
    draw = np.random.default_rng(2)
    noise = draw.standard_normal((pairs, dimension), dtype=np.float32) / dimension**0.5
    middles = Side(_Rows((left + (left + 0.8 * noise) / 1.28) / 2), np.arange(pairs), dimension)
    both = Veto(middles, among, np.full(pairs, 0.6))

    sides: dict[str, Callable[[], Any]] = {
        "product": product,
        FILTERED: task.search,
        f"{FILTERED}, seen from the positive too": lambda: task.search([both]),
    }
    once: dict[str, Callable[[], Any]] = {"search by signs": lambda: task.search(binary=True)}
    exact, signs = (
        np.concatenate(
            [
                np.repeat(f.rows, np.diff(f.offsets))[f.ranks <= KEEP] << 32 | f.at[f.ranks <= KEEP]
                for f in task.search(binary=b)
            ]
        )
        for b in (False, True)
    )
    notes = [f"{dimension}-d: by signs {np.isin(exact, signs).mean():.1%} of the nearest {KEEP} are found"]
    try:
        import faiss

        index = faiss.IndexFlatIP(dimension)
        index.add(right)
        faiss.omp_set_num_threads(1)
        once["faiss flat, no filters"] = lambda: index.search(left, KEEP)
    except ImportError:
        notes.append("faiss is not installed; pip install -c constraints.txt -e '.[bench]' adds its line")
    try:
        once["mine_hard_negatives"] = _reference(left, right)
    except ImportError:
        notes.append("sentence-transformers is not installed; the extra `mine` adds its line")
    return sides, once, notes


def _reference(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> Callable[[], Any]:
    """sentence-transformers end to end, over the same vectors, with the nearest thing to our rule."""
    os.environ["TQDM_DISABLE"] = "1"  # its bars ignore `verbose`
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    torch.set_num_threads(1)

    class Table_(torch.nn.Module):  # type: ignore[misc]
        def preprocess(self, inputs: list[str], **_: Any) -> dict[str, Any]:
            rows = [(left if text[0] == "q" else right)[int(text[1:])] for text in inputs]
            return {"sentence_embedding": torch.from_numpy(np.stack(rows))}

        tokenize = preprocess

        def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
            return features

    model = SentenceTransformer(modules=[Table_()], device="cpu")
    pairs = Dataset.from_dict(
        {"text": [f"q{i}" for i in range(len(left))], "text_pos": [f"c{i}" for i in range(len(left))]}
    )
    corpus = [f"c{i}" for i in range(len(right))]
    return lambda: mine_hard_negatives(
        pairs,
        model,
        corpus=corpus,
        num_negatives=NEGATIVES,
        relative_margin=0.05,
        range_max=KEEP,
        batch_size=1024,
        verbose=False,
    )


def _memory(texts: int, pairs: int) -> dict[str, Any]:
    """Half of the texts are questions of records, half their positives; so many of the questions are searched for."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), texts, pairs)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.mine", folder],
            cwd=ROOT,
            env=child_environment(),
            check=True,
            stdout=subprocess.PIPE,
        )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _write(folder: Path, texts: int, pairs: int) -> None:
    """`texts` distinct positives of `pairs` questions' records, 256-d vectors on disk, evidence in which nothing is near."""
    from pipeline.encode.pool import pool, text_hash
    from pipeline.record import DATA_SCHEMA, EVIDENCE_SCHEMA
    from pipeline.shards import ShardWriter

    ids = pl.int_range(texts, eager=True)
    frame = pl.DataFrame({"n": ids}).select(
        pl.format("{}", pl.col("n").cast(pl.String).str.zfill(32)).alias("record_id"),
        pl.format("问题第{}号", pl.col("n") % pairs).alias("text"),
        pl.format("回答第{}号", "n").alias("text_pos"),
        pl.lit([], pl.List(pl.String)).alias("text_neg"),
        pl.col("n").cast(pl.UInt64).alias("doc_group"),
        pl.lit(True).alias("kept"),
        pl.col("n").cast(pl.UInt64).alias("class_id"),
        pl.col("n").cast(pl.UInt64).alias("cluster"),
        *(pl.lit([], pl.List(pl.String)).alias(c) for c in ("flags", "also_in")),
        *(
            pl.lit("").alias(c)
            for c in (
                "corpus",
                "sub_source",
                "split",
                "row",
                "prompt",
                "prompt_pos",
                "licence_id",
                "commercial",
                "redistribute",
            )
        ),
        *(pl.lit(None, pl.Float32).alias(c) for c in ("score", "quality_score")),
    )
    for side in ("text", "pos"):
        hashes = pl.Series(text_hash(frame["text" if side == "text" else "text_pos"]))
        frame = frame.with_columns(hashes.alias(f"{side}_key"), hashes.alias(f"{side}_group"))
    for kind, schema in (("train", DATA_SCHEMA), ("evidence", EVIDENCE_SCHEMA)):
        with ShardWriter(folder, kind, schema, 1 << 62) as writer:
            table = frame.select(schema.names).to_arrow(compat_level=pl.CompatLevel.oldest())
            writer.write(pa.Table.from_batches(table.to_batches()).cast(schema))
    (folder / "pool").mkdir()
    pool([folder / "train-00000.parquet"], [], folder / "pool", one_side=True)
    draw = np.random.default_rng(0)
    questions = draw.standard_normal((pairs, 256), dtype=np.float32)
    for path in sorted((folder / "pool").glob("*.parquet")):
        told = pl.read_parquet(path)["text"]
        number = told.str.extract(r"(\d+)").cast(pl.Int64).to_numpy()
        # An answer lies near its question, at a cosine of about 0.7.
        noise = draw.standard_normal((len(told), 256), dtype=np.float32)
        rows = questions[number % pairs] + noise * told.str.starts_with("回答").to_numpy()[:, None]
        np.save(path.with_suffix(".npy"), (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16))


def _measure(folder: Path) -> dict[str, Any]:
    from pipeline.manifest.settings import MineConfig, RuleConfig
    from pipeline.mine import Known, MineInput, mine

    start = peak_bytes()
    pools = sorted((folder / "pool").glob("*.parquet"))
    given = MineInput(
        "bench", False, [folder / "train-00000.parquet"], [], pools, [path.with_suffix(".npy") for path in pools]
    )
    (folder / "out").mkdir()
    known = Known("bench", False, folder / "evidence-00000.parquet")
    told = mine([given], [known], folder / "out", MineConfig(yardstick_texts=0), RuleConfig())["corpora"]["bench"]
    fill = told["yardstick"]["fill"]
    return {"start_bytes": start, "peak_bytes": peak_bytes(), "texts": told["texts"], "fill": fill}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]))))
