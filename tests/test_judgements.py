"""Queries x judgements x documents: roles and pairs of a retrieval set, against a join by hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.decontaminate import index
from pipeline.errors import CurationError, FormatError, ManifestError
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.catalog import read_catalog
from pipeline.source import SourceFile
from pipeline.store import Receipt
from tests.small import write_manifests

QUERIES = {"files": {"test": "queries.parquet"}, "layout": "parquet", "columns": {"qid": "string", "text": "string"}}
DOCUMENTS = {"files": {"test": "corpus.parquet"}, "layout": "parquet", "columns": {"did": "string", "text": "string"}}
JUDGED = {
    "files": {"test": "qrels.parquet"},
    "layout": "parquet",
    "columns": {"query-id": "string", "corpus-id": "string", "score": "int"},
    "judges": {"query": '"query-id"', "document": '"corpus-id"', "where": "score > 0"},
}
PARTS: list[dict[str, Any]] = [
    # Documents first: the order of the parts does not matter.
    DOCUMENTS | {"texts": [{"role": "passage", "id": "did", "text": "text"}]},
    JUDGED,
    QUERIES | {"texts": [{"role": "query", "id": "qid", "text": "text"}]},
]
SHELL = {"name": "search", "task": "Search", "source": {"kind": "local", "root": "."}, "splits": ["test"]}


def indexed(
    folder: Path, queries: dict[str, str], documents: dict[str, str], judged: list[tuple[str, str, int]]
) -> tuple[pl.DataFrame, pl.DataFrame, Receipt]:
    tables = {
        "corpus": {"did": list(documents), "text": list(documents.values())},
        "qrels": {name: [row[at] for row in judged] for at, name in enumerate(("query-id", "corpus-id", "score"))},
        "queries": {"qid": list(queries), "text": list(queries.values())},
    }
    files = []
    for number, (name, table) in enumerate(tables.items()):
        path = folder / f"{name}.parquet"
        # Small groups, so that documents come in several batches.
        pq.write_table(pa.table(table), path, row_group_size=50)
        files.append(SourceFile(number, "test", path.name, path, "", 0))
    receipt = index(Benchmark.model_validate(SHELL | {"parts": PARTS}), files, folder)
    return pl.read_parquet(folder / "texts-*.parquet"), pl.read_parquet(folder / "pairs-*.parquet"), receipt


def test_roles_and_pairs_are_those_of_a_join_by_hand(tmp_path: Path) -> None:
    rng = random.Random(3)
    queries = {f"q{n}": f"第{n % 40}个问题" for n in range(60)}
    documents = {f"d{n}": f"第{n % 350}段文字在这里" for n in range(400)}
    judged = [(f"q{rng.randrange(70)}", f"d{rng.randrange(450)}", rng.randrange(3)) for _ in range(120)]
    texts, pairs, receipt = indexed(tmp_path, queries, documents, judged)

    relevant = {(q, d) for q, d, score in judged if score > 0}
    named = {q for q, _, _ in judged}
    positive = {d for _, d in relevant}
    expected = {("query", text) for q, text in queries.items() if q in named}
    expected |= {("positive" if d in positive else "passage", text) for d, text in documents.items()}
    assert set(texts.select("role", "key").iter_rows()) == expected
    assert texts.height == len(expected)
    found = {(q, d) for q, d in relevant if q in queries and d in documents}
    assert set(pairs.select("key_a", "key_b").iter_rows()) == {(queries[q], documents[d]) for q, d in found}
    assert receipt["judged"] == {
        "relevant": len(relevant),
        "joined": len(found),
        "unjudged": len(set(queries) - named),
    }
    assert 0 < len(found) < len(relevant) and set(queries) - named


def test_a_passage_of_two_documents_has_both_roles(tmp_path: Path) -> None:
    """Judged once and distracting once: the flag of the positive is told as well."""
    texts, pairs, _ = indexed(tmp_path, {"q": "问"}, {"a": "同一段文字", "b": "同一段文字。"}, [("q", "a", 1)])
    assert sorted(texts.select("role", "key").rows()) == [
        ("passage", "同一段文字"),
        ("positive", "同一段文字"),
        ("query", "问"),
    ]
    assert pairs.select("key_a", "key_b").rows() == [("问", "同一段文字")]


def test_ids_that_never_meet_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match="benchmark search: none of its 1 relevant judgements names a query"):
        indexed(tmp_path, {"q": "问"}, {"d": "答"}, [("q", "D", 1)])
    with pytest.raises(CurationError, match="none of its 0 relevant judgements"):
        indexed(tmp_path, {"q": "问"}, {"d": "答"}, [("q", "d", 0)])


def test_a_null_id_is_an_error(tmp_path: Path) -> None:
    parts = [PARTS[0] | {"columns": {"did": "string?", "text": "string"}}, *PARTS[1:]]
    for name, table in (
        ("corpus", {"did": ["d", None], "text": ["答", "又"]}),
        ("qrels", {"query-id": ["q"], "corpus-id": ["d"], "score": [1]}),
        ("queries", {"qid": ["q"], "text": ["问"]}),
    ):
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    files = [
        SourceFile(n, "test", f"{name}.parquet", tmp_path / f"{name}.parquet", "", 0)
        for n, name in enumerate(("corpus", "qrels", "queries"))
    ]
    with pytest.raises(FormatError, match=r"corpus.parquet#1: did is null"):
        index(Benchmark.model_validate(SHELL | {"parts": parts}), files, tmp_path)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([PARTS[0], PARTS[2]], "texts have ids, but no part judges them"),
        ([PARTS[0], JUDGED], "no text of role query has an id"),
        ([JUDGED], "no text of role passage or query has an id"),
        ([PARTS[2] | {"texts": [{"role": "positive", "id": "qid", "text": "text"}]}], "the judgements tell which"),
        ([DOCUMENTS], "give texts, pairs, judges or several of them"),
    ],
)
def test_half_a_join_is_refused(parts: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Benchmark.model_validate(SHELL | {"parts": parts})


def test_check_names_file_line_and_key_of_a_wrong_column(tmp_path: Path) -> None:
    wrong = [JUDGED | {"judges": {"query": '"query-id"', "document": "doc"}}]
    wrong.append(PARTS[0] | {"texts": [{"role": "passage", "id": "docid", "text": "text"}]})
    write_manifests(tmp_path, [], None, [SHELL | {"parts": [*wrong, PARTS[2]]}])
    with pytest.raises(ManifestError) as caught:
        read_catalog([tmp_path], shipped=False)
    lines = (tmp_path / "benchmarks" / "search.yaml").read_text("utf-8").splitlines()
    places = {(problem.key, problem.line) for problem in caught.value.problems}
    assert places == {
        (key, 1 + next(n for n, line in enumerate(lines) if f'"{name}"' in line))
        for key, name in (("parts.0.judges.document", "doc"), ("parts.1.texts.0.id", "docid"))
    }


def test_an_id_that_is_no_text_is_told_before_reading(tmp_path: Path) -> None:
    parts = [PARTS[0] | {"columns": {"did": "int", "text": "string"}}, *PARTS[1:]]
    absent = [SourceFile(0, "test", "x", tmp_path / "x", "", 0)]
    with pytest.raises(CurationError, match=r"parts\[0\]\.texts\[0\]\.id: 'did' gives Int64, not String"):
        index(Benchmark.model_validate(SHELL | {"parts": parts}), absent, tmp_path)
