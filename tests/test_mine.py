"""Mining against a brute-force oracle on real pairs, an independent scan for false negatives, and bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mining import Corpus, Made, build
from mining_oracle import Oracle

from pipeline.manifest.settings import MineConfig, RuleConfig
from pipeline.mine import mine
from pipeline.mine.rule import ORIGINS, Found, Given, select

RULE, KEEP = RuleConfig(negatives=5), 30


def lines(path: Path, n: int) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t") for line, _ in zip(file, range(n), strict=False)]


def real(folder: Path) -> list[Corpus]:
    """Some 3,000 records: questions, questions with shipped negatives, and questions to passages of documents."""
    import json

    similar = lines(folder / "lcqmc/raw/LCQMC.valid.data", 2600)
    ranked = [json.loads(row[0]) for row in lines(folder / "SimCLUE/raw/train_rank_1w.json", 900)]
    articles = json.loads((folder / "cmrc2018/raw/squad-style-data/cmrc2018_trial.json").read_text("utf-8"))["data"]
    passages = [
        {"text": qa["question"], "text_pos": paragraph["context"], "doc": paragraph["id"]}
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ][:900]
    pairs = [{"text": a, "text_pos": b, "removed": i % 7 == 3} for i, (a, b, y) in enumerate(similar) if y == "1"]
    return [
        Corpus("similar", pairs, [(a, b, y == "1") for a, b, y in similar], symmetric=True),
        Corpus(
            "ranked",
            [
                {"text": r["query"], "text_pos": r["title"], "text_neg": [r["neg_title"]] if "neg_title" in r else []}
                for r in ranked
            ],
            symmetric=True,
        ),
        Corpus("passages", passages),
    ]


@pytest.fixture(scope="module")
def corpora(real_corpora: Path) -> list[Corpus]:
    return real(real_corpora)


@pytest.fixture(scope="module")
def made(corpora: list[Corpus], tmp_path_factory: pytest.TempPathFactory) -> Made:
    return build(tmp_path_factory.mktemp("build"), corpora, two_sided=True)


@pytest.fixture(scope="module")
def mined(made: Made, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("mined")
    return out, mine(made.inputs, made.known, out, MineConfig(keep=KEEP), RULE)


def chosen(out: Path, corpus: str, data: pl.DataFrame, rule: RuleConfig, mu: float) -> list[list[int]]:
    pairs = pl.read_parquet(out / corpus / "pairs-*.parquet")
    candidates = pl.read_parquet(out / corpus / "candidates-*.parquet")
    picked = select(
        pairs["text"].to_numpy(),
        pairs["score_pos"].to_numpy(),
        np.array([int(i[:16], 16) for i in data["record_id"]], np.uint64),
        given_of(pairs),
        found_of(candidates),
        rule,
        mu,
    )
    return [picked.ids[a:b].tolist() for a, b in zip(picked.offsets, picked.offsets[1:], strict=False)]


def given_of(pairs: pl.DataFrame) -> Given:
    items = pairs["given"].explode(empty_as_null=False).struct.unnest()
    offsets = np.concatenate([[0], np.cumsum(pairs["given"].list.len())]).astype(np.int64)
    origins = np.array([ORIGINS.index(o) for o in items["origin"]], np.uint8)
    return Given(offsets, items["id"].to_numpy(), items["score"].to_numpy(), origins)


def found_of(candidates: pl.DataFrame) -> Found:
    offsets = np.concatenate([[0], np.cumsum(candidates["ids"].list.len())]).astype(np.int64)
    flat = [candidates[c].explode(empty_as_null=False).to_numpy() for c in ("ids", "scores", "ranks")]
    return Found(candidates["text"].to_numpy(), offsets, *flat)


@pytest.mark.parametrize("pool", ["corpus", "all"])
def test_equal_to_brute_force_on_real_records(
    pool: str, made: Made, corpora: list[Corpus], mined: tuple[Path, dict], tmp_path: Path
) -> None:
    out, told = mined
    names = [c.name for c in corpora]
    if pool == "all":
        out = tmp_path
        told = mine(made.inputs, made.known, out, MineConfig(keep=KEEP, pool="all"), RULE)
    for name in names:
        oracle = Oracle(made, corpora, names if pool == "all" else [name])
        receipt = told["corpora"][name]
        assert receipt["mu"] == pytest.approx(oracle.mean(name), abs=1e-6)
        assert receipt["pool"] == (names if pool == "all" else [name])
        mu = receipt["mu"]
        records, stored = oracle.mine(name, RULE, KEEP, mu)
        pairs = pl.read_parquet(out / name / "pairs-*.parquet")
        assert pairs["text"].to_list() == [r["text"] for r in records]
        assert pairs["pos"].to_list() == [r["pos"] for r in records]
        assert pairs["score_pos"].to_list() == [r["score_pos"] for r in records]
        assert [[(g["id"], g["origin"], g["score"]) for g in row] for row in pairs["given"].to_list()] == [
            r["given"] for r in records
        ]
        candidates = pl.read_parquet(out / name / "candidates-*.parquet")
        assert candidates["text"].to_list() == sorted(stored)
        for q, ids, scores, ranks in candidates.iter_rows():
            assert list(zip(ids, scores, ranks, strict=True)) == stored[q], (name, q)
        assert chosen(out, name, made.data[name], RULE, mu) == [r["chosen"] for r in records]


@pytest.mark.parametrize("name", ["similar", "ranked", "passages"])
def test_no_negative_belongs_with_its_text_or_positive(
    name: str, made: Made, corpora: list[Corpus], mined: tuple[Path, dict]
) -> None:
    """An independent scan: plain strings, sets of shingles and a walk over the labelled matches; no evidence, no groups."""
    out, told = mined
    corpus = next(c for c in corpora if c.name == name)
    positives: dict[str, set[str]] = {}
    for c in corpora:
        for a, b in [(p["text"], p["text_pos"]) for p in c.pairs] + [(a, b) for a, b, y in c.labelled if y]:
            positives.setdefault(plain(a), set()).add(plain(b))
            positives.setdefault(plain(b), set()).add(plain(a))
    documents: dict[str, set[str]] = {}
    for p in corpus.pairs:
        if "doc" in p:
            documents.setdefault(p["doc"], set()).add(plain(p["text_pos"]))
    texts = made.pools[name]["text"].to_list()
    data = made.data[name]
    negatives = chosen(out, name, data, RULE, told["corpora"][name]["mu"])
    looked = 0
    for p, row in zip([p for p in corpus.pairs if not p.get("removed")], negatives, strict=True):
        text, pos = plain(p["text"]), plain(p["text_pos"])
        banned = {text, pos} | positives[text] | documents.get(p.get("doc", ""), set())
        if corpus.symmetric:
            banned |= reachable(text, positives) & reachable(text, positives)
        assert len(set(row)) == len(row)
        for i in row:
            negative = plain(texts[i])
            assert negative not in banned, (p, texts[i])
            if i in {g for g, _, _ in ()}:
                continue
            for side in (text, pos):
                assert not near(side, negative), (p, texts[i])
            looked += 1
    assert looked > 2 * len(negatives)


def plain(text: str) -> str:
    """NFKC, lower case, letters, digits and symbols only: a rough match key of our own."""
    import unicodedata

    folded = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(ch for ch in folded if unicodedata.category(ch)[0] not in "PZC")
    return kept or folded


def near(a: str, b: str) -> bool:
    """Jaccard of shingles from 0.8 up, with the same digits and as many negations."""
    if min(len(a), len(b)) < 6:
        return a == b
    k = 2 if min(len(a), len(b)) < 20 else 3
    one, two = ({s[i : i + k] for i in range(len(s) - k + 1)} for s in (a, b))
    same = [c for c in a if c.isdecimal()] == [c for c in b if c.isdecimal()]
    same &= all(a.count(w) == b.count(w) for w in "不没无非未")
    return same and len(one & two) / len(one | two) >= 0.8


def reachable(text: str, positives: dict[str, set[str]]) -> set[str]:
    seen, todo = {text}, [text]
    while todo:
        for other in positives.get(todo.pop(), ()):
            if other not in seen:
                seen.add(other)
                todo.append(other)
    return seen
