"""A workbench for decontamination: benchmarks, corpora and outputs below one folder, and the rules once more in plain Python."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from pipeline.decontaminate import decontaminate, index, protect
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.record import LABELLED_SCHEMA, TEXT_SCHEMA
from pipeline.shards import read_shards, write_parquet
from pipeline.source import SourceFile
from pipeline.store import Receipt

CONFIG = DecontaminateConfig()
Record = tuple[str, str] | tuple[str, str, list[str]]


class Workbench:
    """Benchmarks, corpora and outputs below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.indexes: dict[str, Path] = {}

    def benchmark(
        self,
        task: str,
        *,
        queries: Iterable[str] = (),
        positives: Iterable[str] = (),
        passages: Iterable[str] = (),
        joined: Iterable[str] = (),
        pairs: Iterable[tuple[str, str]] = (),
    ) -> Receipt:
        """Index a benchmark: rows {role, text, joined} and {a, b}."""
        roles = {"query": queries, "positive": positives, "passage": passages, "joined": joined}
        rows = [{"role": role, "text": text, "a": "", "b": ""} for role, texts in roles.items() for text in texts]
        rows += [{"role": "pair", "text": "", "a": a, "b": b} for a, b in pairs]
        part = {
            "files": {"test": f"{task}.jsonl"},
            "layout": "jsonl",
            "columns": dict.fromkeys(("role", "text", "a", "b"), "string"),
            "texts": [
                *({"role": role, "text": "text", "where": f"role = '{role}'"} for role in list(roles)[:3]),
                {"role": "query", "text": "text", "where": "role = 'joined'", "joined": True},
            ],
            "pairs": [{"text": "a", "other": "b", "where": "role = 'pair'"}],
        }
        return self.index_rows(task, part, rows)

    def index_rows(self, task: str, part: dict[str, Any], rows: Sequence[object]) -> Receipt:
        path = self.folder / f"{task}.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), "utf-8")
        return self.index_files(task, [part], [path])

    def index_files(self, task: str, parts: list[dict[str, Any]], paths: Sequence[Path]) -> Receipt:
        benchmark = Benchmark.model_validate(
            {
                "name": task.lower(),
                "task": task,
                "source": {"kind": "local", "root": "."},
                "splits": ["test"],
                "parts": parts,
            }
        )
        out = self.folder / f"index-{task}"
        out.mkdir(exist_ok=True)
        self.indexes[task] = out
        files = [SourceFile(number, "test", path.name, path, "", 0) for number, path in enumerate(paths)]
        return index(benchmark, files, out)

    def texts(self, task: str) -> pl.DataFrame:
        return pl.read_parquet(self.indexes[task] / "texts-*.parquet")

    def pairs(self, task: str) -> pl.DataFrame:
        return pl.read_parquet(self.indexes[task] / "pairs-*.parquet")

    def run(
        self,
        records: Sequence[Record] = (),
        labelled: Sequence[tuple[str, str]] = (),
        config: DecontaminateConfig = CONFIG,
        shard_rows: int = 1_000_000,
        out: str = "out",
        **options: Any,
    ) -> Outputs:
        texts = [self.folder / f"text-{number:05d}.parquet" for number in range(-(-len(records) // shard_rows) or 1)]
        for number, path in enumerate(texts):
            write_parquet(path, text_table(records[number * shard_rows :][:shard_rows]))
        other = self.folder / "labelled-00000.parquet"
        write_parquet(other, labelled_table(labelled))
        folder, protected = self.folder / out, self.folder / f"{out}-protected"
        folder.mkdir()
        protected.mkdir()
        protect(self.indexes, protected, config)
        return Outputs(folder, decontaminate(texts, [other], protected, folder, config, **options))


class Outputs:
    def __init__(self, folder: Path, receipt: Receipt) -> None:
        self.folder, self.receipt = folder, receipt

    def rows(self, kind: str) -> list[dict[str, Any]]:
        paths = sorted(self.folder.glob(f"{kind}-*.parquet"))
        return [row for table in read_shards(paths) for row in table.to_pylist()]

    @property
    def reasons(self) -> list[str | None]:
        return [mark["reason"] for mark in self.rows("marks")]

    @property
    def flags(self) -> list[list[str]]:
        return [mark["flags"] for mark in self.rows("marks")]


def text_table(records: Sequence[Record]) -> pa.Table:
    same = {"corpus": "c", "sub_source": "", "split": "train", "prompt": "", "prompt_pos": ""}
    rows = [
        {"record_id": f"{n:032x}", "row": f"f#{n}", "text": a, "text_pos": b, "text_neg": rest[0] if rest else []}
        for n, (a, b, *rest) in enumerate(records)
    ]
    return pa.Table.from_pylist([same | row | {"doc_group": n} for n, row in enumerate(rows)], TEXT_SCHEMA)


def labelled_table(rows: Sequence[tuple[str, str]]) -> pa.Table:
    same = {"corpus": "c", "sub_source": "", "split": "train"}
    told = [same | {"record_id": str(n), "row": str(n), "text": a, "other": b} for n, (a, b) in enumerate(rows)]
    return pa.Table.from_pylist(told, LABELLED_SCHEMA)


class Oracle:
    """The rules once more, over plain strings that are their own match keys."""

    def __init__(self, config: DecontaminateConfig) -> None:
        self.config = config
        self.texts: list[tuple[str, str, str, bool]] = []  # task, role, key, joined
        self.pairs: list[tuple[str, str, str]] = []

    def near(self, a: str, b: str) -> float | None:
        if a == b:
            return 1.0
        shorter = min(len(a), len(b))
        if shorter < 6 or self.traits(a) != self.traits(b):
            return None
        k = 2 if shorter < 20 else 3
        one, two = ({text[i : i + k] for i in range(len(text) - k + 1)} for text in (a, b))
        similarity = len(one & two) / len(one | two)
        return similarity if similarity >= self.config.threshold else None

    @staticmethod
    def traits(text: str) -> tuple[list[str], list[int]]:
        return re.findall(r"\d+", text), [text.count(word) for word in "不没无非未"]

    def alone(self, a: str, b: str) -> float | None:
        return self.near(a, b) if min(len(a), len(b)) >= self.config.min_chars else None

    def judge(self, first: str, second: str, negatives: Sequence[str], inside: bool) -> tuple[Any, list[Any]]:
        found: list[tuple[float, str, int]] = []
        flags: set[str] = set()
        out: set[tuple[int, str]] = set()
        for task, role, key, joined in self.texts:
            told = [(side, 0) for side in (first, second)]
            told += [(side, 2) for side in (first + second, second + first) if joined]
            for side, reason in told:
                similarity = self.alone(side, key)
                if similarity is not None and role == "query":
                    found.append((-similarity, task, reason))
                elif similarity is not None:
                    flags.add(f"{ {'positive': 'benchmark_positive', 'passage': 'corpus_overlap'}[role] }:{task}")
            if inside and role == "query" and len(key) >= self.config.inside_chars and (key in first or key in second):
                found.append((-1.0, task, 3))
            if role == "query":
                out |= {(n, task) for n, text in enumerate(negatives) if self.alone(text, key) is not None}
        for task, a, b in self.pairs:
            for x, y in ((a, b), (b, a)):
                if (one := self.near(first, x)) is not None:
                    if (two := self.near(second, y)) is not None:
                        found.append((-min(one, two), task, 1))
                    out |= {(n, task) for n, text in enumerate(negatives) if self.near(text, y) is not None}
        flags |= {f"contaminated:{task}" for _, task, _ in found} | {f"benchmark_negative:{task}" for _, task in out}
        mark: dict[str, Any] = {"reason": None, "against": None, "similarity": None, "flags": sorted(flags)}
        if found:
            similarity, task, reason = min(found)
            names = ("benchmark_query", "benchmark_pair", "benchmark_joined", "benchmark_inside")
            mark |= {"reason": names[reason], "against": task, "similarity": pytest.approx(-similarity)}
        return mark, sorted(out)


def shingles(text: str, k: int) -> set[str]:
    return {text[i : i + k] for i in range(len(text) - k + 1)}
