"""The ablation does what it says: what is held back stays back, arms differ in nothing but data, and figures add up."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from benchmarks import data_value  # noqa: E402
from benchmarks.data_value import ablation, judge, noise, slices, student  # noqa: E402
from benchmarks.finished import ngrams  # noqa: E402

pytestmark = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed (extra: mine)"
)
CORPORA = ("cmrc2018", "lcqmc", "bq", "Chinese-SQuAD")
SEEDS, STEPS, DOSE = 2, 12, 30
Text = str


def texts(draw: np.random.Generator, length: int) -> Iterator[str]:
    while True:
        yield "".join(chr(0x4E00 + c) for c in draw.integers(0, 900, length))


def pair_rows(draw: np.random.Generator, count: int) -> list[slices.Pair]:
    """Families of three questions: two that match, and one that does not."""
    made = texts(draw, 12)
    rows = []
    for _ in range(count):
        one, other = next(made), next(made)
        rows += [(one, one[:8] + other[:4], "1"), (one, other, "0")]
    return rows


def squad(draw: np.random.Generator, count: int) -> dict[str, Any]:
    """A passage each article, and two questions that quote it."""
    made = texts(draw, 90)
    data = []
    for i in range(count):
        context = next(made)
        asked = [
            {"question": f"{context[n : n + 12]}是", "id": f"{i}-{n}", "is_impossible": False, "answers": []}
            for n in (5, 40)
        ]
        data.append({"title": f"题{i}", "paragraphs": [{"context": context, "qas": asked}]})
    return {"version": "v2.0", "data": data}


def write_made_up(folder: Path) -> None:
    """The files of four corpora in their publishers' layouts. Some held-back texts stand in other corpora as well."""
    draw = np.random.default_rng(7)
    paths = {
        name: folder / name for name in (slices.LCQMC, slices.BQ, slices.CMRC, slices.TRIAL, slices.SQUAD, slices.XQUAD)
    }
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    lcqmc = pair_rows(draw, 120)
    paths[slices.LCQMC].write_text("".join("\t".join(row) + "\n" for row in lcqmc), "utf-8")
    # A copy of a held-back question stands in the other pair corpus.
    held = lcqmc[min(i for i in slices.held_rows(lcqmc) if lcqmc[i][2] == "1")]
    with paths[slices.BQ].open("w", encoding="utf-8-sig", newline="") as file:
        bq = pair_rows(draw, 120)
        csv.writer(file).writerows([("sentence1", "sentence2", "label"), *bq, held, bq[0]])
    for name, count in ((slices.CMRC, 60), (slices.TRIAL, 12), (slices.SQUAD, 60), (slices.XQUAD, 12)):
        paths[name].write_text(json.dumps(squad(draw, count), ensure_ascii=False), "utf-8")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> ablation.Case:
    folder = tmp_path_factory.mktemp("data_value")
    write_made_up(folder / "slices")
    return ablation.Case(folder / "slices", folder / "work", ngrams, CORPORA, STEPS, seeds=SEEDS, doses=(DOSE,))


@pytest.fixture(scope="module")
def built(case: ablation.Case) -> ablation.Built:
    return ablation.build(case)


@pytest.fixture(scope="module")
def told(case: ablation.Case, built: ablation.Built) -> ablation.Arms:
    return ablation.arms_of(built, case.work / "arms", SEEDS)


def held_texts(case: ablation.Case) -> set[str]:
    """Questions held back, read without the bench."""
    rows = (case.work / "files/lcqmc.test.tsv").read_text("utf-8").splitlines()
    found = {text for row in rows for text in row.split("\t")[:2]}
    with (case.work / "files/bq.test.csv").open(encoding="utf-8-sig", newline="") as file:
        found |= {row[side] for row in csv.DictReader(file) for side in ("sentence1", "sentence2")}
    for name in (slices.TRIAL, slices.XQUAD):
        for article in json.loads((case.slices / name).read_bytes())["data"]:
            found |= {asked["question"] for one in article["paragraphs"] for asked in one["qas"]}
    return found


def pairs_of(arm: student.Arm) -> Counter[tuple[str, str, str]]:
    return Counter(
        (name, *row)
        for name, paths in arm.data.items()
        for path in paths
        for row in pl.read_parquet(path).select("text", "text_pos").iter_rows()
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("abcdefghij"), st.just("1")), max_size=40))
def test_no_held_back_text_stands_in_the_rest(rows: list[slices.Pair]) -> None:
    held = slices.held_rows(rows, 0.5, 3) if rows else set()
    inside = {text for i in held for text in rows[i][:2]}
    outside = {text for i, row in enumerate(rows) if i not in held for text in row[:2]}
    assert not inside & outside
    assert len(held) <= len(rows) / 2


