"""Claim: MEDI's file, one JSON array of gigabytes, converts in bounded memory: `python -m benchmarks.medi`.

The array is made up in MEDI's layout and size per record, and converted by the shipped manifest in a process of its own,
so that the peak is that of convert and of nothing else.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, Table, child_environment, peak_bytes, rate
from pipeline.convert import convert
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.yaml import load, validate
from pipeline.source import SourceFile

PAIRS = 710_000
BAR_BYTES, BAR_FILE = 1_500_000_000, 1_200_000_000
#: Words of a query, a positive and a negative: with their instructions some 1.7 KB, as the real records.
WORDS = (12, 110, 110)
_TOKENS = 1_000_000
_ESCAPED = (b"caf\\u00e9", b'\\"so\\"', b"and\\n", b"n\\u2019t")
_ASK, _DOC = b"Represent the question for retrieving evidence documents;", b"Represent the document for retrieval;"


def run(pairs: int = PAIRS) -> Table:
    """Writes so many records, and has a fresh process convert them."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "medi-data.json", Path(folder) / "out"
        out.mkdir()
        size = write_array(path, pairs)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.medi", str(path), str(out)],
            cwd=ROOT,
            env=child_environment(one_thread=False),
            check=True,
            stdout=subprocess.PIPE,
        )
    told = json.loads(done.stdout)
    table = Table(f"medi: {pairs:,} records, one JSON array of {size / 1e6:,.0f} MB", ("", "measured"))
    table.add("records", f"{told['records']:,}", bar=f"{pairs:,}", holds=told["records"] == pairs)
    table.add("rows per CPU-second", rate(pairs, told["seconds"]))
    table.add(
        "peak memory, MB",
        f"{told['peak_bytes'] / 1e6:,.0f}",
        bar=f"{BAR_BYTES / 1e6:,.0f} at {BAR_FILE / 1e6:,.0f} MB",
        holds=told["peak_bytes"] < BAR_BYTES if size >= BAR_FILE else None,
    )
    table.notes.append(f"before the first record: {told['start_bytes'] / 1e6:,.0f} MB")
    return table.show()


def write_array(path: Path, pairs: int, seed: int = 1) -> int:
    """An array of `{query, pos, neg: [instruction, text], task_name}` on one line, as upstream has it; its size in bytes."""
    rng = np.random.default_rng(seed)
    letters = rng.integers(ord("a"), ord("z") + 1, (5_000, 9), dtype=np.uint8)
    sizes = rng.integers(2, 10, 5_000)
    words = [bytes(letters[i, : sizes[i]]) for i in range(len(sizes))] + [*_ESCAPED] * 20
    ring = [words[i] for i in rng.integers(0, len(words), _TOKENS)]
    text = b" ".join(ring)
    starts = np.concatenate(([0], np.cumsum([len(word) + 1 for word in ring]))).astype(np.int64)
    with path.open("wb") as file:
        for first in range(0, pairs, 10_000):
            count = min(10_000, pairs - first)
            lengths = rng.poisson(WORDS, (count, 3)) + 1
            opens = rng.integers(0, _TOKENS - lengths.max(), (count, 3))
            low, high = starts[opens].tolist(), (starts[opens + lengths] - 1).tolist()
            rows = (
                _row(*(text[a:b] for a, b in zip(lows, highs, strict=True)))
                for lows, highs in zip(low, high, strict=True)
            )
            file.write(b"[" if first == 0 else b", ")
            file.write(b", ".join(rows))
        file.write(b"]")
    return path.stat().st_size


def _row(query: bytes, pos: bytes, neg: bytes) -> bytes:
    sides = b'{"query": ["%b", "%b"], "pos": ["%b", "%b"], "neg": ["%b", "%b"], "task_name": "NQ"}'
    return sides % (_ASK, query, _DOC, pos, _DOC, neg)


def array_manifest() -> Corpus:
    """The shipped manifest of MEDI, as if its publisher's array were what was fetched."""
    path = ROOT / "manifests" / "corpora" / "medi.yaml"
    corpus = validate(load(path, path.name), Corpus)
    assert corpus is not None
    parts = next(other.parts for other in corpus.alternates if other.parts and other.parts[0].layout == "json-array")
    return corpus.model_copy(update={"parts": parts})


def _measure(path: Path, out: Path) -> dict[str, Any]:
    """What the child does."""
    corpus, start = array_manifest(), peak_bytes()
    name = next(itertools.chain.from_iterable(part.files.values() for part in corpus.parts))
    began = time.process_time()
    told = convert(corpus, [SourceFile(0, "train", str(name), path, "", path.stat().st_size)], out)
    seconds = time.process_time() - began
    return {
        "records": told["totals"]["records"],
        "seconds": seconds,
        "start_bytes": start,
        "peak_bytes": peak_bytes(),
    }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.stdout.write(json.dumps(_measure(Path(sys.argv[1]), Path(sys.argv[2]))))
    else:
        run(*map(int, sys.argv[1:]))
