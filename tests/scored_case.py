"""A small mined base in plain Python, and a finished build with scores made of it.

Two corpora. `ask`: symmetric, labelled, two sub-sources under different terms, texts that several records hold. `docs`:
one-directional, with shipped negatives and no labels. Vectors are hashed character bigrams; candidates come from a sort.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from pipeline.licence import RowTerms
from pipeline.manifest.settings import RuleConfig, ScoreConfig
from pipeline.record import CANDIDATE_SCHEMA, DATA_SCHEMA, LABELLED_DATA_SCHEMA, PAIR_SCHEMA, POOL_SCHEMA
from pipeline.score import PoolPart, ScoreInput, score

TERMS = {
    "": ("CC-BY-SA-4.0", "allowed", "allowed"),
    "nc": ("CC-BY-NC-4.0", "forbidden", "allowed"),
    "web": ("NOASSERTION", "unknown", "unknown"),
}
NOUNS = [
    "信用卡",
    "花呗",
    "借呗",
    "余额宝",
    "手机",
    "密码",
    "账单",
    "贷款",
    "利息",
    "额度",
    "银行卡",
    "邮箱",
    "快递",
    "退款",
    "订单",
    "发票",
    "医保",
    "社保",
    "护照",
    "驾照",
]
VERBS = ["开通", "关闭", "还款", "查询", "修改", "申请", "取消", "绑定", "延期", "提高"]
ASKS = ["怎么{v}{n}", "如何{v}{n}？", "{n}能不能{v}", "请问{n}怎样{v}呢", "我想{v}{n}，怎么办"]
FREE = RowTerms(licence_id="MIT", commercial="allowed", redistribute="allowed")


@dataclass
class Mined:
    """One corpus as mining leaves it. `vectors`: text -> float32 [64], what every score comes from."""

    name: str
    folder: Path
    records: list[dict[str, Any]]
    labelled: list[dict[str, Any]]
    texts: list[str] = field(default_factory=list)
    mu: float = 0.0

    def paths(self, pattern: str) -> list[Path]:
        return sorted(self.folder.glob(pattern))

    @property
    def part(self) -> PoolPart:
        return PoolPart(self.name, self.paths("pool-*"), self.paths("train-*"), self.paths("pairs-*"))

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.folder / "mined.json").read_bytes())
        return told

    def input(self, pool: Sequence[Mined] | None = None, miner: RowTerms = FREE) -> ScoreInput:
        return ScoreInput(
            self.name,
            [one.part for one in pool or [self]],
            self.paths("candidates-*"),
            self.paths("labelled.parquet"),
            self.paths("labelled-scores.parquet"),
            self.told,
            miner,
        )


def text_hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())


def key(text: str) -> str:
    """What spellings of one sentence share."""
    return "".join(letter for letter in text if letter not in "，。？")


def vector(text: str) -> np.ndarray:
    """Hashed character bigrams, float16 as stored, read as float32."""
    made = np.zeros(64)
    for pair in zip("^" + text, text + "$", strict=True):
        made[text_hash("".join(pair)) % 64] += 1
    stored: np.ndarray = (made / np.linalg.norm(made)).astype(np.float16).astype(np.float32)
    return stored


def cosine(a: str, b: str) -> float:
    """In float64."""
    return float(vector(a).astype(np.float64) @ vector(b).astype(np.float64))


def record(corpus: str, number: int, sub: str, text: str, pos: str, **more: Any) -> dict[str, Any]:
    licence, commercial, redistribute = TERMS[sub]
    return {
        "record_id": hashlib.md5(f"{corpus}/{number}".encode()).hexdigest(),
        "corpus": corpus,
        "sub_source": sub,
        "split": "train",
        "row": f"{corpus}.jsonl#{number}",
        "text": text,
        "text_pos": pos,
        "text_neg": [],
        "also_in": [],
        "prompt": "相似" if corpus == "ask" else "问答",
        "prompt_pos": "",
        "score": None,
        "doc_group": number,
        "quality_score": None,
        **dict.fromkeys(("text_group", "pos_group", "cluster"), number),
        "licence_id": licence,
        "commercial": commercial,
        "redistribute": redistribute,
    } | more


def label(
    corpus: str, number: int, text: str, other: str, match: bool | None, score: float | None = None
) -> dict[str, Any]:
    made = record(corpus, 10_000 + number, ["", "nc", "web"][number % 3], text, other, score=score)
    made |= {"other": other, "label": match}
    return {name: made[name] for name in LABELLED_DATA_SCHEMA.names}


def ask(seed: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    draw = random.Random(seed)
    topics = [(n, v) for n in NOUNS for v in VERBS]
    records, labelled = [], []
    for i in range(160):
        (n, v), (a, b) = draw.choice(topics), draw.sample(ASKS, 2)
        text, pos = a.format(n=n, v=v), b.format(n=n, v=v)
        records.append(record("ask", i, draw.choice(["", "nc", "web"]), text, pos, score=4.0 if i % 40 == 7 else None))
        labelled.append(label("ask", 2 * i, text, pos, True) if i % 3 else label("ask", 2 * i, text, pos, None, 4.5))
        other = draw.choice(ASKS).format(n=n, v=draw.choice([w for w in VERBS if w != v]))
        if i % 5 == 0:  # another spelling of the record's text
            text = text[:2] + "，" + text[2:] + "。"
        # Every other one as the pair stands the other way round.
        labelled.append(label("ask", 2 * i + 1, *((text, other) if i % 2 else (other, text)), False))
    # Held by `docs` too, which comes first in a common pool, under stricter terms.
    records.append(record("ask", 160, "", "请问花呗怎样开通呢", "花呗能不能开通"))
    labelled.append(label("ask", 999, "满分在哪里", "五分的一对", None, 5.0))
    return records, labelled


def docs(seed: int = 2) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    draw = random.Random(seed)
    records = []
    for i in range(90):
        n, v = draw.choice(NOUNS), draw.choice(VERBS)
        body = f"要{v}{n}，先打开应用，找到{n}一栏，点第{i}个按钮，再按提示{v}即可。"
        neg = [f"{n}与{draw.choice(NOUNS)}不能同时{v}。"] if i % 4 == 0 else []
        records.append(record("docs", i, "", f"{n}{v}指南{i}", body, text_neg=neg))
    # A question that `ask` holds too, under other terms.
    records.append(record("docs", 90, "nc", "怎么开通花呗", "花呗能不能开通"))
    return records, []


def mine(
    folder: Path, corpora: Mapping[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]], *, pooled: bool
) -> list[Mined]:
    """Pools, pairs, candidates of these corpora, each in a folder of its own; numbers run over all pools if `pooled`."""
    made = [Mined(name, folder / name, *told) for name, told in corpora.items()]
    for one in made:
        one.folder.mkdir(parents=True)
        _pool(one)
        half = len(one.records) // 2
        for i, rows in enumerate((one.records[:half], one.records[half:])):
            _write(one.folder / f"train-{i:05d}-of-00002.parquet", rows, DATA_SCHEMA)
        if one.labelled:
            _write(one.folder / "labelled.parquet", one.labelled, LABELLED_DATA_SCHEMA)
            scores = [cosine(row["text"], row["other"]) for row in one.labelled]
            pq.write_table(pa.table({"score": pa.array(scores, pa.float32())}), one.folder / "labelled-scores.parquet")
    for one in made:
        _mine(one, made if pooled else [one], half=len(one.records) // 2)
    return made


def _pool(one: Mined) -> None:
    texts = {text for r in one.records for text in (r["text"], r["text_pos"], *r["text_neg"])}
    texts |= {text for r in one.labelled for text in (r["text"], r["other"])}
    one.texts = sorted(texts, key=lambda text: (text_hash(text), text))
    for i in range(2):
        shard = [{"text": t, "document": False} for t in one.texts if text_hash(t) >> 63 == i]
        _write(one.folder / f"pool-{i:05d}.parquet", shard, POOL_SCHEMA)


def _mine(one: Mined, pool: list[Mined], half: int) -> None:
    texts = [text for other in pool for text in other.texts]
    first = sum(len(other.texts) for other in pool[: pool.index(one)])
    number = {text: first + i for i, text in enumerate(one.texts)}
    queries = sorted({r["text"] for r in one.records}, key=number.__getitem__)
    held = {r["text_pos"] for other in pool for r in other.records} | {
        r["text"] for r in one.records if one.name == "ask"
    }
    # One number per text; of two pools that hold it, that of the later.
    able = sorted({text: i for i, text in enumerate(texts) if text in held}.values())
    matches: dict[str, set[str]] = {}
    for a, b in [(r["text"], r["text_pos"]) for r in one.records] + [
        (r["text"], r["other"]) for r in one.labelled if r["label"] is not False
    ]:
        matches.setdefault(a, set()).add(b)
        matches.setdefault(b, set()).add(a)
    vectors = np.stack([vector(text) for text in texts]).astype(np.float64)
    drawn = random.Random(3)
    randoms = [float(vectors[number[drawn.choice(queries)]] @ vectors[drawn.choice(able)]) for _ in range(2000)]
    one.mu = float(np.mean(randoms))
    rows = []
    for query in queries:
        free = [i for i in able if texts[i] != query and texts[i] not in matches.get(query, set())]
        scored = sorted((-float(np.float32(vectors[number[query]] @ vectors[i])), i) for i in free)[:40]
        rows.append(
            {
                "text": number[query],
                "ids": [i for _, i in scored],
                "scores": [-s for s, _ in scored],
                "ranks": list(range(1, len(scored) + 1)),
            }
        )
    _write(one.folder / "candidates-00000.parquet", rows, CANDIDATE_SCHEMA, group=50)
    pairs = [_pair(one, r, number) for r in one.records]
    for i, part in enumerate((pairs[:half], pairs[half:])):
        _write(one.folder / f"pairs-{i:05d}.parquet", part, PAIR_SCHEMA)
    told = {"mu": one.mu, "p": 0.8, "random": {"quantiles": np.quantile(randoms, np.linspace(0, 1, 101)).tolist()}}
    (one.folder / "mined.json").write_text(json.dumps(told | {"pool": [other.name for other in pool]}))


def _pair(one: Mined, row: dict[str, Any], number: dict[str, int]) -> dict[str, Any]:
    negatives = {text: "shipped" for text in row["text_neg"]}
    for judged in one.labelled:
        for text, other in ((judged["text"], judged["other"]), (judged["other"], judged["text"])):
            if judged["label"] is False and key(text) == key(row["text"]):
                negatives[other] = "labelled"
    given = [{"id": number[t], "origin": o, "score": cosine(row["text"], t)} for t, o in negatives.items()]
    given.sort(key=lambda g: (-np.float32(g["score"]), g["id"]))
    pair = {"text": number[row["text"]], "pos": number[row["text_pos"]]}
    return pair | {"score_pos": cosine(row["text"], row["text_pos"]), "given": given}


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema, group: int | None = None) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=group)


def scored_build(folder: Path, mined: list[Mined], rule: RuleConfig, config: ScoreConfig, *, pooled: bool) -> Path:
    """The folder of a finished build with scores, laid out as `m3e build` lays it out."""
    build = folder / "case-with-score"
    told: dict[str, Any] = {}
    for one in mined:
        data, kept = build / "data" / one.name, build / "candidates" / one.name
        data.mkdir(parents=True)
        kept.mkdir(parents=True)
        told[one.name] = score(one.input(mined if pooled else None), data, rule, config)
        for path in [*data.glob("terms-*"), *one.paths("p*-*"), *one.paths("candidates-*"), *one.paths("labelled-s*")]:
            path.rename(kept / path.name) if path.parent == data else (kept / path.name).hardlink_to(path)
        (kept.parent / f"{one.name}.json").write_text(json.dumps(one.told))
        if one.labelled:
            (build / "labelled").mkdir(exist_ok=True)
            (build / "labelled" / f"{one.name}.parquet").hardlink_to(one.folder / "labelled.parquet")
    funnels = [
        {"corpus": o.name, **dict.fromkeys(("read", "used", "converted", "kept"), len(o.records)), "filtered": 0}
        | {"quarantined": 0, "removed": {}, "labelled": 0, "labelled_kept": 0, "labelled_removed": {}}
        for o in mined
    ]
    (build / "funnel.json").write_text(json.dumps({"corpora": funnels}))
    files = {
        path.relative_to(build).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in sorted(build.rglob("*"))
        if path.is_file()
    }
    recipe = {"name": "case-with-score", "base": "case", "encoder": "bigrams", "rule": rule.model_dump()}
    receipt = {
        "recipe": recipe | {"score": config.model_dump(), "mine": {}},
        "licences": {name: one["licences"] for name, one in told.items()},
        "score": told,
        "files": files,
    }
    (build / "build.json").write_text(json.dumps(receipt, ensure_ascii=False))
    return build
