"""Dedupe against the oracle of string sets, on made-up and on real texts."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import string_oracle
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedupe import CLASS_SCHEMA, EDGE_SCHEMA, DedupeInput, dedupe
from pipeline.dedupe.index import Index
from pipeline.dedupe.meet import DENSE, WHOLE, Entries, huge, meetings
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import lead, leaders
from pipeline.normalize import match_key
from pipeline.walk import Crowds, Links, walk

Pairs = Sequence[tuple[str, str]]
ROOT = Path(__file__).resolve().parents[1]
#: Common letters without a negation among them.
CHARACTERS = "".join(chr(c) for c in range(0x4E10, 0x4E10 + 400))
PLAIN = "银行卡花呗更换绑定如何手机号码登录密码找回客服电话还款额度提前分期利息账单"


@dataclass
class Given:
    """A corpus as a test writes it; each inner list is one shard."""

    shards: list[Pairs]
    symmetric: bool = False
    near: bool = True
    code_sides: frozenset[str] = frozenset()


@dataclass
class Found:
    """What dedupe wrote, told of records in the order given; edges spread over all members of their classes."""

    receipt: dict[str, int]
    classes: list[int]
    text_groups: list[int]
    pos_groups: list[int]
    edges: dict[tuple[int, int], tuple[float, bool]]
    class_edges: pl.DataFrame
    records: list[string_oracle.Record] = field(default_factory=list)


def record_id(*told: str) -> str:
    return xxhash.xxh3_128_hexdigest("\0".join(told).encode())


def write(folder: Path, corpora: dict[str, Given]) -> list[DedupeInput]:
    inputs = []
    for name, corpus in corpora.items():
        (folder / name).mkdir(parents=True)
        shards = [folder / name / f"text-{i:05d}.parquet" for i in range(len(corpus.shards))]
        for path, pairs in zip(shards, corpus.shards, strict=True):
            sides = [pa.array([pair[side] for pair in pairs], pa.string()) for side in range(2)]
            ids = pa.array([record_id(name, *pair) for pair in pairs], pa.string())
            pq.write_table(pa.table([ids, *sides], names=["record_id", "text", "text_pos"]), path)
        inputs.append(DedupeInput(name, shards, corpus.symmetric, corpus.near, corpus.code_sides))
    return inputs


def run(corpora: dict[str, Given], config: DedupeConfig | None = None) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        inputs = write(Path(folder) / "in", corpora)
        out = Path(folder) / "out"
        out.mkdir()
        receipt = dedupe(inputs, out, config or DedupeConfig())
        edges = pl.read_parquet(out / "edges.parquet")
        assert pq.read_schema(out / "edges.parquet").equals(EDGE_SCHEMA)
        tables = []
        for given_input in inputs:
            for shard in given_input.shards:
                path = out / "classes" / given_input.corpus / shard.name.replace("text", "classes")
                assert pq.read_schema(path).equals(CLASS_SCHEMA)
                assert pq.read_metadata(path).num_rows == pq.read_metadata(shard).num_rows
                tables.append(pl.read_parquet(path))
    rows = pl.concat(tables) if tables else pl.DataFrame(schema=dict.fromkeys(CLASS_SCHEMA.names, pl.UInt64))
    classes = rows["class_id"].to_list()
    members = defaultdict(list)
    for i, number in enumerate(classes):
        members[number].append(i)
    assert sorted(members) == list(range(len(members)))
    found = {(i, j): (1.0, False) for same in members.values() for j in same for i in same if i < j}
    for a, b, similarity, text, pos, swapped in edges.iter_rows():
        assert a < b
        assert similarity == min(text, pos)
        for i in members[a]:
            for j in members[b]:
                assert (min(i, j), max(i, j)) not in found
                found[min(i, j), max(i, j)] = (similarity, swapped)
    result = Found(receipt, classes, rows["text_group"].to_list(), rows["pos_group"].to_list(), found, edges)
    for corpus in corpora.values():
        for pairs in corpus.shards:
            sides = [
                match_key(pl.Series([pair[i] for pair in pairs], dtype=pl.String), code=side in corpus.code_sides)
                for i, side in enumerate(("text", "text_pos"))
            ]
            result.records += [(a, b, corpus.symmetric, corpus.near) for a, b in zip(*sides, strict=True)]
    assert rows["text_key"].to_list() == [xxhash.xxh3_64_intdigest(r[0].encode()) for r in result.records]
    assert rows["pos_key"].to_list() == [xxhash.xxh3_64_intdigest(r[1].encode()) for r in result.records]
    return result


def judge(found: Found, floor: float, threshold: float) -> dict[float, float]:
    """Recall at the floor and at the threshold; every edge must be one of the oracle's, to the last digit of a float32."""
    expected = string_oracle.pair_edges(found.records, floor)
    assert set(found.edges) <= set(expected)
    for pair, (similarity, swapped) in found.edges.items():
        assert np.float32(similarity) == np.float32(expected[pair][0])
        assert swapped == expected[pair][1]
    for a, b, _, text, pos, swapped in found.class_edges.iter_rows():
        one, two = (found.records[found.classes.index(number)] for number in (a, b))
        assert text == np.float32(string_oracle.side(one[0], two[swapped]))
        assert pos == np.float32(string_oracle.side(one[1], two[not swapped]))
    recall = {}
    for at in (floor, threshold):
        wanted = {pair for pair, (similarity, _) in expected.items() if similarity >= at}
        reached = {pair for pair, (similarity, _) in found.edges.items() if np.float32(similarity) >= np.float32(at)}
        assert reached <= wanted
        recall[at] = len(reached) / len(wanted)
    return recall