def test_what_is_held_back_is_in_no_arm_but_the_leaked_one(
    case: ablation.Case, built: ablation.Built, told: ablation.Arms
) -> None:
    held = held_texts(case)
    assert len(held) > 100
    for name, of_seed in told.items():
        found = {text for arm in of_seed for row in pairs_of(arm) for text in row[1:]} & held
        if name == ablation.LEAKED:
            # Non-matches are no records, so the third question of a family is not there.
            assert len(found) > 0.6 * len(held)
        elif name in (ablation.RAW, ablation.THINNED):
            assert len(found) <= 2  # the copy planted in bq
        else:
            assert not found, name
    negatives = {
        text for frame in built.scored.values() for list_ in frame["neg"] for text in (n["text"] for n in list_)
    }
    assert not negatives & held
    assert any("of which m3e-hq keeps 0" in note for note in built.notes)


def test_arms_hold_what_they_say(built: ablation.Built, told: ablation.Arms) -> None:
    raw, leaked, hq = (pairs_of(told[name][0]) for name in (ablation.RAW, ablation.LEAKED, ablation.HQ))
    assert raw < leaked and hq < raw
    assert sum((raw - hq).values()) >= 2  # the planted copy and the repeated row
    assert pairs_of(told[ablation.UNGROUPED][0]) == hq
    assert pairs_of(told[ablation.LABELLED][0]) == hq == pairs_of(told[ablation.MINED][0])
    thin = [pairs_of(arm) for arm in told[ablation.THINNED]]
    for one in thin:
        assert one < raw
        assert Counter(name for name, *_ in one.elements()) == Counter(name for name, *_ in hq.elements())
    assert thin[0] != thin[1]


def test_negatives_are_those_of_the_build(built: ablation.Built, told: ablation.Arms) -> None:
    for name, origins in ((ablation.LABELLED, {"labelled"}), (ablation.MINED, {"labelled", "mined"})):
        seen = set()
        for corpus, paths in told[name][0].data.items():
            rows = zip(
                built.scored[corpus]["neg"].to_list(), pl.read_parquet(paths[0])["text_neg"].to_list(), strict=True
            )
            for given_, written in rows:
                assert written == [one["text"] for one in given_ if one["origin"] in origins]
                seen |= {one["origin"] for one in given_ if one["text"] in written}
        assert seen == origins


def test_every_arm_takes_the_same_steps(
    case: ablation.Case, built: ablation.Built, told: ablation.Arms, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    corpus_of = {
        text: name for frames in (built.everything,) for name, frame in frames.items() for text in frame["text"]
    }
    plain = student._columns

    def watched(table: pa.Table, config: Any) -> list[list[str]]:
        taken.append(corpus_of[table["text"][0].as_py()])
        return plain(table, config)

    monkeypatch.setattr(student, "_columns", watched)
    every = [text for frame in built.everything.values() for side in ("text", "text_pos") for text in frame[side]]
    bags = student.Bags(every)
    ways = []
    for name in (ablation.RAW, ablation.THINNED, ablation.HQ):
        arm = told[name][1]
        trained, seen = student.train(arm, bags, ablation.weights_of(built, arm), STEPS, 1)
        ways.append(list(taken))
        taken.clear()
        assert len(ways[-1]) == STEPS and 0 < seen <= STEPS * student.BATCH
        assert not torch.equal(trained.table.weight, student.Student(bags, 1).table.weight)
    assert ways[0] == ways[1] == ways[2]
    assert torch.equal(student.Student(bags, 1).table.weight, student.Student(bags, 1).table.weight)


def test_wrong_pairs_are_counted_where_they_went(case: ablation.Case, built: ablation.Built) -> None:
    right = {(row[0], row[1]) for frame in built.raw.values() for row in frame.select("text", "text_pos").iter_rows()}
    for (dose, top), fate in built.fates.items():
        rows = [
            json.loads(line)
            for path in sorted((case.work / "files").glob(f"*-noise-{dose}.jsonl"))
            for line in path.read_text("utf-8").splitlines()
        ]
        wrong = [row for row in rows if (row["text"], row["text_pos"]) not in right]
        assert sum(fate.values()) == len(rows) == sum(frame.height for frame in built.raw.values())
        assert sum(n for (_, is_wrong), n in fate.items() if is_wrong) == len(wrong)
        assert len(wrong) <= sum(frame.height * dose // 100 for frame in built.raw.values())
        assert (len(wrong) > 50) == (dose > 0)
        kept = [
            row for frame in built.sifted[dose, top].values() for row in frame.select("text", "text_pos").iter_rows()
        ]
        assert fate.get(("kept", True), 0) == sum(row not in right for row in kept)
        assert fate["kept", False] == sum(row in right for row in kept)
    assert built.fates[DOSE, 20]["consistency", True] > 0


def test_a_shuffle_gives_each_positive_to_another_row() -> None:
    frame = pl.DataFrame({"text": [f"q{i}" for i in range(50)], "text_pos": [f"a{i}" for i in range(50)]})
    told = noise.shuffled(frame, 20)
    assert told["wrong"].sum() == 10
    assert sorted(told["text_pos"]) == sorted(frame["text_pos"])
    assert (
        told.filter(~pl.col("wrong"))["text_pos"].str.slice(1).to_list()
        == told.filter(~pl.col("wrong"))["text"].str.slice(1).to_list()
    )
    assert noise.shuffled(frame, 0)["wrong"].sum() == 0


def plain_area(scores: list[float], labels: list[bool]) -> float:
    """Every match against every non-match."""
    wins = [
        (a > b) + (a == b) / 2
        for a, yes in zip(scores, labels, strict=True)
        if yes
        for b, no in zip(scores, labels, strict=True)
        if not no
    ]
    return sum(wins) / len(wins)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=15))
