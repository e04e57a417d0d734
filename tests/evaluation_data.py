"""Small data sets in the layouts that the tasks of mteb and of the seed read, made of letters, for the Hub's double."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hub_double import HubDouble
from tiny_model import letters

Rows = Sequence[Mapping[str, Any]]


class Texts:
    """Random texts, and others that share their beginning."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def text(self, length: int = 12) -> str:
        return "".join(self.draw.choice(letters()) for _ in range(length))

    def like(self, text: str, kept: int) -> str:
        return text[:kept] + self.text(len(text) - kept)


def parquet(rows: Rows) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


def labelled(texts: Texts, column: str = "text", per_label: int = 40) -> list[dict[str, Any]]:
    topics = [texts.text(), texts.text()]
    return [{column: texts.like(topics[n % 2], 4), "label": n % 2} for n in range(2 * per_label)]


def scored(texts: Texts, count: int = 60) -> list[dict[str, Any]]:
    rows = []
    for _ in range(count):
        kept = texts.draw.randint(0, 12)
        text = texts.text()
        rows.append({"sentence1": text, "sentence2": texts.like(text, kept), "score": round(kept / 12, 3)})
    return rows


def paired(texts: Texts) -> list[dict[str, Any]]:
    rows = [{"sent1": texts.text(), "labels": n % 2} for n in range(50)]
    return [{**row, "sent2": texts.like(str(row["sent1"]), 6 if row["labels"] else 1)} for row in rows]


def clusters(texts: Texts) -> list[dict[str, Any]]:
    rows = labelled(texts)
    return [{"sentences": [row["text"] for row in rows], "labels": [str(row["label"]) for row in rows]}]


def searched(texts: Texts, split: str, *, reranked: bool = False) -> dict[str, bytes]:
    """A repository of BEIR's parts: every query has two relevant passages out of sixty, one more than the other."""
    passages = [{"_id": f"p{n}", "title": "", "text": texts.text(20)} for n in range(60)]
    queries = [{"_id": f"q{n}", "text": texts.like(passages[2 * n]["text"], 9)[:14]} for n in range(20)]
    judged = [{"query-id": f"q{n}", "corpus-id": f"p{2 * n + m}", "score": 2 - m} for n in range(20) for m in range(2)]
    parts = {"corpus": passages, "queries": queries, "default": judged}
    if reranked:
        given = [[f"p{(2 * n + m) % 60}" for m in range(10)] for n in range(20)]
        parts["top_ranked"] = [{"query-id": f"q{n}", "corpus-ids": ids} for n, ids in enumerate(given)]
    configs = [{"config_name": name, "data_files": [{"split": split, "path": f"{name}/{split}-*"}]} for name in parts]
    # JSON is YAML.
    files = {f"{name}/{split}-00000-of-00001.parquet": parquet(rows) for name, rows in parts.items()}
    return files | {"README.md": f"---\nconfigs: {json.dumps(configs)}\n---\n".encode()}


def t2ranking(texts: Texts, step: int) -> dict[str, bytes]:
    """Passages with the pids 0, step, 2 * step ...: 160 of them, judged for 40 queries, from 0 to 3."""
    passages = [texts.text(20) for _ in range(160)]
    queries = [texts.like(passages[4 * n], 9)[:14] for n in range(40)]
    lines = {
        "collection": ["pid\ttext", *(f"{n * step}\t{text}" for n, text in enumerate(passages))],
        "queries.dev": ["qid\ttext", *(f"{7 * n}\t{text}" for n, text in enumerate(queries))],
        "qrels.dev": [
            "qid\t-\tpid\trel",
            *(f"{7 * n}\t0\t{(4 * n + m) * step}\t{max(0, 3 - m)}" for n in range(40) for m in range(4)),
        ],
    }
    return {f"data/{name}.tsv": ("\n".join(told) + "\n").encode() for name, told in lines.items()}


def commit(hub: HubDouble, name: str, files: Mapping[str, bytes], revision: str) -> None:
    """Commit under the very name that a task asks for, as the Hub would have it."""
    made = hub.commit(name, files)
    repository = hub.repository(name)
    repository.commits[revision] = repository.commits.pop(made)
    repository.refs["main"] = revision


#: One task of every type, and one of code: where mteb 2.26 reads it, at which commit, its split.
TASKS = {
    "TNews": (
        "Classification",
        "C-MTEB/TNews-classification",
        "317f262bf1e6126357bbe89e875451e4b0938fe4",
        "validation",
    ),
    "CLSClusteringS2S": ("Clustering", "C-MTEB/CLSClusteringS2S", "e458b3f5414b62b7f9f83499ac1f5497ae2e869f", "test"),
    "Ocnli": ("PairClassification", "C-MTEB/OCNLI", "66e76a618a34d6d565d5538088562851e6daa7ec", "validation"),
    "T2Reranking": ("Reranking", "mteb/T2Reranking", "a34fe6bc0dff185af1228e49a0f6fb1de1565627", "dev"),
    "CovidRetrieval": ("Retrieval", "mteb/CovidRetrieval", "9c6dc4b276bb47c3ff725bbc5ffcafd56dded38b", "dev"),
    "LCQMC": ("STS", "C-MTEB/LCQMC", "17f9b096f80380fce5ed12a9be8be7784b337daf", "test"),
    "CosQA": ("Retrieval", "CoIR-Retrieval/cosqa", "bc5efb7e9d437246ce393ed19d772e08e4a79535", "test"),
}


def mount(hub: HubDouble) -> None:
    """The data sets of TASKS."""
    texts = Texts(5)
    made: dict[str, Callable[[str], dict[str, bytes]]] = {
        "Classification": lambda split: {
            f"data/{name}-00000-of-00001.parquet": parquet(labelled(texts)) for name in ("train", split)
        },
        "Clustering": lambda split: {f"data/{split}-00000-of-00001.parquet": parquet(clusters(texts))},
        "PairClassification": lambda split: {f"data/{split}-00000-of-00001.parquet": parquet(paired(texts))},
        "Reranking": lambda split: searched(texts, split, reranked=True),
        "Retrieval": lambda split: searched(texts, split),
        "STS": lambda split: {f"data/{split}-00000-of-00001.parquet": parquet(scored(texts))},
    }
    for kind, name, revision, split in TASKS.values():
        commit(hub, name, made[kind](split), revision)
