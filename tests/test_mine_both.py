"""Candidates seen from text and positive: against plain loops, and a corpus that tells how near they may come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.finished import Corpus, Made, build
from pipeline.manifest.settings import MineConfig, RuleConfig
from pipeline.mine import mine
from pipeline.mine.both import GRID, JUDGED, UNTOLD

RULE = RuleConfig(negatives=4, p=0.95)


def families(n: int, seed: int = 0) -> list[list[str]]:
    """Questions in families of four wordings; neighbouring families share most of their characters."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(n // 3):
        stem = [chr(0x4E00 + c) for c in draw.integers(0, 300, 7)]
        for _ in range(3):
            stem[int(draw.integers(7))] = chr(0x4E00 + int(draw.integers(300)))
            words = "".join(stem)
            found.append([f"请问{words}吗", f"如何看待{words}", f"{words}怎么办呢", f"关于{words}的问题"])
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    pairs = [{"text": one[0], "text_pos": other} for one in families(600) for other in one[1:]]
    return build(tmp_path_factory.mktemp("build"), [Corpus("one", pairs, symmetric=True, near=False)])


def mined(made: Made, out: Path, config: MineConfig) -> dict:
    out.mkdir()
    return mine(made.inputs, made.known, out, config, RULE)["corpora"]["one"]


def test_no_candidate_is_too_near_to_text_and_positive_together(tmp_path: Path) -> None:
    one = families(30)
    pairs = [{"text": words[0], "text_pos": other} for words in one for other in words[1:3]]
    made = build(tmp_path / "build", [Corpus("one", pairs, symmetric=True, near=False)])
    told = mined(made, tmp_path / "out", MineConfig(both=0.6))
    assert told["both"] == {"taken": 0.6, "tried": []}
    texts, rows = made.pools["one"]["text"].to_list(), made.matrices["one"].astype(np.float64)
    at = {text: i for i, text in enumerate(texts)}
    candidates = pl.read_parquet(tmp_path / "out/one/candidates-*.parquet")
    struck = 0
    for words in one:
        text, positives = at[words[0]], [at[words[1]], at[words[2]]]
        middle = ((rows[text] + rows[positives].mean(axis=0)) / 2).astype(np.float16).astype(np.float64)
        score_pos = min(np.float32(rows[text] @ rows[i]) for i in positives)
        limit = told["mu"] + 0.6 * (float(score_pos) - told["mu"])
        free = [at[t] for f in one for t in f[:3] if f is not words]
        expected = {i for i in free if float(np.float32(middle @ rows[i])) <= limit}
        assert set(candidates.filter(pl.col("text") == text)["ids"][0]) == expected
        struck += len(free) - len(expected)
    assert struck > 20


def test_a_corpus_tells_how_near_candidates_may_come(made: Made, tmp_path: Path) -> None:
    """What is cut out of one deep search counts what a search of its own finds, on the texts that decide and on the rest."""
    told = mined(made, tmp_path / "told", MineConfig())
    tried = {one["both"]: one for one in told["both"]["tried"]}
    assert list(tried) == list(GRID) and tried[None]["negatives"] >= JUDGED
    taken = told["both"]["taken"]
    fits = [one["false"] + 2 <= 0.005 * one["negatives"] for one in tried.values()]
    assert list(tried)[fits.index(True)] == taken is not None
    whole = mined(made, tmp_path / "whole", MineConfig(both=taken))["yardstick"]["hidden"]
    rest = told["yardstick"]["hidden"]
    assert whole["texts"] > 590 and rest["texts"] == whole["texts"] // 2
    for name in ("negatives", "false"):
        assert whole[name] == tried[taken][name] + rest[name]
    assert rest["false_per_negative"] < 0.01 < tried[None]["false"] / tried[None]["negatives"]


def test_too_few_known_matches_and_other_corpora_tell_nothing(tmp_path: Path) -> None:
    pairs = [{"text": words[0], "text_pos": words[1]} for words in families(60)]
    corpora = [Corpus("one", pairs, symmetric=True), Corpus("two", pairs)]
    made = build(tmp_path / "build", corpora)
    (tmp_path / "out").mkdir()
    told = mine(made.inputs, made.known, tmp_path / "out", MineConfig(), RULE)["corpora"]
    assert (told["one"]["both"]["taken"], told["two"]["both"]["taken"]) == (UNTOLD, None)