def test_areas_equal_a_count_over_repeated_items(items: list[tuple[int, bool, int]]) -> None:
    repeated = [(score, label) for score, label, times in items for _ in range(times)]
    if len({label for _, label in repeated}) < 2:
        return
    found = judge.areas(
        np.array([float(score) for score, _, _ in items]),
        np.array([label for _, label, _ in items]),
        np.array([[float(times) for _, _, times in items]]),
    )
    assert found[0] == pytest.approx(plain_area([float(s) for s, _ in repeated], [label for _, label in repeated]))


def test_the_bootstrap_equals_plain_loops() -> None:
    draw = np.random.default_rng(5)
    pairs = judge.Pairs("p", [""] * 30, [""] * 30, draw.random(30) < 0.5, np.arange(30) // 3)
    asked = judge.Questions("q", [""] * 12, [""] * 4, np.zeros(12, np.int64), np.arange(12) // 4)
    held = [pairs, asked]
    scored = {arm: [[draw.random(30), draw.random(12)] for _ in range(3)] for arm in ("one", "other")}
    found = judge.measure(held, scored, n=40)
    times, seeds = judge.draws(held, 3, 40)
    for d in range(40):
        value = dict.fromkeys(scored, 0.0)
        for arm, told_ in scored.items():
            for seed in seeds[d]:
                of_pairs, of_asked = told_[seed]
                items = [i for i in range(30) for _ in range(int(times[0][d, i]))]
                area = plain_area([of_pairs[i] for i in items], [bool(pairs.label[i]) for i in items])
                drawn = [of_asked[i] for i in range(12) for _ in range(int(times[1][d, i]))]
                value[arm] += (area + sum(drawn) / len(drawn)) / 2 / 3
        assert found.drawn["one"][d] - found.drawn["other"][d] == pytest.approx(value["one"] - value["other"])
    # Families are drawn whole, as many as there are.
    assert all(
        (one.reshape(-1, size) == one.reshape(-1, size)[:, :1]).all() for one, size in zip(times, (3, 4), strict=True)
    )
    assert (times[0].sum(1) == 30).all() and (times[1].sum(1) == 12).all()
    points, low, high = found.against("one", "other")
    assert low < points < high


def test_ndcg_counts_the_rank_of_the_answer() -> None:
    vectors = np.random.default_rng(1).standard_normal((40, 8)).astype(np.float32)
    names = [f"t{i}" for i in range(40)]

    def embed(texts_: list[str]) -> np.ndarray:
        return vectors[[int(text[1:]) for text in texts_]]

    one = judge.Questions("q", names[:10], names[10:], np.arange(10), np.arange(10))
    for i, found in enumerate(one.scored(embed)):
        scores = [float(np.dot(vectors[i], passage)) for passage in vectors[10:]]
        rank = sorted(scores, reverse=True).index(scores[i]) + 1
        assert found == pytest.approx(1 / math.log2(rank + 1) if rank <= 10 else 0)


def test_the_whole_table(case: ablation.Case, built: ablation.Built) -> None:
    table = ablation.ablation(replace(case, seeds=1), built)
    rows = {row.cells[0]: row.cells for row in table.rows}
    assert list(rows)[:3] == [ablation.UNTRAINED, ablation.RAW, ablation.LEAKED]
    assert len(rows) == 8 + len(case.doses) * (1 + len(noise.TOPS))
    # Questions quote their passages and matches share their beginning: whatever is trained finds more than nothing.
    assert float(rows[ablation.RAW][-2]) > float(rows[ablation.UNTRAINED][-2])
    assert rows[ablation.HQ][1] == rows[ablation.THINNED][1] != rows[ablation.RAW][1]


def test_without_slices_the_table_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("M3E_SHARED", str(tmp_path / "none"))
    table = data_value.run()
    assert not table.rows and "no real corpus slices" in table.notes[0]
