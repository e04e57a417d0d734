"""Claim: T2Ranking's layout is evaluated in bounded memory, and scores what a plain computation scores.

Passages of T2Ranking's length, queries and judgements of four degrees are written as its files; an encoder of no weight
stands for a model, so that what is measured is reading, searching and scoring. Each side runs in a process of its own.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, Table, child_environment, peak_bytes, times
from pipeline.encode import Encoded

PASSAGES, DIMENSION, CHARS = 100_000, 256, 900
TASK, MOST = "T2Ranking-10W", 100_000
BAR_BYTES = 4 << 30
#: One query to so many passages, and judgements to a query.
PER_QUERY, JUDGED = 10, 8
METRICS = ("ndcg_at_10", "map_at_10", "mrr_at_10")
#: Passages compared at a time by the plain computation.
BLOCK = 4_096


def run(pairs: int = PASSAGES, *, against: bool = True) -> Table:
    """So many passages and a tenth as many queries, by our search and, `against` it, by mteb's own."""
    with tempfile.TemporaryDirectory() as folder:
        size = write(Path(folder), pairs)
        ours = _measured(Path(folder), "ours")
        mtebs = _measured(Path(folder), "mteb") if against else None
    plain = plain_scores(pairs)
    queries = pairs // PER_QUERY
    title = f"evaluate: {queries:,} queries in {pairs:,} passages of {DIMENSION} dimensions, {size / 1e6:,.0f} MB"
    table = Table(title, ("", "measured"))
    peak, bar = ours["peak"], f"{BAR_BYTES / 1e6:,.0f}"
    table.add("peak memory, MB", f"{peak / 1e6:,.0f}", bar=bar, holds=peak < BAR_BYTES)
    table.add("of that before the task, MB", f"{ours['before'] / 1e6:,.0f}")
    if mtebs is not None:
        table.add("peak memory of mteb's own search, MB", f"{mtebs['peak'] / 1e6:,.0f}")
        table.add("CPU-seconds of mteb's own search to ours", times(mtebs["cpu"] / ours["cpu"]))
    table.add("seconds", f"{ours['seconds']:.1f}")
    for metric in METRICS:
        off = abs(ours["scores"][metric] - plain[metric])
        told = f"{ours['scores'][metric]:.5f}"
        table.add(metric, told, bar=f"{plain[metric]:.5f}", holds=off < 1e-4)
    return table.show()


