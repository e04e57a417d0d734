"""Evaluation without a network: scores against plain computations, T2Ranking's rule, the search, resuming, wrong input."""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import m3e
from evaluation_data import Texts, labelled, parquet, scored, t2ranking
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from tiny_model import letters, tiny_model

torch = pytest.importorskip("torch")
if importlib.util.find_spec("mteb") is None:
    pytest.skip("mteb is not installed (extra eval)", allow_module_level=True)

STEP = 100


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny", [letters()], layers=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of local tasks, in every layout there is."""
    folder, texts = tmp_path_factory.mktemp("local"), Texts(1)
    rows = [{"a": row["sentence1"], "b": row["sentence2"], "gold": 5 * row["score"]} for row in scored(texts)]
    (folder / "sts.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    pairs = [
        (text, texts.like(text, 7 if n % 3 == 0 else 4), int(n % 3 == 0)) for n in range(60) if (text := texts.text())
    ]
    (folder / "pairs.csv").write_text("text,other,label\n" + "".join(f"{a},{b},{y}\n" for a, b, y in pairs), "utf-8")
    asked = [(text := texts.text(), texts.like(text, 5) + texts.text(6)) for _ in range(50)]
    told = [{"text": text, "text_pos": text_pos} for text, text_pos in [*asked, (asked[0][0], texts.text(9)), asked[1]]]
    (folder / "answers.parquet").write_bytes(parquet(told))
    (folder / "tasks.yaml").write_text(
        "tasks:\n"
        "  - {name: similar, type: sts, file: sts.jsonl, text: a, other: b, score: gold, max_score: 5}\n"
        "  - {name: doubles, type: pairs, file: pairs.csv}\n"
        "  - {name: answers, type: retrieval, pairs: answers.parquet}\n",
        "utf-8",
    )
    return folder


@pytest.fixture(scope="module")
def done(tiny: Path, home: Path) -> tuple[Path, Any]:
    out = home.parent / "scores"
    run = m3e("evaluate", tiny, "--suite", "local", "--local", home, "--out", out)
    assert run.returncode == 0, run.stderr
    return out, run


def scores(out: Path) -> dict[str, dict[str, Any]]:
    return {row["task"]: row for row in json.loads((out / "results.json").read_bytes())["scores"]}


