"""Every real slice against plain json and csv code that shares nothing with the layouts."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import part, projected, read, walked

from pipeline.manifest.corpus import Part


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _lines(path: Path) -> list[Any]:
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    return [json.loads(line) for line in raw.decode().split("\n") if line.strip()]


def _gbk(path: Path) -> Any:
    return json.loads(path.read_text("gbk"))["data"]


def _table(delimiter: str, columns: list[str] | None, encoding: str = "utf-8", quoting: int = csv.QUOTE_NONE) -> Any:
    def rows(path: Path) -> list[dict[str, str]]:
        with path.open(encoding=encoding, newline="") as opened:
            return list(csv.DictReader(opened, columns, delimiter=delimiter, quoting=quoting))

    return rows


NLI = {"names": ["neutral", "entailment", "contradiction", "-"]}
PAIR = {"sentence1": "string", "sentence2": "string"}
SQL = {"question": "string", "db_id": "string", "query": "string"}
SCHEMA = {"db_id": "string", "table_names": ["string"]}
CSL = ["prompt", "text_a", "text_b"]
CSL_COLUMNS: dict[str, Any] = dict.fromkeys(CSL, "string")
LINES = {
    "CINLID/raw/train.jsonl": {**PAIR, "label": NLI},
    "SimCLUE/raw/train_pair_1w.json": {**PAIR, "label": {"names": ["0", "1"]}},
    "SimCLUE/raw/train_pair_postive_1w.json": {"query": "string", "title": "string"},
    "SimCLUE/raw/train_rank_1w.json": {"query": "string", "title": "string", "neg_title": "string"},
    "Zhuiyi-NL2SQL/raw-tableqa/val.json": {"question": "string", "sql": {"agg": ["int"], "cond_conn_op": "int"}},
    "baike2018qa/raw-sample/baike_qa_valid.json": dict.fromkeys(["qid", "title", "desc", "answer"], "string"),
    "baike2018qa/raw-standin/baike_qa_valid.json": {"title": "string", "desc": "string", "answer": "string"},
    "belle_2m/raw-standin/eval_set.json": {"question": "string", "class": "string", "std_answer": "string?"},
    "belle_2m/raw-standin/zh_seed_tasks.json": {
        "instruction": "string",
        "instances": [{"input": "string", "output": "string"}],
    },
    "chatmed_consult/hf/ChatMed_Consult-v0.3.json": {"query": "string", "response": "string"},
    "chatmed_consult/raw/ChatMed-Consult_test.json": {"query": "string", "response": "string"},
    "csl/hf/data/csl.jsonl.gz": {"doc_id": "string", "title": "string", "abstract": "string", "keywords": ["string"]},
    "miracl-corpus/raw-standin/miracl-corpus-v1.0-zh/docs-0.jsonl.gz": {"docid": "string", "text": "string"},
    "news2016zh/raw-sample/news2016zh_valid.json": {"news_id": "string", "title": "string", "content": "string"},
    "ocnli/raw/dev.json": {**PAIR, "label": NLI, "label0": "string?", "id": "int"},
    "ocnli/raw/train.3k.json": {**PAIR, "label": NLI, "label0": "string?", "id": "int"},
    "webqa/raw/test_file_example.json.gz": {
        "question_tokens": ["string"],
        "evidences": [{"type": "string", "evidence_tokens": ["string"]}],
    },
    "webtext2019zh/raw-sample/web_text_zh_valid.json": {"qid": "int", "title": "string", "star": "int"},
}
ARRAYS = {
    "CSpider/raw/db_schema.json": SCHEMA,
    "CSpider/raw/dev.json": SQL,
    "CSpider/raw/test.json": SQL,
    "DuSQL/raw/db_schema.json": SCHEMA,
    "DuSQL/raw/dev.json": SQL,
    "DuSQL/raw/test.json": SQL,
    "DuSQL/raw/train.json": SQL,
    "Zhuiyi-NL2SQL/raw/dev.json": SQL,
    "Zhuiyi-NL2SQL/raw/test.json": SQL,
    "alpaca_gpt4/raw-standin/alpaca_zh_demo.json": dict.fromkeys(["instruction", "input", "output"], "string"),
    "medi/raw/medi-data.json": {"query": ["string"], "pos": ["string"], "neg": ["string"], "task_name": "string"},
}
TABLES: dict[str, tuple[str, dict[str, Any], dict[str, Any], Any]] = {
    "CINLID/raw/Idiom_NLI.txt": ("tsv", {**PAIR, "label": "string"}, {"header": False}, _table("\t", [*PAIR, "label"])),
    "bq/raw/BQ.valid.data": ("tsv", {**PAIR, "label": "string"}, {"header": False}, _table("\t", [*PAIR, "label"])),
    "bq/raw/dev.csv": (
        "csv",
        {**PAIR, "label": "string"},
        {"encoding": "utf-8-sig", "quote": '"'},
        _table(",", None, "utf-8-sig", csv.QUOTE_MINIMAL),
    ),
    **{
        f"csl/raw/benchmark/{task}/dev.tsv": ("tsv", CSL_COLUMNS, {"header": False}, _table("\t", CSL))
        for task in ("cls_ctg", "cls_dcp", "kg", "ts")
    },
    "lawzhidao/raw-standin/LegalQA-manual-dev.csv": (
        "csv",
        dict.fromkeys(["question: subject", "question: body", "answer", "label"], "string"),
        {"quote": '"'},
        _table(",", None, quoting=csv.QUOTE_MINIMAL),
    ),
    "lawzhidao/raw-standin/lawzhidao_filter.csv": (
        "csv",
        dict.fromkeys(["title", "question", "reply", "is_best"], "string"),
        {"quote": '"'},
        _table(",", None, quoting=csv.QUOTE_MINIMAL),
    ),
    "lcqmc/raw/LCQMC.valid.data": (
        "tsv",
        {**PAIR, "label": "string"},
        {"header": False},
        _table("\t", [*PAIR, "label"]),
    ),
    "paws-x/raw/dev_2k.tsv": ("tsv", {"id": "string", **PAIR, "label": "string"}, {}, _table("\t", None)),
}
TREES = (
    "Chinese-SQuAD/raw/dev-v2.0-zh.part.json",
    "cmrc2018/raw/squad-style-data/cmrc2018_dev.json",
    "cmrc2018/raw/squad-style-data/cmrc2018_trial.json",
    "dureader_robust/raw-standin/dureader_checklist_dev.json",
    "mlqa/raw-standin/xquad.zh.json",
)
REAL: dict[str, tuple[Part, Any]] = {
    **{name: (part("jsonl", columns), _lines) for name, columns in LINES.items()},
    **{name: (part("json-array", columns), _json) for name, columns in ARRAYS.items()},
    **{name: (part(layout, columns, **more), rows) for name, (layout, columns, more, rows) in TABLES.items()},
    **{name: (part("squad"), lambda path: walked(_json(path))) for name in TREES},
    "CINLID/raw-luge-layout/train.json": (
        part("json-object", {"phrase1": "string", "phrase2": "string", "label": NLI}, path="data", encoding="gbk"),
        _gbk,
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_read_as_plain_code_reads_them(real_corpora: Path, name: str) -> None:
    declared, plain = REAL[name]
    good, bad = read(real_corpora / name, declared)
    expected = [
        {key: projected(kind, row.get(key)) for key, kind in declared.typed_columns.items()}
        for row in plain(real_corpora / name)
    ]
    assert not bad
    assert list(good.values()) == expected and expected


def test_every_real_raw_file_is_read_above(real_corpora: Path) -> None:
    there = {
        path.relative_to(real_corpora).as_posix()
        for path in real_corpora.rglob("*")
        if path.is_file() and path.suffix not in (".parquet", ".md")
    }
    assert there == set(REAL)


def test_real_parquet_files(real_corpora: Path) -> None:
    found = sorted(real_corpora.rglob("*.parquet"))
    assert found
    for path in found:
        table = pq.read_table(path)
        columns: dict[str, Any] = {}
        for field in table.schema:
            if pa.types.is_large_string(field.type):
                columns[field.name] = "string?"
            elif pa.types.is_integer(field.type):
                columns[field.name] = "int"
            elif pa.types.is_struct(field.type):
                columns[field.name] = {"text": ["string"], "answer_start": ["int"]}
            else:
                columns[field.name] = ["string"]
        good, bad = read(path, part("parquet", columns))
        assert not bad and list(good.values()) == table.to_pylist()
