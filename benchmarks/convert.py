"""Claim: convert reads, names, cleans and writes rows faster than a plain loop that does the same.

The loop reads by polars too. It is told twice: making the record ids alone, and with all that is due to a row (NFC and
trimmed text, the other columns, parquet). The second does the same work short of what cleaning means beyond NFC.
"""

from __future__ import annotations

import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from benchmarks import text
from benchmarks.measure import REPEATS, Table, cpu_seconds, rate, times
from pipeline.convert import convert
from pipeline.manifest.corpus import Corpus
from pipeline.record import ROW_GROUP_ROWS, TEXT_SCHEMA
from pipeline.source import SourceFile

PAIRS = 100_000
LAYOUTS: dict[str, Callable[[Path], pl.DataFrame]] = {"jsonl": pl.read_ndjson, "parquet": pl.read_parquet}


def run(pairs: int = PAIRS, repeats: int = REPEATS) -> Table:
    """Converts so many pairs from each layout; the ids must be those that plain code makes."""
    frame = pl.concat(text.pairs(text.source(), pairs)).select(q="text", a="text_pos")
    table = Table(f"convert: {pairs:,} rows of 20 + 150 characters", ("", "rows per CPU-s", "ours is"))
    with tempfile.TemporaryDirectory() as folder:
        for layout, read in LAYOUTS.items():
            path = Path(folder) / f"rows.{layout}"
            frame.write_ndjson(path) if layout == "jsonl" else frame.write_parquet(path)
            _compare(table, layout, path, read, repeats)
    return table.show()


def _compare(table: Table, layout: str, path: Path, read: Callable[[Path], pl.DataFrame], repeats: int) -> None:
    corpus, out = _corpus(layout), path.parent / "out"
    files = [SourceFile(0, "train", path.name, path, "0" * 64, path.stat().st_size)]

    def ours() -> None:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        convert(corpus, files, out)

    ours()
    ids = pl.concat([pl.read_parquet(p, columns=["record_id"]) for p in sorted(out.glob("text-*.parquet"))])
    plain = plain_ids(corpus.name, read(path))
    equal = sum(a == b for a, b in zip(ids["record_id"].to_list(), plain, strict=True))
    loops = {
        "read, ids by plain loop": lambda: plain_ids(corpus.name, read(path)),
        "read, rows by plain loop, parquet": lambda: plain_rows(corpus.name, read(path), path.with_suffix(".plain")),
    }
    for loop in loops.values():
        loop()
    seconds = cpu_seconds({"convert": ours, **loops}, repeats)
    for side, taken in seconds.items():
        told = "" if side == "convert" else times(taken / seconds["convert"])
        table.add(f"{layout}: {side}", rate(len(plain), taken), told)
    table.add(f"{layout}: equal ids", f"{equal:,} of {len(plain):,}", "", bar="all", holds=equal == len(plain))


def plain_ids(corpus: str, frame: pl.DataFrame) -> list[str]:
    """Record ids by the layout that `pipeline.convert.identity` documents, a row at a time."""
    seen: Counter[bytes] = Counter()
    ids = []
    name = corpus.encode()
    for asked, answer in frame.iter_rows():
        one, two = asked.encode(), answer.encode()
        stem = b"%d:%b,%d:%b,%d:%b," % (len(name), name, len(one), one, len(two), two)
        digest = xxhash.xxh3_128_digest(stem)
        ids.append(xxhash.xxh3_128_hexdigest(stem + str(seen[digest]).encode()))
        seen[digest] += 1
    return ids


def plain_rows(corpus: str, frame: pl.DataFrame, to: Path) -> None:
    """A text shard by plain Python: the ids, NFC and trimmed sides, constants for the rest."""
    ids = plain_ids(corpus, frame)
    rows = [
        {
            "record_id": record_id,
            "corpus": corpus,
            "sub_source": "",
            "split": "train",
            "row": f"rows#{i}",
            "text": unicodedata.normalize("NFC", asked).strip(),
            "text_pos": unicodedata.normalize("NFC", answer).strip(),
            "text_neg": [],
            "prompt": "问答",
            "prompt_pos": "",
            "doc_group": int(record_id[:16], 16),
        }
        for i, (record_id, (asked, answer)) in enumerate(zip(ids, frame.iter_rows(), strict=True))
    ]
    table = pa.Table.from_pylist(rows, schema=TEXT_SCHEMA)
    pq.write_table(table, to, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def _corpus(layout: str) -> Corpus:
    free = {"commercial": "allowed", "redistribute": "allowed", "confidence": "high", "basis": "own"}
    told: dict[str, Any] = {
        "name": "bench",
        "title": "bench",
        "domain": "百科",
        "task": "问答",
        "prompt": "问答",
        "grade": "优",
        "source": {"kind": "local", "root": "."},
        "parts": [
            {
                "files": {"train": f"rows.{layout}"},
                "layout": layout,
                "columns": {"q": "string", "a": "string"},
                "select": {"text": "q", "text_pos": "a"},
            }
        ],
        "licence": {"spdx": "CC0-1.0", **free},
    }
    return Corpus.model_validate(told)
