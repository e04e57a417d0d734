"""The licence decisions of the 30 corpora, held to a table written down here and, where it is at hand, to the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.manifest.catalog import SHIPPED, read_catalog
from tests.conftest import corpora_folder

#: corpus[/sub_source], SPDX expression, commercial, redistribute, duties. Decided on 2026-11-23; an entry changes only
#: with new evidence.
TABLE = """\
    CINLID LicenseRef-LUGE-participant-agreement forbidden forbidden
    CSpider LicenseRef-LUGE-participant-agreement forbidden forbidden
    Chinese-SQuAD NOASSERTION forbidden unknown
    DuSQL LicenseRef-LUGE-participant-agreement forbidden forbidden
    SimCLUE NOASSERTION forbidden unknown
    Zhuiyi-NL2SQL LicenseRef-TableQA-terms forbidden forbidden
    alpaca_gpt4 CC-BY-NC-4.0 forbidden allowed
    amazon_reviews_multi LicenseRef-amazon-reviews-ml forbidden forbidden
    baike2018qa MIT unknown unknown
    belle_2m GPL-3.0-only forbidden unknown
    bq LicenseRef-BQ-application-form forbidden forbidden
    chatmed_consult NOASSERTION forbidden unknown
    cmrc2018 CC-BY-SA-4.0 allowed allowed share-alike
    csl Apache-2.0 unknown allowed
    dureader_robust Apache-2.0 allowed allowed
    firefly NOASSERTION unknown unknown
    hc3_chinese/open_qa NOASSERTION unknown unknown
    hc3_chinese/baike CC-BY-SA-4.0 unknown allowed share-alike
    hc3_chinese/nlpcc_dbqa NOASSERTION unknown unknown
    hc3_chinese/psychology CC0-1.0 unknown allowed
    hc3_chinese/medicine CC-BY-NC-4.0 forbidden allowed
    hc3_chinese/finance CC-BY-4.0 unknown allowed
    hc3_chinese/law NOASSERTION unknown unknown
    lawzhidao NOASSERTION unknown unknown
    lcqmc LicenseRef-LCQMC-application-form forbidden unknown
    medi NOASSERTION unknown unknown
    miracl-corpus Apache-2.0 allowed allowed share-alike
    mlqa CC-BY-SA-3.0 allowed allowed share-alike
    news2016zh MIT unknown unknown
    ocnli CC-BY-NC-2.0 forbidden allowed
    paws-x LicenseRef-PAWS allowed allowed
    webqa NOASSERTION unknown unknown
    webtext2019zh MIT unknown unknown
    wiki_atomic_edit CC-BY-SA-4.0 allowed allowed share-alike
    xlsum CC-BY-NC-SA-4.0 forbidden allowed share-alike
    zhihu_kol NOASSERTION unknown unknown
"""
#: Text that was gathered, so that the packager's licence is not the text's.
GATHERED = {"news2016zh", "baike2018qa", "webtext2019zh", "csl"}
AXES = ("spdx", "commercial", "redistribute")


def decided() -> dict[tuple[str, str], tuple[str, str, str, bool]]:
    told = {}
    for line in TABLE.splitlines():
        name, *terms = line.split()
        corpus, _, sub_source = name.partition("/")
        told[corpus, sub_source] = (terms[0], terms[1], terms[2], terms[3:] == ["share-alike"])
    return told


def raw(name: str) -> dict[str, Any]:
    told: dict[str, Any] = YAML(typ="safe").load((SHIPPED / "corpora" / f"{name}.yaml").read_text("utf-8"))
    return told


def blocks(name: str) -> dict[str, dict[str, Any]]:
    """Sub-source -> block, as the file has it."""
    licence = raw(name)["licence"]
    subs = {part.get("sub_source", "") for part in raw(name)["parts"]}
    return {sub: licence.get("sub_sources", {}).get(sub, licence) for sub in subs}


def test_every_corpus_is_as_decided() -> None:
    table = decided()
    assert len({corpus for corpus, _ in table}) == 30
    found = {
        (corpus, sub): (*(block[axis] for axis in AXES), block.get("share_alike", False))
        for corpus in {corpus for corpus, _ in table}
        for sub, block in blocks(corpus).items()
    }
    assert found == table


def test_the_models_read_what_the_files_say() -> None:
    corpora = read_catalog([]).corpora
    for (corpus, sub), (spdx, commercial, redistribute, share_alike) in decided().items():
        terms = corpora[corpus].licence.of(sub)
        assert (terms.spdx, terms.commercial, terms.redistribute, terms.share_alike) == (
            spdx, commercial, redistribute, share_alike
        )  # fmt: skip


def test_gathered_text_is_said_to_be_gathered() -> None:
    for name in GATHERED:
        assert raw(name)["licence"]["underlying"], name
        assert raw(name)["licence"]["commercial"] == "unknown", name


@pytest.fixture(scope="module")
def evidence() -> dict[str, Any]:
    folder = corpora_folder()
    path = folder.parent / "facts" / "licence-evidence.yaml" if folder else None
    if path is None or not path.is_file():
        pytest.skip("no table of licence evidence here (../shared/facts/licence-evidence.yaml)")
    told: dict[str, Any] = YAML(typ="safe").load(path.read_text("utf-8"))["corpora"]
    return told


def test_the_table_here_is_the_evidence_s(evidence: dict[str, Any]) -> None:
    found = {}
    for name, told in evidence.items():
        if name.endswith("_evidence"):
            continue
        for sub, block in (told.get("sub_sources") or {"": told}).items():
            found[name, sub] = (*(block[axis] for axis in AXES), block.get("share_alike", False))
    assert found == decided()


def test_quotes_places_and_doubts_are_the_evidence_s(evidence: dict[str, Any]) -> None:
    """Every quote with its repository, commit and file; confidence, conflict and generator; nothing made up beside."""
    for name, told in evidence.items():
        if name.endswith("_evidence"):
            continue
        licence = raw(name)["licence"]
        assert licence["confidence"] == told["confidence"], name
        for key in ("conflict", "generator", "personal_data"):
            assert licence.get(key) == told.get(key), (name, key)
        assert set(told.get("underlying", [])) <= set(licence.get("underlying", [])), name
        assert name in GATHERED or licence.get("underlying", []) == told.get("underlying", []), name
        places = ("repo", "commit", "file", "document", "quote")
        want = [tuple(one.get(key) for key in places) for one in evidence[f"{name}_evidence"]]
        assert [tuple(one.get(key) for key in places) for one in licence.get("evidence", [])] == want, name
        assert {str(one["read"]) for one in licence.get("evidence", [])} <= {"2026-11-23"}, name
        for block in blocks(name).values():
            for one in block.get("evidence", []):
                assert tuple(one.get(key) for key in places) in want, name


def test_the_manifests_of_real_slices_carry_the_same_decisions() -> None:
    """Stand-ins (other text in the layout of a corpus) have terms of their own."""
    table, held = decided(), 0
    for path in sorted((Path(__file__).parent / "real" / "corpora").glob("*.yaml")):
        told = YAML(typ="safe").load(path.read_text("utf-8"))
        if told["name"].endswith("_standin"):
            continue
        name = told["name"].removesuffix("_csts")
        assert tuple(told["licence"][axis] for axis in AXES) == table[name, ""][:3], path.stem
        held += 1
    assert held > 10