def write(folder: Path, pairs: int) -> int:
    """The three files; a text begins with its number, out of which the encoder makes its vector."""
    draw = np.random.default_rng(1)
    letters = np.array([chr(point) for point in range(0x4E00, 0x5E00)])
    data = folder / "data"
    data.mkdir()
    step = MOST // pairs
    with (data / "collection.tsv").open("w", encoding="utf-8") as file:
        file.write("pid\ttext\n")
        # As in the original the collection goes on behind what the task reads.
        for number in range(pairs + pairs // 10):
            filling = "".join(letters[draw.integers(0, len(letters), CHARS)])
            file.write(f"{number * step + (number >= pairs) * MOST}\tp{number} {filling}\n")
    queries = range(pairs // PER_QUERY)
    lines = ["qid\ttext", *(f"{query}\tq{query} 问" for query in queries)]
    (data / "queries.dev.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    judged = ((query, passage * step, rel) for query in queries for passage, rel in judgements(query).items())
    lines = ["qid\t-\tpid\trel", *(f"{query}\t0\t{pid}\t{rel}" for query, pid, rel in judged)]
    (data / "qrels.dev.tsv").write_text("\n".join(lines) + "\n", "utf-8")
    return sum(path.stat().st_size for path in data.iterdir())


def judgements(query: int) -> dict[int, int]:
    """Passage -> degree of relevance, 3 to 0."""
    return {query * PER_QUERY + place: max(0, 3 - place // 2) for place in range(JUDGED)}


def vector(name: str) -> np.ndarray:
    """float32 [DIMENSION] of length 1: passages lie about their query, nearer the more relevant, but not always."""
    kind, number = name[0], int(name[1:])
    group, place = (number, 0) if kind == "q" else divmod(number, PER_QUERY)
    centre = np.random.default_rng([7, group]).standard_normal(DIMENSION)
    if kind == "p":
        centre = centre + np.random.default_rng([8, number]).standard_normal(DIMENSION) * (2.4 + 0.25 * place)
    return (centre / np.linalg.norm(centre)).astype(np.float32)


class Numbered:
    """The encoder: the vector of a text is that of the word it begins with."""

    name, weights, dimension = "numbered", "0" * 64, DIMENSION

    def encode(self, texts: Sequence[str], document: bool, listen: Any = None) -> np.ndarray:
        if listen is not None:
            listen(Encoded(len(texts), 0, 0))
        return np.stack([vector(text.split(" ", 1)[0]) for text in texts])


def plain_scores(pairs: int) -> dict[str, float]:
    """The means of the three metrics as trec_eval defines them, by a full product and plain loops."""
    queries = np.stack([vector(f"q{query}") for query in range(pairs // PER_QUERY)])
    best_scores = np.zeros((len(queries), 0), np.float32)
    best = np.zeros((len(queries), 0), np.int64)
    for start, block in _blocks(pairs):
        scores = np.hstack([best_scores, queries @ block.T])
        places = np.hstack([best, np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))])
        order = np.argpartition(-scores, 9, axis=1)[:, :10]
        best_scores, best = np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
    best = np.take_along_axis(best, np.argsort(-best_scores, axis=1), 1)
    told: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for query, found in enumerate(best):
        right = judgements(query)
        gains = [right.get(int(place), 0) for place in found]
        hits = [rank for rank, gain in enumerate(gains, 1) if gain]
        ideal = sorted(right.values(), reverse=True)[:10]
        dcg, most = (sum(g / math.log2(rank + 1) for rank, g in enumerate(row, 1)) for row in (gains, ideal))
        relevant = sum(rel > 0 for rel in right.values())
        told["ndcg_at_10"].append(dcg / most)
        told["map_at_10"].append(sum((n + 1) / rank for n, rank in enumerate(hits)) / relevant)
        told["mrr_at_10"].append(1 / hits[0] if hits else 0.0)
    return {metric: float(np.mean(values)) for metric, values in told.items()}


def _blocks(pairs: int) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, pairs, BLOCK):
        yield start, np.stack([vector(f"p{number}") for number in range(start, min(start + BLOCK, pairs))])


def _measured(folder: Path, side: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.evaluate", folder, side],
        cwd=ROOT,
        env=child_environment(one_thread=False) | {"HF_HOME": str(folder / side)},
        check=True,
        stdout=subprocess.PIPE,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def main(folder: Path, side: str) -> None:
    """Evaluate once; prints what it took as JSON."""
    from mteb.models import ModelMeta
    from mteb.models.search_wrappers import SearchEncoderWrapper

    from pipeline.evaluate.model import EvaluatedModel
    from pipeline.evaluate.run import run_task
    from pipeline.evaluate.t2ranking import T2Ranking

    task = T2Ranking(TASK)
    dataset = task.metadata.dataset | {"path": str(folder)}
    task.metadata = task.metadata.model_copy(update={"dataset": dataset})
    model: Any = EvaluatedModel(ModelMeta.create_empty(), Numbered(), Numbered())
    speed = model.speed
    if side == "mteb":
        model = SearchEncoderWrapper(model)
        model.speed = speed
    before, began, spent = peak_bytes(), time.perf_counter(), time.process_time()
    told, _ = run_task(model, task)
    (scores,) = told["scores"]["dev"]
    measured = {"before": before, "peak": peak_bytes(), "scores": {metric: scores[metric] for metric in METRICS}}
    measured |= {"seconds": time.perf_counter() - began, "cpu": time.process_time() - spent}
    sys.stdout.write(json.dumps(measured))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
