"""SQuAD trees against plain loops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import chunks_of, part, read, texts, walked

from pipeline.layouts import read_rows
from pipeline.manifest.corpus import SQUAD_COLUMNS


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layouts") / "file"


ids = st.none() | st.integers(0, 9) | texts
questions = st.fixed_dictionaries(
    {"question": texts},
    optional={
        "id": ids,
        "is_impossible": st.none() | st.booleans(),
        "answers": st.none() | st.lists(st.fixed_dictionaries({"text": texts}, optional={"answer_start": st.just(3)})),
        "plausible_answers": st.just([{"text": 1}]),
    },
)
paragraphs = st.fixed_dictionaries({"context": texts, "qas": st.lists(questions, max_size=3)}, optional={"id": ids})
articles = st.fixed_dictionaries(
    {"paragraphs": st.lists(paragraphs, max_size=3)}, optional={"title": st.none() | texts, "id": ids}
)


@settings(max_examples=50, deadline=None)
@given(st.lists(articles, max_size=4), st.sampled_from([11, 1 << 20]))
def test_questions_of_any_tree(scratch: Path, data: list[Any], size: int) -> None:
    tree = {"version": "v1", "data": data}
    scratch.write_text(json.dumps(tree), "utf-8")
    with chunks_of(size):
        good, bad = read(scratch, part("squad"))
    assert list(good.values()) == walked(tree) and not bad
    assert all(list(row) == list(SQUAD_COLUMNS) for row in good.values())


def test_faults_in_a_tree_are_single_bad_rows(scratch: Path) -> None:
    fine = {"question": "问", "answers": [{"text": "答"}]}
    data: list[Any] = [
        {"paragraphs": [{"context": "文", "qas": [fine, {"question": 1}, {"question": "q", "answers": "a"}, fine]}]},
        {"paragraphs": [{"context": None, "qas": [fine]}, {"context": "文", "qas": [fine]}]},
        {"title": "t"},
        7,
        {"paragraphs": [{"context": "文", "qas": [fine]}]},
    ]
    scratch.write_text(json.dumps({"data": data}, ensure_ascii=False), "utf-8")
    good, bad = read(scratch, part("squad"))
    assert sorted(good) == [0, 3, 5, 8]
    assert {n: row.reason for n, row in bad.items()} == {
        1: "column question: expected string, found int",
        2: "answers: expected a list, found str",
        4: "column context is null",
        6: "paragraphs: expected a list, found nothing",
        7: "article: expected an object, found int",
    }
    assert json.loads(bad[1].raw) == {"question": 1}


def test_a_long_context_is_not_multiplied_without_bounds(scratch: Path) -> None:
    qas = [{"question": f"{number}"} for number in range(40)]
    tree = {"data": [{"paragraphs": [{"context": "长" * 1_000_000, "qas": qas}]}]}
    scratch.write_text(json.dumps(tree, ensure_ascii=False), "utf-8")
    sizes = [batch.table.nbytes for batch in read_rows(scratch, part("squad"), pytest.fail)]
    assert len(sizes) > 2 and max(sizes) < 48 << 20
