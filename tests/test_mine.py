"""Mining against a brute-force oracle on real pairs, an independent scan for false negatives, and bad input."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from functools import cache, partial
from pathlib import Path

import numba
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mining_oracle import Oracle

from benchmarks.finished import Corpus, Made, build, ngrams
from pipeline.errors import CountError, FormatError
from pipeline.manifest.settings import MineConfig, RuleConfig
from pipeline.mine import corpus, mine, search, side
from pipeline.mine.rule import ORIGINS, Found, Given, select

RULE, KEEP = RuleConfig(negatives=5, p=0.8), 30


def lines(path: Path, n: int) -> list[list[str]]:
    with path.open(encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t") for line, _ in zip(file, range(n), strict=False)]


def real(folder: Path) -> list[Corpus]:
    """Some 3,000 records: questions, questions with shipped negatives, and questions to passages of documents."""
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
    return out, mine(made.inputs, made.known, out, MineConfig(keep=KEEP, both=None), RULE)


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
        told = mine(made.inputs, made.known, out, MineConfig(keep=KEEP, pool="all", both=None), RULE)
    for name in names if pool == "corpus" else ["ranked"]:
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
            banned |= reachable(text, positives)
        assert len(set(row)) == len(row)
        for i in row:
            negative = plain(texts[i])
            assert negative not in banned, (p, texts[i])
            for own in (text, pos):
                assert not near(own, negative), (p, texts[i])
            looked += 1
    assert looked > 2 * len(negatives)


def plain(text: str) -> str:
    """NFKC, lower case, letters, digits and symbols only: a rough match key of our own."""
    folded = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(ch for ch in folded if unicodedata.category(ch)[0] not in "PZC")
    return kept or folded


@cache
def shingles(text: str, k: int) -> frozenset[str]:
    return frozenset(text[i : i + k] for i in range(len(text) - k + 1))


def near(a: str, b: str) -> bool:
    """Jaccard of shingles from 0.8 up, with the same digits and as many negations."""
    if min(len(a), len(b)) < 6:
        return a == b
    k = 2 if min(len(a), len(b)) < 20 else 3
    one, two = shingles(a, k), shingles(b, k)
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


def made_up(n: int, seed: int = 0) -> list[str]:
    """Texts of characters drawn at random: no two are alike."""
    draw = np.random.default_rng(seed)
    return ["".join(chr(0x4E00 + c) for c in draw.integers(0, 300, 12)) for _ in range(n)]


def small(tmp_path: Path, **settings: object) -> tuple[list[Corpus], Made]:
    texts = made_up(60)
    pairs = [{"text": a, "text_pos": b} for a, b in zip(texts[:30], texts[30:], strict=True)]
    corpora = [Corpus("one", pairs, symmetric=True)]
    return corpora, build(tmp_path / "build", corpora, **settings)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def test_neither_shards_nor_threads_nor_blocks_change_a_byte(
    corpora: list[Corpus], mined: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = build(tmp_path / "build", corpora, two_sided=True, shard_rows=137)
    monkeypatch.setattr(search, "ROWS", 100)
    monkeypatch.setattr(search, "COLUMNS", 333)
    monkeypatch.setattr(side, "HELD_BYTES", 0)
    monkeypatch.setattr(corpus, "ROWS", 100)
    monkeypatch.setattr(corpus, "BANS", 5000)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    out, told = mined
    (tmp_path / "out").mkdir()
    assert mine(again.inputs, again.known, tmp_path / "out", MineConfig(keep=KEEP, both=None), RULE) == told
    ours, theirs = files(out), files(tmp_path / "out")
    for name in ours:
        if "pairs" not in name:
            assert ours[name] == theirs[name], name
    for c in corpora:
        one, two = (pl.read_parquet(folder / c.name / "pairs-*.parquet") for folder in (out, tmp_path / "out"))
        assert one.equals(two)


def test_the_order_of_records_changes_no_candidate(tmp_path: Path) -> None:
    corpora, made = small(tmp_path)
    turned = build(tmp_path / "turned", [Corpus("one", corpora[0].pairs[::-1], symmetric=True)])
    for at, of in (("a", made), ("b", turned)):
        (tmp_path / at).mkdir()
        mine(of.inputs, of.known, tmp_path / at, MineConfig(), RULE)
    one, two = (pl.read_parquet(tmp_path / at / "one/candidates-*.parquet") for at in "ab")
    assert one.equals(two)


def test_fewer_candidates_than_asked_are_a_counted_shortfall(tmp_path: Path) -> None:
    pairs = [{"text": a, "text_pos": b} for a, b in zip(made_up(3), made_up(3, 1), strict=True)]
    made = build(tmp_path / "build", [Corpus("one", pairs)])
    told = mine(made.inputs, made.known, tmp_path, MineConfig(both=None), RuleConfig(negatives=5, p=1.0))["corpora"][
        "one"
    ]
    assert told["candidates"] == 3
    assert told["yardstick"]["records_short"] == 3
    assert told["stored"] == 6  # two a text: not its own positive


def test_an_empty_corpus_gives_empty_files(tmp_path: Path) -> None:
    made = build(tmp_path / "build", [Corpus("one", [{"text": "甲乙", "text_pos": "丙丁", "removed": True}])])
    told = mine(made.inputs, made.known, tmp_path, MineConfig(), RULE)["corpora"]["one"]
    assert (told["records"], told["candidates"], told["mu"], told["random"]["quantiles"]) == (0, 0, 0.0, [])
    assert pl.read_parquet(tmp_path / "one/candidates-*.parquet").height == 0
    assert pl.read_parquet(tmp_path / "one/pairs-*.parquet").height == 0


def test_missing_evidence_is_told(tmp_path: Path) -> None:
    _, made = small(tmp_path)
    with pytest.raises(FormatError, match="holds no evidence"):
        mine(made.inputs, [], tmp_path, MineConfig(), RULE)
    made.known[0].evidence.unlink()
    with pytest.raises(FormatError, match="holds no evidence"):
        mine(made.inputs, made.known, tmp_path, MineConfig(), RULE)


def test_vectors_of_another_pool_and_no_numbers_are_refused(tmp_path: Path) -> None:
    _, made = small(tmp_path)
    path = made.inputs[0].vectors[0]
    rows = np.load(path)
    np.save(path, rows[:-1])
    with pytest.raises(FormatError, match="59 vectors for 60 texts"):
        mine(made.inputs, made.known, tmp_path, MineConfig(), RULE)
    rows[3, 2] = np.nan
    np.save(path, rows)
    with pytest.raises(FormatError, match="NaN"):
        mine(made.inputs, made.known, tmp_path, MineConfig(), RULE)


def test_evidence_of_other_records_is_refused(tmp_path: Path) -> None:
    _, made = small(tmp_path)
    frame = pl.read_parquet(made.known[0].evidence)
    frame.with_columns(record_id=pl.col("record_id").reverse()).write_parquet(made.known[0].evidence)
    with pytest.raises(CountError, match="different records"):
        mine(made.inputs, made.known, tmp_path, MineConfig(), RULE)


def test_another_encoder_may_veto(tmp_path: Path) -> None:
    """No candidate that the second encoder finds too near stays, and all others do."""
    corpora, made = small(tmp_path)
    other = build(tmp_path / "other", corpora, encode=partial(ngrams, salt="another"))
    rule = RuleConfig(negatives=3, p=0.5)
    vetoed = mine(made.inputs, made.known, tmp_path, MineConfig(both=None), rule, veto=[other.inputs[0].vectors])
    assert vetoed["corpora"]["one"]["stored"] > 0
    pool, second = made.pools["one"]["text"].to_list(), other.matrices["one"].astype(np.float64)
    at = {text: i for i, text in enumerate(pool)}
    mu = second[[at[p["text"]] for p in corpora[0].pairs]].mean(axis=0) @ second.mean(axis=0)
    candidates = pl.read_parquet(tmp_path / "one/candidates-*.parquet")
    for p in corpora[0].pairs:
        text, pos = at[p["text"]], at[p["text_pos"]]
        limit = mu + 0.5 * (np.float32(second[text] @ second[pos]) - mu)
        expected = {i for i in range(60) if i not in (text, pos) and np.float32(second[text] @ second[i]) <= limit}
        assert set(candidates.filter(pl.col("text") == text)["ids"][0]) == expected


def test_a_search_by_signs_tells_its_recall_and_fills_as_well(
    made: Made, mined: tuple[Path, dict], tmp_path: Path
) -> None:
    told = mine(made.inputs, made.known, tmp_path, MineConfig(keep=KEEP, search="binary", both=None), RULE)
    for name, receipt in told["corpora"].items():
        kept = [
            pl.read_parquet(folder / name / "candidates-*.parquet")
            .select("text", pl.col("ids").list.head(KEEP))
            .explode("ids")
            for folder in (mined[0], tmp_path)
        ]
        recall = kept[0].join(kept[1], on=["text", "ids"]).height / kept[0].height
        assert receipt["recall"] == pytest.approx(recall, abs=0.05)  # measured on some of the texts
        assert receipt["yardstick"]["fill"] == mined[1]["corpora"][name]["yardstick"]["fill"]


def test_equal_to_sentence_transformers_where_the_rules_coincide(corpora: list[Corpus], tmp_path: Path) -> None:
    """Distinct texts, an absolute margin alone, every rank looked at: then both say the same."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    seen: set[str] = set()
    pairs = [p for p in corpora[2].pairs if p["doc"] not in seen and not seen.add(p["doc"])][:120]
    pairs = [{"text": p["text"], "text_pos": p["text_pos"]} for p in pairs]
    made = build(tmp_path / "build", [Corpus("one", pairs)])
    rule = RuleConfig(negatives=3, p=1.0, margin=0.03)
    mine(made.inputs, made.known, tmp_path, MineConfig(both=None), rule)

    class Hashed(torch.nn.Module):
        def preprocess(self, inputs, **_):
            return {"rows": torch.tensor(ngrams(inputs).astype(np.float32))}

        tokenize = preprocess

        def forward(self, features, **_):
            return {**features, "sentence_embedding": features["rows"]}

    model = SentenceTransformer(modules=[Hashed()], device="cpu")
    rows = Dataset.from_dict({"a": [p["text"] for p in pairs], "b": [p["text_pos"] for p in pairs]})
    theirs = mine_hard_negatives(
        rows,
        model,
        num_negatives=3,
        absolute_margin=0.03,
        range_max=len(pairs),
        output_format="n-tuple",
        verbose=False,
    )
    expected = {row["a"]: [row[f"negative_{i}"] for i in (1, 2, 3)] for row in theirs}
    texts = made.pools["one"]["text"].to_list()
    ours = {
        p["text"]: [texts[i] for i in row]
        for p, row in zip(pairs, chosen(tmp_path, "one", made.data["one"], rule, 0.0), strict=True)
    }
    assert len(expected) > 40
    assert {text: ours[text] for text in expected} == expected


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_bans_on_any_graph_of_few_texts(data: st.DataObject) -> None:
    """Two corpora over one dozen texts and near copies of them: everything is somehow related to everything."""
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    stems = made_up(8, int(draw.integers(1000)))
    texts = [*stems, *(t + "！" for t in stems[:4]), *(t + t[:1] for t in stems[2:6])]

    def one() -> str:
        return texts[draw.integers(len(texts))]

    corpora = []
    for name in ("one", "two"):
        pairs = [
            {
                "text": one(),
                "text_pos": one(),
                "text_neg": [one() for _ in range(draw.integers(0, 3))],
                "doc": f"{draw.integers(3)}",
                "removed": bool(draw.integers(4) == 0),
            }
            for _ in range(draw.integers(1, 9))
        ]
        labelled = [(one(), one(), [True, False, None][draw.integers(3)]) for _ in range(draw.integers(0, 4))]
        corpora.append(Corpus(name, pairs, labelled, symmetric=bool(draw.integers(2))))
    pool = data.draw(st.sampled_from(["corpus", "all"]))
    rule = RuleConfig(negatives=3, p=1.0, first=data.draw(st.sampled_from([1, 2])))
    with tempfile.TemporaryDirectory() as folder:
        made = build(Path(folder, "build"), corpora, two_sided=data.draw(st.booleans()))
        told = mine(made.inputs, made.known, Path(folder), MineConfig(keep=4, pool=pool, both=None), rule)
        for c in corpora:
            oracle = Oracle(made, corpora, ["one", "two"] if pool == "all" else [c.name])
            if not made.data[c.name].height:
                continue
            mu = told["corpora"][c.name]["mu"]
            records, stored = oracle.mine(c.name, rule, 4, mu)
            pairs_found = pl.read_parquet(Path(folder, c.name, "pairs-*.parquet"))
            assert [[(g["id"], g["origin"], g["score"]) for g in row] for row in pairs_found["given"].to_list()] == [
                r["given"] for r in records
            ]
            candidates = pl.read_parquet(Path(folder, c.name, "candidates-*.parquet"))
            found = {q: list(zip(*lists, strict=True)) for q, *lists in candidates.iter_rows()}
            assert found == stored
            assert chosen(Path(folder), c.name, made.data[c.name], rule, mu) == [r["chosen"] for r in records]
