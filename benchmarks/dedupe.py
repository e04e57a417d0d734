"""Claim: whole dedupe (read shards, keys, exact, near, verify, groups, resolve), pairs per CPU-second and peak memory.

It runs in a process of its own, so that the peak is that of dedupe and of nothing else. A small run goes first: loading
of libraries and of compiled kernels is told apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from benchmarks.measure import REPEATS, ROOT, Table, child_environment, cpu_seconds, peak_bytes, rate
from pipeline.dedupe import DedupeInput, dedupe
from pipeline.dedupe.bands import plan_of
from pipeline.licence import Rank, UseClass
from pipeline.manifest.settings import CapConfig, DedupeConfig
from pipeline.minhash import Keys, Pairs, permutations
from pipeline.minhash.compiled import kernel
from pipeline.minhash.signatures import minima
from pipeline.normalize import key_hash, match_key
from pipeline.record import TEXT_SCHEMA
from pipeline.resolve import ResolveConfig, ResolveInput, resolve
from pipeline.shards import ShardWriter

PAIRS = 200_000
WARM = 1_000
BAR_RATE = 50_000
BAR_BYTES, BAR_PAIRS = 4 << 30, 5_000_000
BAR_RECALL = 0.99
#: Planted pairs that are looked up.
LOOKED_UP = 20_000
#: What the parts of dedupe are called here.
STEPS = {
    "key_piece": "read, match keys, sign",
    "find_huge": "look for huge buckets",
    "find_pairs": "meet in bands",
    "verify": "verify",
}
#: Up to so many pairs REPEATS runs are made; the whole table is that of the median one.
REPEATED = 200_000
#: What the column `limit` holds: the least that work takes which no way of doing it can leave out, at this machine's rates.
LIMITS = (
    "limit: as many permutations as signed characters ask for, at the rate of the bare loop over hashes in cache,",
    "  and the bytes of a file, of every band (once to look, once to meet) and of candidates' keys, at that of a copy",
)


def run(pairs: int = PAIRS) -> Table:
    """Writes so many pairs as `convert` would, a quarter of them copies, and has a fresh process dedupe them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, count, seed in (("warm", min(pairs, WARM), 2), ("whole", pairs, 1)):
            (Path(folder) / name).mkdir()
            write_shards(Path(folder) / name, count, seed)
        runs = [_child(Path(folder)) for _ in range(REPEATS if pairs <= REPEATED else 1)]
    told = sorted(runs, key=lambda run: run["dedupe_s"] + run["resolve_s"])[len(runs) // 2]
    seconds = told["dedupe_s"] + told["resolve_s"]
    table = Table(
        f"dedupe: {pairs:,} pairs of 20 + 150 characters", ("", "CPU-s", "limit", "pairs per CPU-s"), notes=list(LIMITS)
    )
    for name, taken in (*told["steps"].items(), ("resolve", told["resolve_s"])):
        limit = told["limits"].get(name)
        table.add(name, f"{taken:.2f}", f"{limit:.2f}" if limit is not None else "", rate(pairs, taken))
    whole = pairs / seconds
    table.add("whole", f"{seconds:.2f}", "", rate(pairs, seconds), bar=f"{BAR_RATE:,}", holds=whole >= BAR_RATE)
    table.add("the same by the clock", f"{told['wall_s']:.2f} s", "", rate(pairs, told["wall_s"]))
    table.add(
        "planted pairs found from 0.8 on",
        f"{told['planted']:,}",
        "",
        f"{told['recall']:.4f}",
        bar=f"{BAR_RECALL:g}",
        holds=told["recall"] >= BAR_RECALL,
    )
    peak, start = told["peak_bytes"], told["start_bytes"]
    table.add(
        "peak memory, MiB",
        "",
        "",
        f"{peak / 2**20:,.0f}",
        bar=f"{BAR_BYTES >> 20:,} at {BAR_PAIRS:,}",
        holds=peak <= BAR_BYTES if pairs >= BAR_PAIRS else None,
    )
    table.notes += [
        f"the median of {len(runs)} runs" if len(runs) > 1 else "one run",
        f"before the first pair: {start / 2**20:,.0f} MiB, {told['start_s']:.1f} CPU-s of loading;"
        f" memory grows by {(peak - start) / pairs:,.0f} bytes a pair",
        f"{told['edges']:,} edges, {told['edges_at_threshold']:,} at the threshold, of {told['candidates']:,} candidates;"
        f" {told['kept'] / pairs:.1%} kept",
    ]
    return table.show()


def _child(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.dedupe", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=child_environment(), check=True, stdout=subprocess.PIPE)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def write_shards(
    folder: Path, count: int, seed: int, change: Callable[[pl.DataFrame], pl.DataFrame] | None = None
) -> None:
    """Text shards of made pairs with record ids and all columns; one batch in memory, `change`d if wanted."""
    from benchmarks import text
    from pipeline.convert.identity import Identities

    identities = Identities("bench")
    copies = []
    with ShardWriter(folder, "text", TEXT_SCHEMA) as writer:
        for number, made in enumerate(text.pairs(text.source(), count, seed=seed)):
            copies.append(made["copy_of"])
            frame = change(made.with_columns(number=pl.lit(number))) if change else made
            ids, leading = identities.assign(frame["text"], frame["text_pos"])
            empty, nothing = pl.lit(""), pl.lit(None, pl.Float32)
            rows = frame.select(
                pl.Series("record_id", ids),
                pl.lit("bench").alias("corpus"),
                *(empty.alias(name) for name in ("sub_source", "split", "row", "prompt", "prompt_pos")),
                "text",
                "text_pos",
                pl.lit([], pl.List(pl.String)).alias("text_neg"),
                pl.Series("doc_group", leading),
                *(nothing.alias(name) for name in ("score", "quality_score")),
            )
            table = rows.select(TEXT_SCHEMA.names).to_arrow(compat_level=pl.CompatLevel.oldest())
            writer.write(pa.Table.from_batches(table.to_batches()).cast(TEXT_SCHEMA))
    np.save(folder / "copies.npy", pl.concat(copies).to_numpy())


class _Timed:
    """Carries out the parts here, one after the other, and notes what each kind took."""

    parts = 1

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def map(self, work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
        began = time.process_time()
        found = [work(*part) for part in parts]
        self.seconds[STEPS[work.__name__]] += time.process_time() - began
        return found


def measure(folder: Path) -> dict[str, Any]:
    """What the child does: both stages over the small shards, then over the whole."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        out = Path(made)
        _both(folder / "warm", out / "warm")
        start_s, start_bytes = time.process_time(), peak_bytes()
        told = {"start_s": start_s, "start_bytes": start_bytes} | _both(folder / "whole", out / "whole")
        told |= _recall(folder / "whole", out / "whole" / "dedupe")
    return told | {"limits": _limits(folder / "whole", told["candidates"])}


def _both(shards: Path, out: Path) -> dict[str, Any]:
    texts = sorted(shards.glob("text-*.parquet"))
    for stage in ("dedupe", "resolve"):
        (out / stage).mkdir(parents=True)
    config, timed = DedupeConfig(), _Timed()
    began, clock = time.process_time(), time.perf_counter()
    found = dedupe([DedupeInput("bench", texts, symmetric=False, near=True)], out / "dedupe", config, timed)
    between = time.process_time()
    classes = sorted((out / "dedupe" / "classes" / "bench").glob("*.parquet"))
    rank = Rank(commercial=UseClass.ALLOWED, redistribute=UseClass.ALLOWED)
    judged = resolve(
        [ResolveInput("bench", "优", {"": rank}, texts, {}, classes)],
        out / "dedupe" / "edges.parquet",
        frozenset(),
        out / "resolve",
        ResolveConfig(threshold=config.threshold, cap=CapConfig()),
        out / "dedupe" / "crowds.parquet",
    )
    ended = time.process_time()
    edges = pl.scan_parquet(out / "dedupe" / "edges.parquet").filter(pl.col("similarity") >= config.threshold)
    return {
        **{name: found[name] for name in ("classes", "crowded", "edges")},
        "candidates": found["candidates"],
        "edges_at_threshold": edges.select(pl.len()).collect().item(),
        "steps": timed.seconds | {"reduces, groups, writing": between - began - sum(timed.seconds.values())},
        "dedupe_s": between - began,
        "resolve_s": ended - between,
        "wall_s": time.perf_counter() - clock,
        "kept": judged["corpora"]["bench"]["kept"],
        "peak_bytes": peak_bytes(),
    }


def _recall(shards: Path, out: Path, similarity: float = 0.8) -> dict[str, Any]:
    """The share of planted copies that dedupe joins, among the first that are that similar on both sides."""
    copies = np.load(shards / "copies.npy")
    rows = np.flatnonzero(copies >= 0)[:LOOKED_UP]
    ends = np.unique(np.concatenate([rows, copies[rows]]))
    texts = pl.scan_parquet(shards / "text-*.parquet").select("text", "text_pos").with_row_index("row")
    frame = texts.filter(pl.col("row").is_in(ends.tolist())).sort("row").collect()
    folded = match_key(pl.concat([frame["text"], frame["text_pos"]]))
    keys = Keys.of(folded, key_hash(folded).to_numpy())
    sides = Pairs(keys, np.arange(len(ends)), np.arange(len(ends)) + len(ends), np.zeros(len(ends), np.bool_))
    text, pos, _ = sides.compare(np.searchsorted(ends, rows), np.searchsorted(ends, copies[rows]), similarity)
    planted = rows[np.minimum(text, pos) >= similarity]
    of = pl.concat(
        [pl.read_parquet(path)["class_id"] for path in sorted((out / "classes" / "bench").glob("*.parquet"))]
    )
    a, b = (of.gather(at).to_numpy() for at in (planted, copies[planted]))
    wanted = pl.DataFrame({"class_a": np.minimum(a, b), "class_b": np.maximum(a, b)})
    joined = wanted.join(pl.read_parquet(out / "edges.parquet"), on=["class_a", "class_b"], how="semi").height
    return {"planted": len(planted), "recall": (joined + int((a == b).sum())) / max(len(planted), 1)}


def _limits(shards: Path, candidates: int) -> dict[str, float]:
    """Seconds under each step's own name, as LIMITS explains them; copies are read and signed once, so these do not count."""
    texts = sorted(shards.glob("text-*.parquet"))
    sides = pl.scan_parquet(texts).select("text", "text_pos")
    distinct = [
        sides.select(pl.col(side).unique()).collect(engine="streaming").to_series() for side in ("text", "text_pos")
    ]
    characters = sum(int(column.str.len_chars().sum()) for column in distinct)
    pairs, size = sides.select(pl.len()).collect().item(), sum(int(column.str.len_bytes().sum()) for column in distinct)
    plan = plan_of(DedupeConfig())
    hashes, row = np.arange(1024, dtype=np.uint32), np.empty(plan.computed, np.uint32)
    told, page = permutations(plan.computed, 1), np.ones(64 << 20, np.uint8)
    loops = {"permute": lambda: _permute(hashes, *told, row, 400), "copy": lambda: page.copy()}
    for loop in loops.values():
        loop()
    taken = cpu_seconds(loops)
    image, byte = taken["permute"] / (400 * len(hashes)), taken["copy"] / len(page)
    band = pairs * plan.pair.count * 4 * byte
    signed = characters * image + sum(path.stat().st_size for path in texts) * byte
    verified = 2 * candidates * size / pairs * byte
    steps = ("key_piece", "find_huge", "find_pairs", "verify")
    return {STEPS[step]: value for step, value in zip(steps, (signed, band, band, verified), strict=True)}


@kernel
def _permute(hashes, multipliers, addends, row, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        minima(hashes, hashes.shape[0], multipliers, addends, row)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]))))