def made_up(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of many lengths, short ones among them, in which some words come often."""
    rng = random.Random(seed)

    def text() -> str:
        length = rng.choice((3, 5, 6, 8, 12, 15, 18, 19, 20, 21, 25, 26, 40, 120))
        return "".join(rng.choice(CHARACTERS) if rng.random() < 0.8 else "的什么" for _ in range(length))

    return [(text(), text()) for _ in range(count)]


def real_pairs(folder: Path) -> dict[str, tuple[Pairs, bool]]:
    """Pairs of four real slices, by plain code, and whether symmetric."""
    squad = json.loads((folder / "cmrc2018/raw/squad-style-data/cmrc2018_dev.json").read_text("utf-8"))
    passages = [p for article in squad["data"] for p in article["paragraphs"]]
    with (folder / "bq/raw/dev.csv").open(encoding="utf-8-sig") as file:
        bq = [(r["sentence1"], r["sentence2"]) for r in csv.DictReader(file) if r["label"] == "1"]
    lcqmc = [line.split("\t") for line in (folder / "lcqmc/raw/LCQMC.valid.data").read_text("utf-8").splitlines()]
    law = (folder / "lawzhidao/raw-standin/lawzhidao_filter.csv").read_text("utf-8")
    return {
        "cmrc2018": ([(q["question"], p["context"]) for p in passages for q in p["qas"]], False),
        "bq": (bq, True),
        "lcqmc": ([(a, b) for a, b, label in lcqmc if label == "1"], True),
        "law": ([(r["title"], r["reply"]) for r in csv.DictReader(law.splitlines())], False),
    }


@pytest.mark.parametrize(
    "path", ["cmrc2018/raw/squad-style-data/cmrc2018_dev.json", "Chinese-SQuAD/raw/dev-v2.0-zh.part.json"]
)
def test_distinct_questions_survive_though_they_share_passages(path: str, real_corpora: Path) -> None:
    squad = json.loads((real_corpora / path).read_text("utf-8"))
    passages = [passage for article in squad["data"] for passage in article["paragraphs"]]
    pairs = [(question["question"], passage["context"]) for passage in passages for question in passage["qas"]]
    found = run({"a": Given([pairs])})
    count = max(found.classes) + 1
    links = Links.of(found.class_edges.filter(pl.col("similarity") >= 0.8), count)
    walked = walk(np.array(list(dict.fromkeys(found.classes))), links, None, 0.8)
    questions = {record[0] for record in found.records}
    staying = {r[0] for r, number in zip(found.records, found.classes, strict=True) if walked.winner[number] < 0}
    assert found.receipt["crowds"] == 0
    assert len(questions) > 1000
    assert len(staying) >= 0.99 * len(questions)


LETTERS = st.text("甲乙丙丁1不", min_size=0, max_size=24)


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.builds(
            Given,
            st.lists(st.lists(st.tuples(LETTERS, LETTERS), max_size=5), min_size=1, max_size=2),
            st.booleans(),
            st.booleans(),
        ),
        max_size=4,
    )
)
def test_no_edge_but_the_oracles_and_every_exact_one(corpora: dict[str, Given]) -> None:
    found = run(corpora)
    expected = string_oracle.every_pair(found.records, 0.6)
    assert expected == string_oracle.pair_edges(found.records, 0.6)
    assert found.receipt["records"] == len(found.records)
    for pair, told in found.edges.items():
        assert (np.float32(expected[pair][0]), expected[pair][1]) == told
    assert {pair for pair, told in expected.items() if told[0] == 1} <= set(found.edges)


@pytest.mark.parametrize("floor", [0.5, 0.6, 0.8])
def test_recall_on_made_up_texts(floor: float) -> None:
    pairs = made_up(600, seed=1)
    edited = string_oracle.plant_edits(pairs, seed=2)
    turned = [(b, a) for a, b in string_oracle.plant_edits(pairs[:200], seed=3)]
    corpora = {
        "a": Given([pairs[:300], pairs[300:]], symmetric=True),
        "b": Given([edited]),
        "c": Given([turned], symmetric=True),
    }
    found = run(corpora, DedupeConfig(floor=floor))
    assert len(found.edges) > 150
    assert min(judge(found, floor, 0.8).values()) >= 0.99


def test_recall_on_edited_real_texts(real_corpora: Path) -> None:
    rng = random.Random(4)
    corpora = {}
    for name, (pairs, symmetric) in real_pairs(real_corpora).items():
        drawn = rng.sample(list(pairs), 400)
        edited = string_oracle.plant_edits(drawn, seed=5)
        corpora[name] = Given([drawn + edited[:200]], symmetric)
        turned = [(b, a) for a, b in edited[200:]]
        corpora[name + "_edited"] = Given([turned if symmetric else edited[200:]], symmetric)
    found = run(corpora)
    assert sum(swapped for _, swapped in found.edges.values()) > 50
    assert min(judge(found, 0.6, 0.8).values()) >= 0.99


@pytest.mark.parametrize("long", [*range(15, 27)])
@pytest.mark.parametrize("short", [6, 15, 18, 19, 20, 21])
def test_every_length_meets_across_the_borders(short: int, long: int) -> None:
    text = CHARACTERS[:long]
    cut = [(text[:short], "甲" * 5), (CHARACTERS[50:80], text[-short:])]
    corpora = {"a": Given([cut]), "b": Given([[(text, "甲" * 5), (CHARACTERS[50:80], text)]])}
    found = run(corpora, DedupeConfig(num_perm=512))
    expected = string_oracle.every_pair(found.records, 0.6)
    assert found.edges == {pair: (np.float32(similarity), swapped) for pair, (similarity, swapped) in expected.items()}


def test_the_swapped_only_between_symmetric_corpora() -> None:
    a, b = PLAIN[:12], PLAIN[12:]
    turned = [(b, a + "吗")]
    assert run({"s": Given([[(a, b)]], True), "t": Given([turned], True)}).edges == {
        (0, 1): (pytest.approx(11 / 12), True)
    }
    assert run({"s": Given([[(a, b)]], True), "t": Given([turned], False)}).edges == {}
    assert run({"s": Given([[(a, b)]], True), "t": Given([[(b, a)]], True)}).edges == {(0, 1): (1.0, True)}
    assert run({"s": Given([[(a, b)]], True), "t": Given([[(b, a)]], False)}).edges == {}


def test_both_sides_must_be_alike() -> None:
    context = PLAIN + CHARACTERS[:200]
    pairs = [("哪一年建成的大桥", context), ("谁设计了这座大桥", context), ("哪一年建成的大桥呢", context)]
    assert run({"a": Given([pairs])}).edges == {(0, 2): (0.875, False)}


@pytest.mark.parametrize(
    ("a", "b"), [("2", "3"), ("12", "1和2"), ("", "1"), ("", "不"), ("没", ""), ("非", "未"), ("无", "无无")]
)
def test_other_digits_or_negations_are_no_duplicates(a: str, b: str) -> None:
    text, other = PLAIN + a, PLAIN + b
    assert run({"a": Given([[(text, PLAIN), (other, PLAIN)]])}).edges == {}
    assert run({"a": Given([[(PLAIN, text), (PLAIN, other)]])}).edges == {}
    assert len(set(run({"a": Given([[(text, "甲"), (other, "乙")]])}).text_groups)) == 2


def test_corpora_that_are_not_near_take_part_in_exact_copies_only() -> None:
    pairs = [(PLAIN, PLAIN[:12]), (PLAIN + "吗", PLAIN[:12])]
    found = run({"a": Given([pairs], near=False), "b": Given([pairs], near=True)})
    near = np.float32(string_oracle.similarity(PLAIN, PLAIN + "吗"))
    assert found.edges == {(0, 2): (1.0, False), (1, 3): (1.0, False), (2, 3): (near, False)}
    assert len(set(found.classes)) == 4
    alone = run({"a": Given([pairs], near=False)})
    assert alone.edges == {}
    assert len(set(alone.text_groups)) == 2
    assert len(set(found.text_groups)) == 1  # corpus b brings both keys together


def test_near_off_in_the_recipe() -> None:
    pairs = [(PLAIN, PLAIN[:12]), (PLAIN + "吗", PLAIN[:12]), (PLAIN, PLAIN[:12] + "。")]
    found = run({"a": Given([pairs])}, DedupeConfig(near=False))
    assert found.edges == {(0, 2): (1.0, False)}
    assert found.classes[0] == found.classes[2] != found.classes[1]
    assert len(set(found.text_groups)) == 2


def test_classes_are_copies_by_match_key_with_equal_flags() -> None:
    pairs = [("花呗怎么还款？", "Ａ银行"), ("花唄怎麼還款", "a银行。"), ("a银行", "花呗怎么还款")]
    found = run({"a": Given([pairs], True), "b": Given([pairs[:1]], False)})
    assert found.classes[0] == found.classes[1]
    assert len(set(found.classes)) == 3
    assert found.edges == {
        (0, 1): (1, False),
        (0, 2): (1, True),
        (1, 2): (1, True),
        (0, 3): (1, False),
        (1, 3): (1, False),
    }


def test_code_keeps_its_signs() -> None:
    pairs = [("年龄大于3的学生有几个", sql) for sql in ("SELECT  a FROM t", "select a from t", "SELECT a FROM t")]
    code = run({"a": Given([pairs], near=False, code_sides=frozenset({"text_pos"}))})
    assert code.edges == {(0, 2): (1.0, False)}
    assert len(run({"a": Given([pairs])}).edges) == 3


def test_side_groups_are_components() -> None:
    pairs = made_up(300, seed=6)
    edited = string_oracle.plant_edits(pairs, seed=7)
    again = string_oracle.plant_edits(edited, seed=8)
    apart = string_oracle.plant_edits(pairs, seed=9)
    found = run({"a": Given([pairs + edited, again]), "b": Given([apart], near=False)})
    near = {key for text, pos, _, is_near in found.records if is_near for key in (text, pos)}
    least = string_oracle.components(near, 0.8)
    assert len(set(least.values())) < len(near) - 100
    named: dict[str, int] = {}
    for key, head in least.items():
        hashed = xxhash.xxh3_64_intdigest(key.encode())
        named[head] = min(hashed, named.get(head, hashed))
    for (text, pos, _, _), text_group, pos_group in zip(
        found.records, found.text_groups, found.pos_groups, strict=True
    ):
        for key, group in ((text, text_group), (pos, pos_group)):
            assert group == (named[least[key]] if key in least else xxhash.xxh3_64_intdigest(key.encode()))


def test_the_order_of_rows_and_corpora_changes_nothing() -> None:
    pairs = made_up(200, seed=10)
    edited = string_oracle.plant_edits(pairs, seed=11)
    first = run({"a": Given([pairs], True), "b": Given([edited], True)})
    order = list(range(200))
    random.Random(12).shuffle(order)
    shards = [[pairs[i] for i in some] for some in (order[:50], order[50:])]
    second = run({"b": Given([[edited[i] for i in order]], True), "a": Given(shards, True)})
    back = [200 + order.index(i) for i in range(200)] + [order.index(i) for i in range(200)]
    assert first.class_edges.equals(second.class_edges)
    assert first.classes == [second.classes[i] for i in back]
    assert first.text_groups == [second.text_groups[i] for i in back]
    assert first.receipt == second.receipt


def test_nothing_depends_on_order_threads_hash_seed_and_the_size_of_shards_and_blocks(tmp_path: Path) -> None:
    """3,000 records twice, in processes of their own: as they come, and in another order, cut small, on two threads."""
    pairs = made_up(1500, seed=13)
    edited = string_oracle.plant_edits(pairs, seed=14)
    order = list(range(1500))
    random.Random(15).shuffle(order)
    cut = [order[low : low + 400] for low in range(0, 1500, 400)]
    write(tmp_path / "one", {"a": Given([pairs]), "b": Given([edited])})
    write(
        tmp_path / "two", {"b": Given([[edited[i] for i in s] for s in cut]), "a": Given([[pairs[i] for i in order]])}
    )
    script = """
import sys
from pathlib import Path
import pipeline.minhash
from pipeline.dedupe import DedupeInput, dedupe
from pipeline.manifest.settings import DedupeConfig
folder, out, rows = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
modules = {name: sys.modules[f"pipeline.{name}"] for name in ("minhash.compiled", "minhash.keys", "minhash.signing")}
modules["minhash.keys"]._BLOCK = modules["minhash.signing"]._BLOCK = 64
modules["minhash.compiled"].BLOCK_BYTES = 100 * rows
sys.modules["pipeline.dedupe.keying"].BATCH = sys.modules["pipeline.dedupe.pieces"].PIECE_ROWS = rows
out.mkdir()
shards = {name: sorted((folder / name).glob("text-*.parquet")) for name in sys.argv[4]}
dedupe([DedupeInput(name, held, True, True) for name, held in shards.items()], out, DedupeConfig())
"""
    for name, corpora, seed, threads, rows in (("one", "ab", "0", "1", "100000"), ("two", "ba", "7", "2", "90")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "NUMBA_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", script, str(tmp_path / name), str(tmp_path / f"out-{name}"), rows, corpora]
        subprocess.run(command, env=environment, check=True)
    edges = [(tmp_path / f"out-{name}" / "edges.parquet").read_bytes() for name in ("one", "two")]
    assert edges[0] == edges[1]
    assert pq.read_metadata(tmp_path / "out-one" / "edges.parquet").num_rows > 300
    for name in "ab":
        first, second = (
            pl.read_parquet(tmp_path / f"out-{n}" / "classes" / name / "*.parquet") for n in ("one", "two")
        )
        assert first[order].equals(second)


@pytest.mark.parametrize("seed", range(4))
def test_a_crowd_leaves_no_two_duplicates_whatever_the_priority(seed: int, tmp_path: Path) -> None:
    """712 texts that share a long template: some all but equal, others less alike than the threshold."""
    rng = random.Random(15)
    base = CHARACTERS[:70]
    tails = ["".join(rng.choices(CHARACTERS[100:], k=30)) for _ in range(40)]
    texts = {base + rng.choice(tails)[: rng.randrange(5, 30)] + rng.choice(CHARACTERS[90:99]) for _ in range(1200)}
    pairs = [(text, PLAIN) for text in sorted(texts)[: WHOLE + 200]]
    inputs = write(tmp_path / "in", {"a": Given([pairs])})
    (tmp_path / "out").mkdir()
    receipt = dedupe(inputs, tmp_path / "out", DedupeConfig())
    assert receipt["crowds"] == 1 and receipt["crowded"] > len(pairs) / 2 and receipt["edges"] > 0
    of = pl.read_parquet(tmp_path / "out" / "classes" / "a" / "classes-00000.parquet")["class_id"].to_numpy()
    text = {int(number): pair[0] for number, pair in zip(of, pairs, strict=True)}
    edges = pl.read_parquet(tmp_path / "out" / "edges.parquet")
    crowds = Crowds.read(tmp_path / "out" / "crowds.parquet", tmp_path)
    steps = np.random.default_rng(seed).permutation(len(pairs))[: len(pairs) - 100 * seed]
    walked = walk(steps, Links.of(edges.filter(pl.col("similarity") >= 0.8), len(pairs)), crowds, 0.8)
    kept = [int(c) for c in steps if walked.winner[c] < 0]
    assert 5 < len(kept) < len(steps) / 2
    for c in steps:
        similar = {other: string_oracle.similarity(text[int(c)], text[other]) for other in kept if other != c}
        if walked.winner[c] < 0:
            assert max(similar.values()) < 0.8
        else:
            assert walked.similarity[c] == np.float32(similar[int(walked.winner[c])]) >= np.float32(0.8)


def test_a_template_on_both_sides_hides_no_duplicate_whatever_the_priority(tmp_path: Path) -> None:
    """All meet by the template, in buckets too full to compare; who is alike meets by what is its own."""
    rng = random.Random(17)
    template = CHARACTERS[:120]
    own = ["".join(rng.choices(CHARACTERS[120:], k=90)) for _ in range(800)]
    pairs = [(template + some[:12], template + some[12:]) for some in own]
    edited = string_oracle.plant_edits([(text[120:], pos[120:]) for text, pos in pairs[:300]], seed=18)
    pairs += [(template + text, template + pos) for text, pos in edited]
    inputs = write(tmp_path / "in", {"a": Given([pairs])})
    (tmp_path / "out").mkdir()
    receipt = dedupe(inputs, tmp_path / "out", DedupeConfig())
    assert receipt["candidates"] < 10 * len(pairs)
    of = pl.read_parquet(tmp_path / "out" / "classes" / "a" / "classes-00000.parquet")["class_id"].to_list()
    keys = match_key(pl.Series([side for pair in pairs for side in pair])).to_list()
    records = [(a, b, False, True) for a, b in zip(keys[::2], keys[1::2], strict=True)]
    near, alike = string_oracle.similar_keys({record[1] for record in records}, 0.8), dict[frozenset[int], float]()
    for i, one in enumerate(records):
        for j in range(i):
            if records[j][1] in near[one[1]] and of[i] != of[j] and (edge := string_oracle.edge(one, records[j], 0.8)):
                alike[frozenset((of[i], of[j]))] = edge[0]
    assert len(alike) > 150
    links = Links.of(
        pl.read_parquet(tmp_path / "out" / "edges.parquet").filter(pl.col("similarity") >= 0.8), len(pairs)
    )
    for seed in range(3):
        steps = np.random.default_rng(seed).permutation(receipt["classes"])
        walked = walk(steps, links, Crowds.read(tmp_path / "out" / "crowds.parquet", tmp_path), 0.8)
        kept = walked.winner < 0
        assert sum(all(kept[list(ends)]) for ends in alike) <= len(alike) / 100
        for c in np.flatnonzero(~kept):
            assert kept[walked.winner[c]]
            assert walked.similarity[c] == np.float32(alike[frozenset((int(c), int(walked.winner[c])))])


def test_a_symmetric_crowd_is_compared_turned_round_as_well(tmp_path: Path) -> None:
    text, pos = CHARACTERS[:90], CHARACTERS[100:140]
    places = [(at, new) for at in range(90) for new in range(150, 160)][: WHOLE + 50]
    pairs = [(text[:at] + CHARACTERS[new] + text[at + 1 :], pos + CHARACTERS[at % 3]) for at, new in places]
    turned = [(b, a) if i % 2 else (a, b) for i, (a, b) in enumerate(pairs)]
    inputs = write(tmp_path / "in", {"a": Given([turned], symmetric=True)})
    (tmp_path / "out").mkdir()
    assert dedupe(inputs, tmp_path / "out", DedupeConfig())["crowded"] == len(pairs)
    of = pl.read_parquet(tmp_path / "out" / "classes" / "a" / "classes-00000.parquet")["class_id"].to_numpy()
    told = {int(number): pair for number, pair in zip(of, turned, strict=True)}
    links = Links.of(pl.read_parquet(tmp_path / "out" / "edges.parquet"), len(pairs))
    walked = walk(np.arange(len(pairs)), links, Crowds.read(tmp_path / "out" / "crowds.parquet", tmp_path), 0.8)
    assert (walked.winner[1:] == 0).all()
    for c in range(1, len(pairs)):
        swapped = len(told[c][0]) != len(told[0][0])
        sides = [string_oracle.side(told[0][i], told[c][i ^ swapped]) for i in range(2)]
        assert walked.swapped[c] == swapped
        assert walked.similarity[c] == np.float32(min(sides))


def test_nothing_in_nothing_out() -> None:
    assert run({}).receipt["records"] == 0
    empty = run({"a": Given([[]])})
    assert (empty.classes, empty.edges) == ([], {})
    assert run({"a": Given([[("", "")]])}).classes == [0]


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([0, 1, 2, 5, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1), max_size=700), max_size=5
    )
)
def test_index_numbers_like_a_dict(batches: list[list[int]]) -> None:
    index, known = Index(), dict[int, int]()
    for batch in batches:
        numbers, fresh = index.add(np.array(batch, np.uint64))
        for value, number, is_fresh in zip(batch, numbers.tolist(), fresh.tolist(), strict=True):
            assert is_fresh == (value not in known)
            assert number == known.setdefault(value, len(known))
    assert index.count == len(known)


BITS = st.sampled_from([0, 1, 0xFF, 0xFFFF, 2**64 - 1])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9), BITS, BITS), max_size=60),
    st.lists(st.sampled_from([-1, 0, 1]), min_size=10, max_size=10),
    st.integers(0, 64),
)
def test_meetings_are_the_pairs_of_a_bucket_whose_sketches_agree(
    told: list[tuple[int, int, int, int]], crowd: list[int], least: int
) -> None:
    columns = [
        np.array([row[i] for row in told], kind) for i, kind in enumerate((np.uint32, np.uint32, *[np.uint64] * 2))
    ]
    pairs, dense = meetings(columns[0], Entries(*columns[1:], least, 2 * least, 0), np.array(crowd, np.int32))
    expected = set()
    for i, (key, a, *ours) in enumerate(told):
        for other, b, *theirs in told[:i]:
            agreeing = [64 - (x ^ y).bit_count() for x, y in zip(ours, theirs, strict=True)]
            apart = crowd[a] < 0 or crowd[a] != crowd[b]
            if key == other and a != b and apart and min(agreeing) >= least and sum(agreeing) >= 2 * least:
                expected.add(min(a, b) << 32 | max(a, b))
    assert pairs.tolist() == sorted(expected)
    assert not len(dense.entries)


def test_large_buckets_are_crowds() -> None:
    sizes = [WHOLE + 1, WHOLE, 2 * DENSE + 2, 2 * DENSE + 1]
    keys = np.repeat(np.arange(4, dtype=np.uint32) * np.uint32(2**20 + 1), sizes)
    owners = np.arange(len(keys), dtype=np.uint32)
    ends = np.cumsum(sizes)
    found = huge(keys)
    assert (found.entries.tolist(), found.ends.tolist()) == (list(range(WHOLE + 1)), [WHOLE + 1])
    one = np.zeros(len(keys), np.uint64)
    apart = owners.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = np.where(owners < ends[1], apart, one)
    pairs, dense = meetings(keys, Entries(owners, mixed, mixed, 60, 120, 57.6), np.zeros(0, np.int32))
    # The second bucket holds nobody alike, the third too many.
    assert dense.entries.tolist() == list(range(ends[0], ends[2]))
    assert dense.ends.tolist() == [WHOLE, WHOLE + 2 * DENSE + 2]
    met = [(int(p) >> 32, int(p) & 0xFFFFFFFF) for p in pairs]
    assert [p for p in met if p[1] >= ends[2]] == [
        (i, j) for i in range(ends[2], ends[3]) for j in range(i + 1, ends[3])
    ]


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=40, unique=True),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_everyone_leads_or_follows(places: list[float], most: int, step: int) -> None:
    compared: list[tuple[int, int]] = []

    def compare(leader: int, rest: np.ndarray) -> np.ndarray:
        compared.extend((leader, int(other)) for other in rest)
        return np.array([float(abs(places[leader] - places[i]) <= 5) for i in rest])

    members = np.arange(len(places))
    lead((members[low : low + step] for low in range(0, len(members), step)), lambda led, part: compare, most, 0.5)
    led: list[int] = []
    for i in range(len(places)):
        near = [leader for leader in led if abs(places[leader] - places[i]) <= 5]
        before = led[: led.index(near[0]) + 1] if near else led
        assert [leader for leader, other in compared if other == i] == before
        if not near and len(led) < most:
            led.append(i)
    assert len(compared) == len(set(compared)) <= most * len(places)
    assert leaders(40) > 40


def test_adversarial_shapes_stay_linear() -> None:
    """One pair a thousand times, a long template on both sides, and a text of a megabyte: few candidates per record."""
    rng = random.Random(16)
    same = run({"a": Given([[(PLAIN, PLAIN[:12])] * 1000])})
    assert (same.receipt["classes"], same.receipt["candidates"], same.receipt["crowds"]) == (1, 0, 0)
    template = CHARACTERS[:200]
    tails = ["".join(rng.choices(CHARACTERS[200:], k=rng.randrange(10, 20))) for _ in range(900)]
    pairs = [(template + tail, template + rng.choice(tails)) for tail in tails]
    long = "".join(rng.choices(CHARACTERS, k=350_000))
    with tempfile.TemporaryDirectory() as folder:
        inputs = write(Path(folder) / "in", {"a": Given([pairs]), "b": Given([[(long, PLAIN), (long[1:], PLAIN)]])})
        out = Path(folder) / "out"
        out.mkdir()
        receipt = dedupe(inputs, out, DedupeConfig())
        edges = pl.read_parquet(out / "edges.parquet")
        crowds = Crowds.read(out / "crowds.parquet", out)
        walked = walk(np.arange(902), Links.of(edges.filter(pl.col("similarity") >= 0.8), 902), crowds, 0.8)
    assert receipt["crowded"] > 800
    assert receipt["candidates"] < 40 * 902
    assert (walked.winner < 0).sum() < 100
