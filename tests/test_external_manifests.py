"""The manifests of what is not plainly on the Hub: files in their publishers' layouts give the records written down here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks import medi
from benchmarks.measure import child_environment
from pipeline.manifest.catalog import SHIPPED
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.recipe import Recipe
from tests.command import ROOT, m3e
from tests.external_files import CORPORA, VARIANTS, Variant, converted, encoded, manifest, name_of, on_disk
from tests.external_rows import CASES, Pair


def questions(rows: tuple[Any, ...]) -> int:
    told = [row for of in rows for row in of]
    return sum(len(p["qas"]) for row in told for p in row["paragraphs"]) if "paragraphs" in told[0] else len(told)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_file_in_the_publishers_layout_gives_exactly_these_records(variant: Variant, tmp_path: Path) -> None:
    corpus, case = variant.corpus, variant.case
    files = on_disk(corpus, variant.rows, tmp_path)
    told, text, labelled = converted(corpus, files, tmp_path)
    found = text.select(
        "row", "text", "text_pos", "text_neg", "prompt", "prompt_pos", "quality_score", "split", "sub_source"
    ).rows()
    assert found == [
        (
            f"{files[pair.part].name}#{pair.row}",
            pair.text,
            pair.text_pos,
            list(pair.text_neg),
            *(pair.prompts or case.prompts),
            pair.quality,
            "train",
            "",
        )
        for pair in case.pairs
    ]
    assert families(case.pairs) == families_of(text["doc_group"].to_list())
    assert text["score"].null_count() == text.height
    assert labelled.select("row", "text", "other", "label", "score").rows() == [
        (f"{files[judged.part].name}#{judged.row}", judged.text, judged.other, judged.label, None)
        for judged in case.judged
    ]
    used = {(given.part, given.row) for given in (*case.pairs, *case.judged)}
    totals = told["totals"]
    assert totals["quarantined"] == 0
    assert totals["read"] == questions(variant.rows)
    assert totals["filtered"] == totals["read"] - len(used)


def families_of(groups: list[Any]) -> list[int]:
    """Each group told as the place where it first stands."""
    return [groups.index(group) for group in groups]


def families(pairs: Iterable[Pair]) -> list[int]:
    return families_of([(pair.family, None if pair.family else at) for at, pair in enumerate(pairs)])


def test_every_source_is_pinned_and_every_other_one_says_what_it_is() -> None:
    for corpus in CORPORA.values():
        sources = [corpus.source, *(other.source for other in corpus.alternates)]
        assert all(source.revision for source in sources if source.kind == "hub"), corpus.name
        assert not any(
            "/master/" in source.base or "/main/" in source.base for source in sources if source.kind == "http"
        )
        assert corpus.splits == ["train"]
        kinds = [source.kind for source in sources]
        assert "manual" not in kinds[:-1], corpus.name  # asking a person is the last resort
    big = ("news2016zh", "baike2018qa", "webtext2019zh")
    assert {name: [CORPORA[name].source.kind, *(a.source.kind for a in CORPORA[name].alternates)] for name in big} == {
        "news2016zh": ["hub", "gdrive", "manual"],
        "baike2018qa": ["hub", "gdrive", "gdrive", "manual"],
        "webtext2019zh": ["hub", "gdrive", "manual"],
    }


def test_archives_are_named_where_files_of_drive_are_declared() -> None:
    for corpus in CORPORA.values():
        for other in corpus.alternates:
            if other.source.kind == "gdrive":
                names = {str(name).split("!")[0] for part in other.parts or () for name in part.files.values()}
                assert names == set(other.source.ids), corpus.name


def test_code_is_matched_as_code() -> None:
    sql, code = {"DuSQL", "Zhuiyi-NL2SQL", "CSpider"}, {"mbpp", "conala", "conala-mined"}
    for name, corpus in CORPORA.items():
        assert (corpus.code_sides, corpus.near) == (([], True) if name not in sql | code else (["text_pos"], False))
        assert (corpus.prompt == "代码") == (name in code)


def test_nothing_here_may_be_sold_but_the_open_code() -> None:
    allowed = {name for name, corpus in CORPORA.items() if corpus.licence.commercial == "allowed"}
    assert allowed == {"mbpp", "conala", "conala-mined"}
    shut = {name for name, corpus in CORPORA.items() if corpus.licence.commercial == "forbidden"}
    assert shut == {"CINLID", "CSpider", "Chinese-SQuAD", "DuSQL", "SimCLUE", "Zhuiyi-NL2SQL"}


def test_the_recipe_of_all_names_every_enabled_corpus_once_and_the_open_ones_first() -> None:
    recipe = Recipe.model_validate(manifest("recipes", "m3e-hq"))
    every = [Corpus.model_validate(manifest("corpora", path.stem)) for path in (SHIPPED / "corpora").glob("*.yaml")]
    assert isinstance(recipe.corpora, list)
    assert sorted(recipe.corpora) == sorted(corpus.name for corpus in every if corpus.enabled)
    open_ones = {corpus.name for corpus in every if corpus.enabled and corpus.licence.commercial == "allowed"}
    assert set(recipe.corpora[:8]) == open_ones - {"conala-mined"}
    prompted = {corpus.name for corpus in every if corpus.instruction_data and corpus.enabled}
    assert prompted < set(recipe.corpora[-4:])
    for name in ("m3e-hq", "m3e-commercial"):
        told = Recipe.model_validate(manifest("recipes", name))
        assert told.decontaminate.benchmarks == ["cmteb", "mteb-zh", "mteb-eng-v2"]
        assert told.cap is not None
        assert told.cap.positives_per_text == 5
    assert manifest("recipes", "m3e-commercial")["corpora"] == {"commercial": "allowed"}


# --- a whole build, and MEDI's size ----------------------------------------------------------------------------------


def test_all_build_from_local_files_and_negatives_join_their_pair(tmp_path: Path) -> None:
    own = tmp_path / "own"
    for folder in ("corpora", "recipes"):
        (own / folder).mkdir(parents=True)
    for name, case in CASES.items():
        told = manifest("corpora", name)
        for at, part in enumerate(told["parts"]):
            file = own / "files" / name / name_of(CORPORA[name].parts[at]).replace("!", "/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(CORPORA[name].parts[at], case.rows[at]))
            part["files"] = {"train": part["files"]["train"].replace("!", "/")}
        told |= {"source": {"kind": "local", "root": f"../files/{name}"}, "alternates": []}
        told.pop("expect", None)
        write_yaml(own / "corpora" / f"{name}.yaml", told)
    write_yaml(own / "recipes" / "external.yaml", {"name": "external", "corpora": list(CASES)})
    folders = ("--manifests", own, "--out", tmp_path / "build", "--store", tmp_path / "store")
    done = m3e("build", "external", "--strict", *folders)
    assert done.returncode == 0, done.stderr
    funnel = {
        told["corpus"]: told
        for told in json.loads((tmp_path / "build" / "external" / "funnel.json").read_bytes())["corpora"]
    }
    assert {name: told["converted"] for name, told in funnel.items()} == {n: len(c.pairs) for n, c in CASES.items()}
    lost = {name: told["removed"] for name, told in funnel.items() if told["kept"] < told["converted"]}
    assert lost == {
        "CINLID": {"quality": {"equal_sides": 1}},
        "SimCLUE": {"dedupe": {"exact_duplicate": 2}},
    }
    kept = pl.read_parquet(tmp_path / "build" / "external" / "data" / "SimCLUE" / "*.parquet")
    joined = {row["text"]: sorted(row["text_neg"]) for row in kept.iter_rows(named=True)}
    assert joined == {"手机屏幕碎了去哪里修": [], "怎么腌糖蒜": ["怎么腌咸鸭蛋", "糖蒜吃多了好不好"]}


def write_yaml(path: Path, told: dict[str, Any]) -> None:
    path.write_text(json.dumps(told, ensure_ascii=False, default=str), "utf-8")


def test_an_array_in_medis_layout_streams(tmp_path: Path) -> None:
    pairs = 36_000
    path, out = tmp_path / "medi-data.json", tmp_path / "out"
    out.mkdir()
    assert medi.write_array(path, pairs) > 60_000_000
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.medi", str(path), str(out)],
        cwd=ROOT,
        env=child_environment(one_thread=False),
        capture_output=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["records"] == pairs
    assert told["peak_bytes"] < 1_000_000_000
    rows, made = json.loads(path.read_bytes()), pl.read_parquet(out / "text-*.parquet")
    for found, side in (("text", "query"), ("text_pos", "pos")):
        assert made[found].to_list() == [tidy(row[side][1]) for row in rows]
    assert made["text_neg"].to_list() == [[tidy(row["neg"][1])] for row in rows]


def tidy(text: str) -> str:
    return text.replace("\n ", "\n").strip()