def vectors(model: Path, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    from sentence_transformers import SentenceTransformer

    found = SentenceTransformer(str(model), device="cpu").encode(list(texts), show_progress_bar=False)
    rows = np.asarray(found, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measures(cosines: Mapping[str, Mapping[str, float]], judged: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """map, mrr and ndcg at 1 and 10 as trec_eval defines them, in plain Python; of equal scores the greater id first."""
    told: dict[str, list[float]] = {}
    for query, right in judged.items():
        order = sorted(cosines[query].items(), key=lambda item: (item[1], item[0]), reverse=True)
        gains = [right.get(name, 0) for name, _ in order]
        relevant = sum(gain > 0 for gain in right.values())
        for k in (1, 10):
            hits = [rank for rank, gain in enumerate(gains[:k], 1) if gain > 0]
            precision = [(n + 1) / rank for n, rank in enumerate(hits)]
            best = sorted(right.values(), reverse=True)
            dcg, ideal = (
                sum(gain / math.log2(rank + 1) for rank, gain in enumerate(list_[:k], 1)) for list_ in (gains, best)
            )
            told.setdefault(f"map_at_{k}", []).append(sum(precision) / relevant)
            told.setdefault(f"mrr_at_{k}", []).append(1 / hits[0] if hits else 0.0)
            told.setdefault(f"ndcg_at_{k}", []).append(dcg / ideal)
    return {name: sum(values) / len(values) for name, values in told.items()}


def test_similarity_is_spearmans_of_the_cosines(done: tuple[Path, Any], tiny: Path, home: Path) -> None:
    rows = [json.loads(line) for line in (home / "sts.jsonl").read_text("utf-8").splitlines()]
    cosines = (vectors(tiny, [row["a"] for row in rows]) * vectors(tiny, [row["b"] for row in rows])).sum(1)
    expected = spearmanr(cosines, [row["gold"] for row in rows]).statistic
    assert scores(done[0])["similar"]["score"] == pytest.approx(expected, abs=1e-3)
    # 60 pairs each of sts and pairs, 50 questions, 51 distinct answers.
    assert "Encoded 341 texts" in done[1].stdout
    assert 0.3 < expected < 0.99


def test_pairs_are_average_precision(done: tuple[Path, Any], tiny: Path, home: Path) -> None:
    rows = [line.split(",") for line in (home / "pairs.csv").read_text("utf-8").splitlines()[1:]]
    cosines = (vectors(tiny, [row[0] for row in rows]) * vectors(tiny, [row[1] for row in rows])).sum(1)
    labels = np.array([int(row[2]) for row in rows])[np.argsort(-cosines)]
    expected = (np.cumsum(labels) / np.arange(1, len(labels) + 1))[labels == 1].mean()
    told = json.loads((done[0] / "tasks/doubles.json").read_bytes())["scores"]["test"][0]
    assert told["cosine_ap"] == pytest.approx(expected, abs=1e-3)
    assert scores(done[0])["doubles"]["score"] == pytest.approx(told["max_ap"], abs=1e-6)
    assert told["max_ap"] >= told["cosine_ap"] > 0.3


def test_pairs_as_a_search_are_ranked_as_by_hand(done: tuple[Path, Any], tiny: Path, home: Path) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(home / "answers.parquet").to_pylist()
    queries, passages = (list(dict.fromkeys(row[side] for row in rows)) for side in ("text", "text_pos"))
    assert (len(queries), len(passages)) == (50, 51)
    products = vectors(tiny, queries) @ vectors(tiny, passages).T
    cosines = {q: dict(zip(passages, row, strict=True)) for q, row in zip(queries, products, strict=True)}
    judged: dict[str, dict[str, int]] = {}
    for row in rows:
        judged.setdefault(row["text"], {})[row["text_pos"]] = 1
    row = scores(done[0])["answers"]
    assert row["details"] == pytest.approx(measures(cosines, judged), abs=1e-3)
    assert row["score"] == pytest.approx(row["details"]["ndcg_at_10"], abs=1e-5) and 0.1 < row["score"] < 0.99


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seed's data sets in a folder, as they lie on the Hub."""
    folder, texts = tmp_path_factory.mktemp("data"), Texts(2)
    for name, content in t2ranking(texts, STEP).items():
        (folder / "THUIR/T2Ranking" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "THUIR/T2Ranking" / name).write_bytes(content)
    for split in ("train", "validation"):
        place = folder / f"kuroneko5943/stock11/communication/{split}/0000.parquet"
        place.parent.mkdir(parents=True)
        place.write_bytes(parquet(labelled(texts, "sentence")))
    return folder


def test_t2ranking_takes_the_passages_up_to_n_and_scores_as_by_hand(
    tiny: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    words = ("--data", data, "--tasks", "T2Ranking-1W,StockComSentiment", "--out", tmp_path / "out")
    run = m3e("evaluate", tiny, "--suite", "mteb-zh", *words)
    assert run.returncode == 0, run.stderr
    lines = {
        name: [line.split("\t") for line in (data / f"THUIR/T2Ranking/data/{name}.tsv").read_text("utf-8").splitlines()]
        for name in ("collection", "queries.dev", "qrels.dev")
    }
    passages: dict[str, str] = {}
    for pid, text in lines["collection"][1:]:
        if int(pid) > 10_000:
            break
        passages[pid] = text
    judged: dict[str, dict[str, int]] = {}
    for qid, _, pid, rel in lines["qrels.dev"][1:]:
        if pid in passages:
            judged.setdefault(qid, {})[pid] = int(rel)
    judged = {qid: right for qid, right in judged.items() if any(right.values())}
    # Passages 0, 100, ... 10,000; the last query has one of its four among them.
    assert (len(passages), len(judged)) == (101, 26) and len(judged["175"]) == 1
    queries = {qid: text for qid, text in lines["queries.dev"][1:] if qid in judged}
    products = vectors(tiny, list(queries.values())) @ vectors(tiny, list(passages.values())).T
    cosines = {qid: dict(zip(passages, row, strict=True)) for qid, row in zip(queries, products, strict=True)}
    told = scores(tmp_path / "out")
    assert {row["revision"] for row in told.values()} == {"a folder of this machine"}
    assert told["T2Ranking-1W"]["details"] == pytest.approx(measures(cosines, judged), abs=1e-3)
    assert 0.1 < told["T2Ranking-1W"]["score"] < 0.99
    assert told["StockComSentiment"]["metric"] == "accuracy" and 0 < told["StockComSentiment"]["score"] <= 1


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 40), st.integers(1, 12), st.integers(1, 7), st.integers(1, 7), st.integers(0, 99)
)
def test_the_search_in_blocks_finds_what_sorting_everything_finds(
    queries: int, passages: int, k: int, rows: int, columns: int, seed: int
) -> None:
    from pipeline.evaluate import search

    draw = np.random.default_rng(seed)
    asked, shown = (draw.standard_normal((n, 5)).astype(np.float32) for n in (queries, passages))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "QUERY_ROWS", rows)
        patch.setattr(search, "BLOCK_ROWS", columns)
        nearest = search.Nearest(asked, k, "cpu")
        for start in range(0, passages, 11):
            nearest.show(start, shown[start : start + 11])
        found, places = nearest.found()
    exact = asked.astype(np.float64) @ shown.T.astype(np.float64)
    order = np.argsort(-exact, axis=1)[:, :k]
    held = min(k, passages)
    assert (places[:, :held] == order).all()
    assert found[:, :held] == pytest.approx(np.take_along_axis(exact, order, 1), abs=1e-5)
    assert (places[:, held:] == -1).all() and np.isneginf(found[:, held:]).all()


def test_passages_come_in_blocks_and_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ranking whether all passages are encoded at once or seven at a time, title and text as one."""
    from datasets import Dataset
    from mteb.models import ModelMeta
    from tiny_model import Letters

    from pipeline.evaluate import model as module
    from pipeline.evaluate.metadata import metadata

    texts = Texts(9)
    corpus = Dataset.from_list([{"id": f"d{n}", "title": "题" * (n % 2), "text": texts.text()} for n in range(30)])
    queries = Dataset.from_list([{"id": f"q{n}", "text": texts.text()} for n in range(4)])
    told = {"task_metadata": metadata("x", "Retrieval", "x", "x", ["test"], "x"), "hf_split": "test", "hf_subset": "a"}
    most: list[int] = []

    class Counted(Letters):
        name = weights = "letters"

        def encode(self, given: Sequence[str], document: bool, listen: Any = None) -> Any:
            most.append(len(given))
            return super().encode(given, document, listen)

    rankings = []
    for passages in (1000, 7):
        monkeypatch.setattr(module, "PASSAGES", passages)
        one = module.EvaluatedModel(ModelMeta.create_empty(), Counted(), Counted())
        one.index(corpus)
        rankings.append(one.search(queries, top_k=5, encode_kwargs={}, **told))
    assert most[-5:] == [7, 7, 7, 7, 2]
    for query, ranking in rankings[0].items():
        assert list(ranking) == list(rankings[1][query])
        assert list(ranking.values()) == pytest.approx(list(rankings[1][query].values()), abs=1e-6)
    (first, *_) = rankings[0]["q0"].items()
    joined = [" ".join(filter(None, (row["title"], row["text"]))) for row in corpus]
    cosines = Letters().encode(joined, True) @ Letters().encode([queries[0]["text"]], False)[0]
    assert first == (f"d{int(cosines.argmax())}", pytest.approx(float(cosines.max()), abs=1e-6))


def test_an_evaluation_goes_on_and_runs_again_what_changed(
    done: tuple[Path, Any], tiny: Path, home: Path, tmp_path: Path
) -> None:
    files, out = tmp_path / "files", tmp_path / "out"
    shutil.copytree(home, files)

    def run(*words: str) -> tuple[str, list[str]]:
        told = m3e("evaluate", tiny, "--suite", "local", "--local", files / "tasks.yaml", "--out", out, *words)
        assert told.returncode == 0, told.stderr
        return told.stdout, [
            line.split(": ")[1] for line in told.stderr.splitlines() if " of " in line and "." not in line
        ]

    assert run("--tasks", "doubles")[1] == ["doubles"]
    assert json.loads((out / "results.json").read_bytes())["missing"] == ["similar", "answers"]
    assert run()[1] == ["similar", "answers"]
    # The same bytes as the evaluation that ran at once.
    assert (out / "results.json").read_bytes() == (done[0] / "results.json").read_bytes()
    assert (out / "scores.svg").read_bytes() == (done[0] / "scores.svg").read_bytes()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    told, ran = run()
    assert "Nothing changed" in told and not ran
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    (files / "pairs.csv").write_text((files / "pairs.csv").read_text("utf-8").replace(",1\n", ",0\n", 3), "utf-8")
    assert run()[1] == ["doubles"]


def test_what_the_model_was_trained_on_is_marked(tiny: Path, home: Path, tmp_path: Path) -> None:
    model = tmp_path / "mine"
    shutil.copytree(tiny, model)
    (model / "training").mkdir()
    (model / "training/receipt.json").write_text('{"training_datasets": {"doubles": ["demo-similar"]}}')
    run = m3e("evaluate", model, "--suite", "local", "--local", home, "--tasks", "doubles", "--out", tmp_path / "out")
    assert run.returncode == 0, run.stderr
    assert "doubles *" in run.stdout and "* the model was trained on data of this task" in run.stdout
    assert scores(tmp_path / "out")["doubles"]["trained_on"] is True


def test_the_seeds_table_adds_up() -> None:
    """The means that the card prints, in its order, follow from its rows."""
    from pipeline.evaluate.published import CLASSIFICATION, MODELS, published

    printed = (0.5755, 0.5834, 0.6157, 0.5956, 0.552016667, 0.57225, 0.594516667)
    means = [sum(row[place] for row in CLASSIFICATION.values()) / 6 for place in range(len(MODELS))]
    assert means == pytest.approx(printed, abs=6e-5)
    told = published("mteb-zh")
    assert told["T2Ranking-1W"]["ndcg_at_10"]["openai-ada-002"] == 0.7786 and not published("cmteb")


def test_wrong_input_is_told_in_sentences(done: tuple[Path, Any], tiny: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    broken = {
        "unknown": "tasks:\n  - {name: a, type: sts, file: x.jsonl, nope: 1}\n",
        "absent": "tasks:\n  - {name: a, type: sts, file: x.jsonl}\n",
        "both": "tasks:\n  - {name: a, type: retrieval, pairs: tasks.yaml, corpus: tasks.yaml}\n",
        "column": f"tasks:\n  - {{name: a, type: sts, file: {home}/pairs.csv, score: gold}}\n",
        "range": f"tasks:\n  - {{name: a, type: sts, file: {home}/sts.jsonl, text: a, other: b, score: gold}}\n",
        "labels": f"tasks:\n  - {{name: a, type: pairs, file: {home}/sts.jsonl, text: a, other: b, label: gold}}\n",
        "layout": "tasks:\n  - {name: a, type: pairs, file: notes.txt}\n",
    }
    for name, content in broken.items():
        (tmp_path / f"{name}.yaml").write_text(content)
    local = ("--suite", "local", "--local")
    cases: list[tuple[tuple[str | Path, ...], int, str]] = [
        ((tiny, "--suite", "mine"), 2, "give one of cmteb, mteb-zh, code, local"),
        ((tiny, "--suite", "local"), 2, "give --local tasks.yaml"),
        ((tiny, *local, tmp_path), 2, "there is no such file"),
        ((tiny, *local, home, "--tasks", "nope"), 2, "local has no task nope. Cure: give some of similar, doubles"),
        (("no-such", *local, home), 2, "there is no such folder"),
        ((tmp_path, *local, home), 1, "holds no model"),
        ((tiny, *local, home, "--out", tmp_path), 1, "no evaluation of ours"),
        ((tiny, "--suite", "mteb-zh", "--out", done[0]), 2, "differs in suite"),
        ((tiny, *local, tmp_path / "unknown.yaml"), 1, "unknown.yaml:2:47 tasks.0.nope: unknown key"),
        ((tiny, *local, tmp_path / "absent.yaml"), 1, "absent.yaml:2:"),
        ((tiny, *local, tmp_path / "both.yaml"), 1, "give corpus, queries and qrels, or pairs alone"),
        ((tiny, *local, tmp_path / "column.yaml"), 1, "it has no column gold; it has text, other, label"),
        ((tiny, *local, tmp_path / "range.yaml"), 1, "scores are no numbers from 0 to 1"),
        ((tiny, *local, tmp_path / "labels.yaml"), 1, "must hold labels 0 and 1"),
        ((tiny, *local, tmp_path / "layout.yaml"), 1, ".txt is not known"),
    ]
    for words, code, told in cases:
        out = () if "--out" in words else ("--out", tmp_path / "out")
        run = m3e("evaluate", *words, *out)
        assert (run.returncode, told in run.stderr) == (code, True), (words, run.stderr)
        assert "Traceback" not in run.stderr
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
