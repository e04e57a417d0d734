"""Score: every scored record checked by plain Python that knows only texts, vectors and the rule in words."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scored_case import FREE, TERMS, Mined, ask, cosine, docs, key, mine

from pipeline.errors import CountError
from pipeline.licence import RowTerms
from pipeline.manifest.settings import RuleConfig, ScoreConfig
from pipeline.record import DATA_SCHEMA, SCORED_SCHEMA
from pipeline.score import score

STRICT = ["allowed", "unknown", "forbidden"]
RULE, CONFIG = RuleConfig(negatives=5, p=0.9), ScoreConfig(quantum=0.05)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mined]:
    made = mine(tmp_path_factory.mktemp("alone"), {"ask": ask(), "docs": docs()}, pooled=False)
    return {one.name: one for one in made}


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> list[Mined]:
    return mine(tmp_path_factory.mktemp("pooled"), {"docs": docs(), "ask": ask()}, pooled=True)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("train-*")) for row in pq.read_table(path).to_pylist()]


def run(
    one: Mined, out: Path, pool: list[Mined] | None = None, rule: RuleConfig = RULE, config: ScoreConfig = CONFIG
) -> Any:
    out.mkdir(exist_ok=True)
    receipt = score(one.input(pool), out, rule, config)
    return rows_of(out), json.loads(json.dumps(receipt))


def freest(text: str, pool: list[Mined]) -> dict[str, Any] | None:
    """Of the records that hold a text, the first by commercial use, redistribution, corpus, record_id."""
    holders = [
        (STRICT.index(r["commercial"]), STRICT.index(r["redistribute"]), i, r["record_id"], r)
        for i, one in enumerate(pool)
        for r in one.records
        if text in (r["text"], r["text_pos"])
    ]
    return min(holders, key=lambda h: h[:4])[4] if holders else None


def expected_negatives(one: Mined, pool: list[Mined], rule: RuleConfig) -> list[list[tuple[str, str, int | None]]]:
    """(text, origin, rank) per record, from the files of mining, read row by row."""
    texts = [text for other in pool for text in other.texts]
    stored = {row["text"]: row for path in one.paths("candidates-*") for row in pq.read_table(path).to_pylist()}
    made = []
    for pair in (row for path in one.paths("pairs-*") for row in pq.read_table(path).to_pylist()):
        chosen = [(texts[g["id"]], g["origin"], None) for g in pair["given"]]
        taken = {g["id"] for g in pair["given"]}
        found = stored[pair["text"]]
        for i, s, rank in zip(found["ids"], found["scores"], found["ranks"], strict=True):
            if s <= one.mu + rule.p * (pair["score_pos"] - one.mu) and i not in taken:
                chosen.append((texts[i], "mined", rank))
        made.append(chosen[: rule.negatives])
    return made


def check(rows: list[dict[str, Any]], one: Mined, pool: list[Mined], rule: RuleConfig) -> None:
    """Everything a scored record claims, for every record and negative."""
    assert len(rows) == len(one.records)
    for row, base, expected in zip(rows, one.records, expected_negatives(one, pool, rule), strict=True):
        same = set(DATA_SCHEMA.names) - {"commercial", "redistribute"}
        assert {name: row[name] for name in same} == {name: base[name] for name in same}
        assert row["score_pos"] == pytest.approx(cosine(row["text"], row["text_pos"]), abs=1e-6)
        assert [(n["text"], n["origin"], n["rank"]) for n in row["neg"]] == expected
        parts = [base]
        for n in row["neg"]:
            assert n["score"] == pytest.approx(cosine(row["text"], n["text"]), abs=1e-6)
            holder = freest(n["text"], pool) if n["origin"] == "mined" else None
            assert n["record_id"] == (holder["record_id"] if holder else None)
            assert n["corpus"] == (holder or base)["corpus"]
            source = holder or base
            if n["origin"] == "labelled":  # several rows may judge one pair: the freest of them
                here = key(row["text"]), key(n["text"])
                judged = [r for r in one.labelled if {key(r["text"]), key(r["other"])} == {*here}]
                source = min(judged, key=lambda r: (key(r["text"]) != here[0], *_strictness(r), r["record_id"]))
            assert n["licence_id"] == source["licence_id"]
            parts.append(source)
        for use in ("commercial", "redistribute"):
            assert row[use] == max((p[use] for p in parts), key=STRICT.index)


def _strictness(row: dict[str, Any]) -> tuple[int, int]:
    return STRICT.index(row["commercial"]), STRICT.index(row["redistribute"])


@pytest.mark.parametrize("name", ["ask", "docs"])
def test_every_record_is_what_its_parts_are(name: str, alone: dict[str, Mined], tmp_path: Path) -> None:
    rows, receipt = run(alone[name], tmp_path)
    check(rows, alone[name], [alone[name]], RULE)
    assert pq.read_schema(next(tmp_path.glob("train-00001-of-00002.parquet"))).equals(SCORED_SCHEMA)
    assert not list(tmp_path.glob("*.text"))
    fill = [len(row["neg"]) for row in rows]
    assert receipt["records"] == len(rows)
    assert receipt["short"] == {str(5 - n): fill.count(n) for n in sorted(set(fill), reverse=True) if n < 5}
    origins = [n["origin"] for row in rows for n in row["neg"]]
    assert receipt["negatives"] == {o: origins.count(o) for o in ("shipped", "labelled", "mined")}
    hard = [
        (n["score"] - alone[name].mu) / (row["score_pos"] - alone[name].mu)
        for row in rows
        for n in row["neg"]
        if n["rank"]
    ]
    assert receipt["hardness"] == pytest.approx(np.mean(hard), abs=1e-5)
    firsts = sorted(ranks[0] for row in rows if (ranks := [n["rank"] for n in row["neg"] if n["rank"]]))
    assert receipt["median_first_rank"] == firsts[(len(firsts) - 1) // 2]
    uses = [f"{row['licence_id']} ({row['commercial']})" for row in rows]
    assert receipt["licences"] == {use: uses.count(use) for use in sorted(set(uses))}


def test_the_case_holds_what_the_checks_look_for(alone: dict[str, Mined], tmp_path: Path) -> None:
    asked, _ = run(alone["ask"], tmp_path / "a")
    told, _ = run(alone["docs"], tmp_path / "d")
    origins = {n["origin"] for row in (*asked, *told) for n in row["neg"]}
    assert origins == {"shipped", "labelled", "mined"}
    assert len({row["commercial"] for row in asked}) > 1
    assert any(row["commercial"] != base["commercial"] for row, base in zip(asked, alone["ask"].records, strict=True))
    texts = [t for r in alone["ask"].records for t in (r["text"], r["text_pos"])]
    assert len(set(texts)) < len(texts)


def test_a_pool_of_all_corpora_names_holders_of_any(pooled: list[Mined], tmp_path: Path) -> None:
    one = pooled[1]
    rule = RuleConfig(negatives=40, p=1)
    rows, receipt = run(one, tmp_path, pooled, rule)
    check(rows, one, pooled, rule)
    assert receipt["pool"] == ["docs", "ask"]
    assert any(n["corpus"] == "docs" for row in rows for n in row["neg"])
    # One text that both corpora hold is one text: it comes from whoever is freer, though the other's pool stands first.
    shared = {n["corpus"] for row in rows for n in row["neg"] if n["text"] == "花呗能不能开通"}
    assert shared == {"ask"}


def test_terms_of_the_miner_bind_every_record(alone: dict[str, Mined], tmp_path: Path) -> None:
    shut = RowTerms(licence_id="LicenseRef-M3E-models", commercial="forbidden", redistribute="unknown")
    for name, miner in (("shut", shut), ("free", FREE)):
        (tmp_path / name).mkdir()
        score(alone["docs"].input(miner=miner), tmp_path / name, RULE, CONFIG)
    assert {row["commercial"] for row in rows_of(tmp_path / "shut")} == {"forbidden"}
    assert "allowed" in {row["commercial"] for row in rows_of(tmp_path / "free")}
    assert "allowed" not in {row["redistribute"] for row in rows_of(tmp_path / "shut")}
    terms = [row for path in sorted((tmp_path / "shut").glob("terms-*")) for row in pq.read_table(path).to_pylist()]
    assert [tuple(t.values()) for t in terms] == [TERMS[r["sub_source"]] for r in alone["docs"].records]


def test_the_same_input_gives_the_same_bytes(alone: dict[str, Mined], tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(alone["ask"], tmp_path / name)
    digests = [
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    ]
    assert digests[0] == digests[1]


def test_judged_pairs_have_the_judgement(alone: dict[str, Mined], tmp_path: Path) -> None:
    """Gold scores run to 5 in this corpus: a record's own first, else the labelled row's, else a match is 1."""
    rows, receipt = run(alone["ask"], tmp_path)
    assert receipt["calibration"]["gold_scale"] == 5
    golds: dict[tuple[str, str], set[float]] = {}
    for r in alone["ask"].labelled:
        golds.setdefault((key(r["text"]), key(r["other"])), set()).add(
            r["score"] / 5 if r["score"] is not None else float(r["label"])
        )
    own = judged = 0
    for row in rows:
        if row["score"] is not None:
            own += 1
            assert row["calibrated_pos"] == pytest.approx(0.8)
        elif len(told := golds.get((key(row["text"]), key(row["text_pos"])), set())) == 1:
            judged += 1
            assert row["calibrated_pos"] == pytest.approx(told.pop())
        for n in row["neg"]:
            if n["origin"] == "labelled":
                assert n["calibrated"] == 0
    assert own == 4 and judged > 100


def test_calibrated_scores_follow_the_curve_in_steps(alone: dict[str, Mined], tmp_path: Path) -> None:
    for name, method in (("ask", "isotonic"), ("docs", "quantile")):
        rows, receipt = run(alone[name], tmp_path / name)
        assert receipt["calibration"]["method"] == method
        x, y = np.array(receipt["calibration"]["points"]).T
        assert (np.diff(x) > 0).all() and (np.diff(y) >= 0).all() and y.min() >= 0 and y.max() <= 1
        scored = [(n["score"], n["calibrated"]) for row in rows for n in row["neg"] if n["origin"] != "labelled"]
        for raw, calibrated in scored:
            assert abs(calibrated - np.interp(raw, x, y)) <= 0.025 + 1e-6
            assert calibrated / 0.05 == pytest.approx(round(calibrated / 0.05), abs=1e-5)


def test_without_calibration_there_is_none(alone: dict[str, Mined], tmp_path: Path) -> None:
    rows, receipt = run(alone["ask"], tmp_path, config=ScoreConfig(calibrate=False))
    assert {row["calibrated_pos"] for row in rows} == {None}
    assert {n["calibrated"] for row in rows for n in row["neg"]} == {None}
    assert receipt["calibration"]["method"] == "off"


def test_row_groups_stay_small(alone: dict[str, Mined], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut by bytes of text: never more than the bound in one group, no record lost, the content the same."""
    whole, _ = run(alone["ask"], tmp_path / "whole")
    monkeypatch.setattr("pipeline.score.records.GROUP_BYTES", 2000)
    cut, _ = run(alone["ask"], tmp_path / "cut")
    assert cut == whole
    for path in (tmp_path / "cut").glob("train-*"):
        file = pq.ParquetFile(path)
        assert file.num_row_groups > 2
        for group in range(file.num_row_groups):
            texts = [n["text"] for negs in file.read_row_group(group, ["neg"])["neg"].to_pylist() for n in negs]
            assert sum(len(t.encode()) for t in texts) <= 2000


