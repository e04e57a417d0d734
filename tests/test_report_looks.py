"""What the page shows of a build beyond counts: who repeats whom, removed beside kept, the border, what may be shown."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.folder import PAGE
from pipeline.report.difference import difference
from pipeline.report.opened import Build, open_build
from pipeline.report.page import write_page
from pipeline.report.removed import looks
from pipeline.report.repeats import repeats
from pipeline.report.samples import even_rows, kept_pairs
from tests.small import OPEN, corpus, write_manifests, write_rows
from tests.test_report import SENTENCES, built, english

SECRET = OPEN | {"redistribute": "forbidden"}
HIDDEN = "这句话不得转发给任何人看到"


def manifests_in(folder: Path) -> Path:
    """Four corpora: `base` and `copy` share and nearly share pairs, `secret` may not be passed on, `parts` in part."""
    whole = {name: corpus(name)["parts"][0] for name in ("parts",)}["parts"]
    parts = [whole, whole | {"sub_source": "closed", "files": {"train": "closed.jsonl"}}]
    made = [
        corpus("base"),
        corpus("copy"),
        corpus("secret", licence=SECRET),
        corpus("parts", parts=parts, licence=OPEN | {"sub_sources": {"closed": SECRET}}),
    ]
    write_manifests(folder, made, {"name": "small", "dedupe": {"threshold": 0.8, "floor": 0.6}})
    answers = [f"第{i}个问题的回答：{q}，大家都是这样说的" for i, q in enumerate(SENTENCES)]
    pairs = [{"q": q, "a": a} for q, a in zip(SENTENCES, answers, strict=True)]
    write_rows(folder, "base", [*pairs, pairs[0], {"q": "空", "a": ""}])
    near = {"q": SENTENCES[1] + "呢", "a": answers[1]}
    # Below 0.8 and above 0.6 on the text: both stay.
    border = {"q": SENTENCES[2] + "对吗请问一下", "a": answers[2]}
    write_rows(folder, "copy", [pairs[0], pairs[3], near, border])
    write_rows(folder, "secret", [pairs[4], *({"q": f"{HIDDEN}{word}", "a": f"{word}的说明"} for word in "甲乙丙丁")])
    write_rows(folder, "parts", [{"q": "公开的一句话在这里", "a": "可以给大家看的说明"}])
    write_rows(folder, "closed", [{"q": f"{HIDDEN}第二部分{word}", "a": f"第二部分{word}"} for word in "戊己庚辛"])
    return folder


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("looks")
    return open_build(built(manifests_in(folder / "manifests"), folder)[0])


def kept_texts(build: Build) -> dict[str, dict[str, Any]]:
    rows = pl.read_parquet(build.folder / "data" / "*" / "*.parquet").to_dicts()
    return {row["record_id"]: row for row in rows}


def test_who_repeats_whom_is_what_the_ledger_says(build: Build) -> None:
    holders = {record_id: row["corpus"] for record_id, row in kept_texts(build).items()}
    expected = Counter(
        (name, holders[kept])
        for name in build.corpora
        for kept in pl.read_parquet(build.ledger(name))["duplicate_of"].drop_nulls()
    )
    told = repeats(build)
    assert {(loser, holder): n for loser, row in told.items() for holder, n in row.items()} == expected
    assert expected["copy", "base"] == 3 and expected["base", "base"] == 1 and expected["secret", "base"] == 1


def test_every_reason_has_examples_beside_their_kept_record(build: Build) -> None:
    ledger = {row["record_id"]: row for name in build.corpora for row in pl.read_parquet(build.ledger(name)).to_dicts()}
    kept = kept_texts(build)
    told = looks(build, show_all=True)
    assert set(told.cases) == {row["reason"] for row in ledger.values()}
    for reason, cases in told.cases.items():
        for case in cases:
            row = ledger[case.removed.record_id]
            assert (row["reason"], row["corpus"], row["similarity"]) == (reason, case.removed.corpus, case.similarity)
            if case.kept:
                other = kept[row["duplicate_of"]]
                assert (case.kept.text, case.kept.text_pos) == (other["text"], other["text_pos"])
            assert bool(case.kept) == bool(row["duplicate_of"])
    assert [case.removed.text for case in told.just_removed] == [SENTENCES[1] + "呢"]
    (border,) = told.just_kept
    assert {border.first.text, border.second.text} == {SENTENCES[2], SENTENCES[2] + "对吗请问一下"}
    assert 0.65 <= border.similarity < 0.8


def test_what_may_not_be_passed_on_is_shown_only_when_asked(build: Build, tmp_path: Path) -> None:
    page = (build.folder / PAGE).read_text("utf-8")
    assert HIDDEN not in page and SENTENCES[0] in page
    assert [row["text"] for row in kept_pairs(build, "parts")] == ["公开的一句话在这里"]
    assert kept_pairs(build, "secret") == [] and len(kept_pairs(build, "secret", show_all=True)) == 4
    assert "may not be passed on" in english(page).css_first("#samples").text()
    # The copy that `secret` lost is not shown either.
    assert "secret" not in {case.removed.corpus for cases in looks(build).cases.values() for case in cases}
    told = write_page(build, show_all=True)
    assert told.name == "report-all.html" and HIDDEN in told.read_text("utf-8")
    assert "Keep it to yourself" in told.read_text("utf-8") and (build.folder / PAGE).read_text("utf-8") == page
    told.unlink()


def test_a_build_whose_store_is_gone_still_has_a_page(build: Build, tmp_path: Path) -> None:
    shutil.copytree(build.folder, tmp_path / "small")
    (tmp_path / "small" / "run.json").unlink()
    page = english(write_page(Build(tmp_path / "small")).read_text("utf-8"))
    assert "no longer in the store" in page.css_first("#removed").text()
    assert "Nothing was measured" in page.css_first("#cost").text()
    assert len(page.css("#border .sides")) == 1  # of kept records


def test_even_rows_are_even_and_the_same(build: Build) -> None:
    paths = build.data("base")
    rows = pl.read_parquet(paths)
    assert (
        even_rows(paths, ["record_id"], 2)["record_id"].to_list()
        == rows["record_id"][:: rows.height // 2][:2].to_list()
    )
    assert even_rows(paths, ["record_id"], 100, 3)["record_id"].to_list() == rows["record_id"].to_list()


texts = st.text(alphabet="春天的院子abc 12，。", max_size=60)


@given(texts, texts)
def test_the_runs_of_a_difference_are_the_texts(left: str, right: str) -> None:
    sides = difference(left, right, most=10_000)
    assert tuple("".join(run.text for run in side) for side in sides) == (left, right)
    shared = ["".join(run.text for run in side if not run.differs) for side in sides]
    assert shared[0] == shared[1]
    if left == right:
        assert not any(run.differs for side in sides for run in side)


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 50))
def test_a_difference_deep_in_a_long_text_is_still_seen(before: int, after: int, most: int) -> None:
    head, tail = "前" * before, "后" * after
    left, right = difference(head + "甲" + tail, head + "乙" + tail, most=100 + most)
    assert [run.text for run in left if run.differs] == ["甲"] and [run.text for run in right if run.differs] == ["乙"]
    assert sum(len(run.text) for run in left) <= 105 + most


def test_what_is_the_same_on_both_sides_is_told_in_short() -> None:
    left, right = difference("长" * 900, "长" * 900)
    assert left == right and [len(run.text) for run in left] == [161] and not left[0].differs
