"""Manifests: every fault is told with its place, all of them at once, and never as a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.errors import ManifestError, Problem, UsageError
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.recipe import Recipe, chosen
from pipeline.manifest.schema import MODELS, SHIPPED, schema_text
from pipeline.manifest.yaml import load
from tests.small import CLOSED, corpus, write_manifests

CORPUS = """\
name: small
title: Small
domain: 百科
task: 问答
grade: 优
source: {kind: hub, repo: a/b, revision: main}
parts:
  - files: {train: "x.jsonl"}
    layout: jsonl
    columns: {q: string, a: string, label: {names: [no, yes]}}
    select: {text: q, text_pos: answer, where: "label = 'yess'"}
licence: {spdx: CC0-1.0, commercial: allowed, redistribute: allowed, confidence: high, basis: own}
"""


def problems_of(folder: Path) -> list[Problem]:
    with pytest.raises(ManifestError) as caught:
        read_catalog([folder], shipped=False)
    return list(caught.value.problems)


def written(folder: Path, **files: str) -> Path:
    (folder / "corpora").mkdir()
    (folder / "recipes").mkdir()
    (folder / "licences.yaml").write_text(
        "licences:\n  CC0-1.0: {name: CC0, commercial: allowed, redistribute: allowed, attribution: false, share_alike: false}\n"
    )
    for name, text in files.items():
        kind = "recipes" if name.startswith("recipe") else "corpora"
        (folder / kind / f"{name}.yaml").write_text(text, "utf-8")
    return folder


def test_a_moving_revision_is_told_at_its_line_and_column(tmp_path: Path) -> None:
    problems = problems_of(written(tmp_path, small=CORPUS))
    assert [str(p).split("corpora/")[1] for p in problems] == [
        "small.yaml:6:42 source.revision: 'main' moves; give a 40-character commit or null"
    ]


def test_unknown_columns_and_label_names_are_found_before_any_row_is_read(tmp_path: Path) -> None:
    problems = problems_of(written(tmp_path, small=CORPUS.replace(": main", ": null")))
    assert {(p.line, p.key) for p in problems} == {(11, "parts.0.select.text_pos"), (11, "parts.0.select.where")}
    told = " ".join(p.message for p in problems)
    assert "answer" in told and "yess" in told and "no, yes" in told


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    twice = (
        CORPUS.replace(": main", ": null")
        .replace("title: Small", "title: Small\ntitle: Again")
        .replace("yess", "yes")
        .replace("answer", "a")
    )
    unknown = (
        CORPUS.replace(": main", ": null")
        .replace("grade: 优", "grade: 优\ngarde: 良")
        .replace("yess", "yes")
        .replace("answer", "a")
    )
    recipe = "name: r\ncorpora: [small, nobody]\ndecontaminate: {benchmarks: [none]}\n"
    problems = problems_of(written(tmp_path, one=twice, two=unknown, recipe=recipe))
    told = [(Path(p.file).name, p.line, p.key) for p in problems]
    assert ("one.yaml", 3, "title") in told
    assert ("two.yaml", 6, "garde") in told
    assert ("recipe.yaml", 2, "corpora.1") in told
    assert ("recipe.yaml", 3, "decontaminate.benchmarks.0") in told


def test_two_corpora_of_one_name_in_one_folder_are_an_error(tmp_path: Path) -> None:
    good = CORPUS.replace(": main", ": null").replace("yess", "yes").replace("answer", "a")
    problems = problems_of(written(tmp_path, one=good, two=good))
    assert [(Path(p.file).name, p.line, p.key) for p in problems] == [("two.yaml", 1, "name")]
    assert "one.yaml" in problems[0].message


def test_a_later_folder_overrides_an_earlier_one(tmp_path: Path) -> None:
    for side, title in (("ours", "first"), ("theirs", "second")):
        write_manifests(tmp_path / side, [corpus("small", title=title)])
    catalog = read_catalog([tmp_path / "ours", tmp_path / "theirs"], shipped=False)
    assert catalog.corpora["small"].title == "second"
    assert catalog.home("corpora", "small") == tmp_path / "theirs" / "corpora"


def test_a_claim_freer_than_its_licence_is_refused(tmp_path: Path) -> None:
    folder = write_manifests(
        tmp_path,
        [corpus("small", licence={**CLOSED, "basis": "evidence", "commercial": "unknown", "redistribute": "unknown"})],
    )
    problems = problems_of(folder)
    assert [p.key for p in problems] == ["licence.commercial"]


def test_allowed_needs_a_quote(tmp_path: Path) -> None:
    folder = write_manifests(
        tmp_path,
        [
            corpus(
                "small",
                licence={"spdx": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "confidence": "high"},
            )
        ],
    )
    assert "quote" in problems_of(folder)[0].message


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("name: [", "not YAML"),
        ("", "empty"),
        ("a: &x 1\nb: *x\n", "anchors"),
        ("name: !!python/object:os.system x\n", "tag"),
        ("[" * 40 + "]" * 40, "levels"),
        ("x" * (1 << 18) + "y", "bytes"),
    ],
)
def test_yaml_that_is_no_manifest_is_told_in_one_sentence(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text, "utf-8")
    assert word in " ".join(p.message for p in load(path, "x.yaml").problems)


def test_yaml_in_another_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("name: 语料".encode("gbk"))
    assert "UTF-8" in load(path, "x.yaml").problems[0].message


PLAIN: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text("ab 中:#-'\"{}[]\n", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc中", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_values_are_those_of_yaml_1_2(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    # ruamel's own round-trip loader is the independent reading.
    folder = tmp_path_factory.mktemp("yaml")
    path = folder / "x.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="rt").dump({"k": value}, file)
    document = load(path, "x.yaml")
    if not document.problems:  # an anchor may appear where ruamel sees equal objects
        assert document.value == YAML(typ="safe", pure=True).load(path.read_text("utf-8"))


@given(st.binary(max_size=200))
def test_no_bytes_raise(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_bytes(raw)
    load(path, "x.yaml")


@given(st.data())
def test_a_mutated_manifest_is_read_or_refused_but_never_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    good = bytearray(CORPUS.replace(": main", ": null").replace("yess", "yes").replace("answer", "a").encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    folder = tmp_path_factory.mktemp("mutated")
    (folder / "corpora").mkdir()
    (folder / "corpora" / "x.yaml").write_bytes(bytes(good))
    try:
        read_catalog([folder], shipped=False)
    except ManifestError as error:
        assert all(p.line >= 1 and p.message for p in error.problems)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_committed_schema_is_current(name: str) -> None:
    assert (SHIPPED / "schema" / f"{name}.json").read_text("utf-8") == schema_text(name), (
        "run: python -m pipeline.manifest.schema"
    )


def test_choosing_corpora_by_property(tmp_path: Path) -> None:
    folder = write_manifests(
        tmp_path,
        [
            corpus("b"),
            corpus("a", licence=CLOSED),
            corpus("c", grade="良"),
            corpus("d", enabled=False, disabled_reason="withdrawn"),
        ],
    )
    found = read_catalog([folder], shipped=False).corpora

    def names(**told: Any) -> list[str]:
        return [c.name for c in chosen(Recipe(name="r", **told), found)]

    assert names() == ["a", "b", "c"]
    assert names(corpora={"commercial": "allowed"}) == ["b", "c"]
    assert names(corpora={"commercial": "allowed", "grade": "优"}) == ["b"]
    assert names(corpora=["d", "a"]) == ["d", "a"]


def test_tombstones_are_read_and_checked(tmp_path: Path) -> None:
    folder = write_manifests(tmp_path, [corpus("a")])
    (folder / "tombstones.txt").write_text(f"# by request\n{'ab' * 16}  # one record\n{'12' * 8}\n")
    assert read_catalog([folder], shipped=False).tombstones == {"ab" * 16, "12" * 8}
    (folder / "tombstones.txt").write_text("not hex\n")
    assert problems_of(folder)[0].line == 1


def test_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        read_catalog([tmp_path / "nowhere"])


def test_two_benchmarks_of_one_task_are_an_error(tmp_path: Path) -> None:
    part = {"files": {"test": "x.txt"}, "layout": "txt", "texts": [{"role": "query", "text": "line"}]}
    told = {"task": "Same", "source": {"kind": "local", "root": "."}, "splits": ["test"], "parts": [part]}
    folder = write_manifests(tmp_path, [corpus("a")], benchmarks=[{"name": "one", **told}, {"name": "two", **told}])
    assert [(Path(p.file).name, p.key) for p in problems_of(folder)] == [("two.yaml", "task")]


def test_a_column_type_that_is_none_is_told(tmp_path: Path) -> None:
    part = corpus("a")["parts"][0] | {"columns": {"q": "string", "a": "sting"}}
    (problem,) = problems_of(write_manifests(tmp_path, [corpus("a", parts=[part])]))
    assert problem.key == "parts.0.columns.a"
    assert "sting" in problem.message
