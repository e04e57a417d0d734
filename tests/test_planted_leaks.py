"""Leaks of real questions planted in real corpora: exact, edited, embedded, as a pair, joined. At least 99 % are found.

Planting and checking share no code with the pipeline: keys, Jaccard and containment are computed on plain strings.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import opencc
import pytest

from pipeline.manifest.settings import DecontaminateConfig
from tests.reference_key import reference_key
from tests.string_oracle import side
from tests.workbench import Record, Workbench

CONFIG = DecontaminateConfig()
#: Kind of leak -> planted records.
PLANTED = {"exact": 250, "edited": 400, "embedded": 250, "pair": 200, "joined": 150}
FOUND = 0.99
TO_TRADITIONAL = opencc.OpenCC("s2t")
PROMPTS = ["请回答下面的问题：", "阅读材料后作答。", "你是一位助手，请用一句话说明：", "下面这句话是什么意思？"]


@dataclass(frozen=True)
class Leak:
    kind: str
    task: str
    record: Record


@dataclass(frozen=True)
class Real:
    """Texts of the slices: `questions` with their passage, `short` ones with an answer, papers, and what carries leaks."""

    questions: list[tuple[str, str]]
    short: list[tuple[str, str]]
    papers: list[tuple[str, str]]
    carriers: list[tuple[str, str]]


def lines(path: Path) -> list[dict[str, str]]:
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    return [json.loads(line) for line in raw.splitlines()]


def real(folder: Path) -> Real:
    squad = json.loads((folder / "cmrc2018/raw/squad-style-data/cmrc2018_dev.json").read_text("utf-8"))
    paragraphs = [paragraph for article in squad["data"] for paragraph in article["paragraphs"]]
    questions = [(qa["question"], p["context"]) for p in paragraphs for qa in p["qas"]]
    with (folder / "lcqmc/raw/LCQMC.valid.data").open(encoding="utf-8", newline="") as file:
        told = [row[:2] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]
    short = [
        (a, b) for a, b in told if len(reference_key(a)) < CONFIG.min_chars and reference_key(a) != reference_key(b)
    ]
    papers = [(row["title"], row["abstract"]) for row in lines(folder / "csl/hf/data/csl.jsonl.gz")]
    baike = lines(folder / "baike2018qa/raw-standin/baike_qa_valid.json")
    alpaca = json.loads((folder / "alpaca_gpt4/raw-standin/alpaca_zh_demo.json").read_text("utf-8"))
    carriers = [(row["title"], row["answer"]) for row in baike[:1500] if row["answer"]]
    carriers += [(row["instruction"], row["output"]) for row in alpaca]
    return Real(questions, short, papers, carriers)


def disguised(rng: random.Random, text: str) -> str:
    """Another spelling of the same key."""
    key = reference_key(text)
    ways: list[Callable[[str], str]] = [
        TO_TRADITIONAL.convert,
        lambda t: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t),
        lambda t: f"　{t}！",
        lambda t: t[: len(t) // 2] + "，" + t[len(t) // 2 :],
        str.upper,
    ]
    for way in rng.sample(ways, 2):
        changed = way(text)
        text = changed if reference_key(changed) == key else text
    return text


def edited(rng: random.Random, text: str, others: str) -> str | None:
    """The text with characters changed, added or taken away, at a Jaccard of 0.8 or more and under 1; None if there is none."""
    key = reference_key(text)
    for _ in range(30):
        changed = text
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(changed) + 1)
            changed = changed[:at] + rng.choice(["", rng.choice(others)]) + changed[at + rng.randrange(2) :]
        now = reference_key(changed)
        if now != key and len(now) >= CONFIG.min_chars and side(now, key) >= CONFIG.threshold:
            return changed
    return None


def planted(rng: random.Random, texts: Real, queries: list[str], pairs: list[tuple[str, str]]) -> list[Leak]:
    """Leaks of every kind on either side of real records."""
    others = "".join(text for text, _ in texts.carriers[:300])
    leaks: list[Leak] = []

    def add(kind: str, task: str, text: str, other: str) -> None:
        sides = (text, other) if rng.random() < 0.5 else (other, text)
        leaks.append(Leak(kind, task, sides))

    for _ in range(PLANTED["exact"]):
        add("exact", "Questions", disguised(rng, rng.choice(queries)), rng.choice(texts.carriers)[1])
    while sum(leak.kind == "edited" for leak in leaks) < PLANTED["edited"]:
        changed = edited(rng, rng.choice(queries), others)
        if changed is not None:
            add("edited", "Questions", changed, rng.choice(texts.carriers)[1])
    long = [query for query in queries if len(reference_key(query)) >= CONFIG.inside_chars]
    for _ in range(PLANTED["embedded"]):
        text, answer = rng.choice(texts.carriers)
        add("embedded", "Questions", rng.choice(PROMPTS) + disguised(rng, rng.choice(long)) + "。" + text, answer)
    for _ in range(PLANTED["pair"]):
        query, positive = rng.choice(pairs)
        add("pair", "Short", disguised(rng, query), disguised(rng, positive))
    for _ in range(PLANTED["joined"]):
        title, abstract = rng.choice(texts.papers[:500])
        add("joined", "Papers", disguised(rng, title), abstract)
    return leaks


def test_planted_leaks_are_found_and_nothing_else(
    real_corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, texts, bench = random.Random(11), real(real_corpora), Workbench(tmp_path)
    chosen = rng.sample([pair for pair in texts.questions if len(reference_key(pair[0])) >= CONFIG.min_chars], 400)
    queries = [question for question, _ in chosen]
    bench.benchmark("Questions", queries=queries, positives=[passage for _, passage in chosen], pairs=chosen)
    bench.benchmark("Short", queries=[a for a, _ in texts.short], pairs=texts.short)
    bench.benchmark("Papers", joined=[f"{title} {abstract}" for title, abstract in texts.papers[:500]])
    leaks = planted(rng, texts, queries, texts.short)
    clean = texts.carriers + texts.papers[500:]
    records = [leak.record for leak in leaks] + clean
    marks = bench.run(records, instruction_data=True, shard_rows=2_000).rows("marks")

    found: dict[str, Counter[bool]] = defaultdict(Counter)
    keys = [reference_key(query) for query in queries]
    for leak, mark in zip(leaks, marks, strict=False):
        found[leak.kind][mark["reason"] is not None and f"contaminated:{leak.task}" in mark["flags"]] += 1
        if mark["reason"] == "benchmark_query" and mark["against"] == "Questions":
            similar = max(best(reference_key(text), keys) for text in leak.record[:2])
            assert mark["similarity"] == pytest.approx(similar, abs=1e-6)
        elif leak.kind != "edited" and mark["reason"] is not None:
            assert mark["similarity"] == 1.0
    with capsys.disabled():
        told = ", ".join(f"{kind} {counts[True]} of {sum(counts.values())}" for kind, counts in found.items())
        print(f"\nplanted leaks found: {told}")  # noqa: T201 - the figures are what this test is read for
    assert {kind: sum(counts.values()) for kind, counts in found.items()} == PLANTED
    for kind, counts in found.items():
        assert counts[True] / PLANTED[kind] >= FOUND, kind

    pairs = {frozenset(map(reference_key, pair)) for pair in texts.short}
    for record, mark in zip(clean, marks[len(leaks) :], strict=True):
        if mark["reason"] is not None:
            sides = [reference_key(text) for text in record]
            inside = any(len(key) >= CONFIG.inside_chars and key in text for key in keys for text in sides)
            assert inside or frozenset(sides) in pairs or max(best(text, keys) for text in sides) >= CONFIG.threshold


def best(key: str, queries: list[str]) -> float:
    """The highest similarity of a key to any of these keys; lengths too far apart cannot reach the threshold."""
    near = (query for query in queries if 0.6 * len(key) <= len(query) <= 1.7 * len(key) + 3)
    return max((side(key, query) for query in near), default=0.0)