def test_an_empty_corpus_is_scored(tmp_path: Path) -> None:
    (none,) = mine_nothing(tmp_path / "base")
    rows, receipt = run(none, tmp_path / "out")
    assert rows == [] and receipt["records"] == 0 and receipt["calibration"]["method"] == "none"


def mine_nothing(folder: Path) -> list[Mined]:
    records = ask()[0][:4]
    made = mine(folder, {"ask": (records, [])}, pooled=False)
    for path in [
        *made[0].paths("train-*"),
        *made[0].paths("pairs-*"),
        *made[0].paths("candidates-*"),
        *made[0].paths("pool-*"),
    ]:
        pq.write_table(pq.read_schema(path).empty_table(), path)
    return made


def test_files_of_different_builds_are_refused(alone: dict[str, Mined], tmp_path: Path) -> None:
    given_ = alone["ask"].input()
    short = replace(given_, pool=[replace(given_.own, pairs=given_.own.pairs[:1], data=given_.own.data)])
    foreign = replace(given_, pool=[replace(given_.own, pool=given_.own.pool[:1])])
    unscored = replace(given_, labelled_scores=alone["docs"].paths("nothing"))
    for i, broken in enumerate((short, foreign, unscored)):
        out = tmp_path / str(i)
        out.mkdir()
        with pytest.raises(CountError, match="build again"):
            score(broken, out, RULE, CONFIG)
