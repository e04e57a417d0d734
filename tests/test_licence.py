"""The rules of licences as invariants, and every fault of a licence block at its line."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import ManifestError
from pipeline.licence import (
    Licence,
    Policy,
    Terms,
    UseClass,
    Uses,
    Vocabulary,
    Whole,
    join,
    licence_faults,
    scored_uses,
    stale_evidence,
    strictest,
    under,
)
from pipeline.licence.scored import miner_use, scored_use
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.recipe import Recipe, chosen
from tests.small import CLOSED, OPEN, corpus, write_manifests

STRICTNESS = {"allowed": 0, "unknown": 1, "forbidden": 2}
NAMES = list(STRICTNESS)
AXES = ("commercial", "redistribute")
GPT = {"model": "gpt-4", "provider": "OpenAI", "terms": "non-compete"}
READ = {"repo": "a/b", "commit": "0" * 40, "file": "LICENSE", "read": "2026-11-23", "quote": "free for any purpose"}

use_classes = st.sampled_from(UseClass)
both_uses = st.builds(Uses, use_classes, use_classes)
policies = st.builds(Policy, accept_generator_terms=st.booleans(), accept_miner_terms=st.booleans())


@st.composite
def licence_terms(draw: st.DrawFn) -> Terms:
    return Terms(
        spdx=draw(st.sampled_from(["MIT", "CC0-1.0", "CC-BY-SA-4.0", "NOASSERTION"])),
        underlying=draw(st.lists(st.sampled_from(["CC-BY-SA-3.0", "NOASSERTION"]), max_size=2)),
        commercial=draw(use_classes),
        redistribute=draw(use_classes),
        share_alike=draw(st.booleans()),
        attribution=draw(st.sampled_from([None, "A", "B"])),
        generator=draw(st.sampled_from([None, GPT, {**GPT, "model": "open-model", "terms": "open"}])),
        personal_data=draw(st.sampled_from(["none", "pseudonymous", "present", "unknown"])),
        conflict=draw(st.sampled_from([None, "tag against README", "two files"])),
        confidence="high",
        basis="own",
    )


def rank(use: str) -> int:
    return STRICTNESS[use]


# --- joins -----------------------------------------------------------------------------------------------------------


@given(st.lists(licence_terms(), max_size=6), st.randoms())
def test_a_join_is_its_strictest_part_and_forgets_no_duty(parts: list[Terms], chance: Any) -> None:
    whole = join(parts)
    assert rank(whole.commercial) == max((rank(t.commercial) for t in parts), default=0)
    assert rank(whole.redistribute) == max((rank(t.redistribute) for t in parts), default=0)
    assert whole.share_alike == any(t.share_alike for t in parts)
    assert whole.attributions == {t.attribution for t in parts} - {None}
    assert whole.conflicts == {t.conflict for t in parts} - {None}
    assert whole.generators == {t.generator.model for t in parts if t.generator}
    assert whole.licences == {i for t in parts for i in (t.spdx, *t.underlying)}
    present = any(t.personal_data == "present" for t in parts)
    assert (whole.personal_data == "present") == present
    shuffled = list(parts)
    chance.shuffle(shuffled)
    assert join(shuffled) == whole == join([*parts, *parts])


@given(
    st.lists(licence_terms(), max_size=3), st.lists(licence_terms(), max_size=3), st.lists(licence_terms(), max_size=3)
)
def test_the_grouping_of_parts_decides_nothing(a: list[Terms], b: list[Terms], c: list[Terms]) -> None:
    assert (join(a) | join(b)) | join(c) == join(a) | (join(b) | join(c)) == join([*a, *b, *c])
    assert join(a) | Whole() == join(a)


# --- policy ----------------------------------------------------------------------------------------------------------


@given(licence_terms(), policies)
def test_no_policy_frees_a_text_from_its_own_licence(terms: Terms, policy: Policy) -> None:
    left = under(terms, policy)
    assert rank(left.commercial) >= rank(terms.commercial)
    assert left.redistribute == terms.redistribute
    limited = terms.generator is not None and terms.generator.terms != "open"
    if limited and not policy.accept_generator_terms:
        assert rank(left.commercial) >= rank("unknown")
    else:
        assert left == terms
    assert under(left, policy) == left


def test_the_policy_reaches_every_sub_source_of_what_a_recipe_chooses(tmp_path: Path) -> None:
    licence = {**OPEN, "sub_sources": {"made": {**OPEN, "generator": GPT}, "plain": OPEN}}
    parts = [{**corpus("x")["parts"][0], "sub_source": sub} for sub in ("made", "plain")]
    folder = write_manifests(tmp_path, [corpus("x", licence=licence, parts=parts)])
    corpora = read_catalog([folder], shipped=False).corpora
    for accept, use in ((False, "unknown"), (True, "allowed")):
        (got,) = chosen(Recipe(name="r", accept_generator_terms=accept), corpora)
        assert got.licence.of("made").commercial == use
        assert got.licence.of("plain").commercial == "allowed"


def test_a_corpus_held_back_by_its_generator_alone_is_not_chosen_unless_the_recipe_accepts(tmp_path: Path) -> None:
    folder = write_manifests(tmp_path, [corpus("made", licence={**OPEN, "generator": GPT}), corpus("plain")])
    corpora = read_catalog([folder], shipped=False).corpora
    want: Any = {"commercial": "allowed"}
    assert [c.name for c in chosen(Recipe(name="r", corpora=want), corpora)] == ["plain"]
    accepting = Recipe(name="r", corpora=want, accept_generator_terms=True)
    assert [c.name for c in chosen(accepting, corpora)] == ["made", "plain"]


# --- scored records --------------------------------------------------------------------------------------------------

scored_records = st.tuples(both_uses, st.lists(st.none() | both_uses, max_size=3))


@settings(max_examples=1000, deadline=None)
@given(st.lists(scored_records, min_size=1, max_size=3), licence_terms(), policies)
def test_a_scored_record_is_its_strictest_part_and_columns_say_the_same(
    records: list[tuple[Uses, list[Uses | None]]], miner: Terms, policy: Policy
) -> None:
    singly = [scored_uses(own, negatives, miner, policy) for own, negatives in records]
    for (own, negatives), got in zip(records, singly, strict=True):
        for axis in AXES:
            parts = [getattr(own, axis), *("unknown" if n is None else getattr(n, axis) for n in negatives)]
            if not policy.accept_miner_terms:
                parts.append(getattr(under(miner, policy), axis))
            assert rank(getattr(got, axis)) == max(map(rank, parts))
    columns = {f"own {a}": [getattr(own, a).value for own, _ in records] for a in AXES}
    columns |= {f"neg {a}": [[n and getattr(n, a).value for n in told] for _, told in records] for a in AXES}
    frame = pl.DataFrame(columns, schema_overrides={f"neg {a}": pl.List(pl.String) for a in AXES})
    by_column = frame.select(
        scored_use(pl.col(f"own {a}"), pl.col(f"neg {a}"), miner_use(miner, policy, a)).alias(a) for a in AXES
    )
    for axis in AXES:
        assert by_column[axis].to_list() == [getattr(one, axis).value for one in singly]


def test_a_word_that_is_no_use_class_is_refused_in_columns() -> None:
    frame = pl.DataFrame({"own": ["allowed"], "negs": [["alowed"]]})
    with pytest.raises(pl.exceptions.InvalidOperationError):
        frame.select(scored_use(pl.col("own"), pl.col("negs"), UseClass.ALLOWED))


def test_a_record_without_negatives_is_bound_by_itself_and_the_miner() -> None:
    frame = pl.DataFrame(
        {"own": ["allowed", "unknown"], "negs": [None, []]}, schema_overrides={"negs": pl.List(pl.String)}
    )
    told = frame.select(use=scored_use(pl.col("own"), pl.col("negs"), UseClass.ALLOWED))["use"]
    assert told.to_list() == ["allowed", "unknown"]


# --- what a block may claim ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", AXES)
def test_allowed_needs_a_dated_quote_of_medium_confidence_or_own_text(axis: str) -> None:
    told: dict[str, Any] = {"spdx": "MIT", "commercial": "unknown", "redistribute": "unknown", axis: "allowed"}
    for good in ({"evidence": [READ], "confidence": "medium"}, {"basis": "own", "confidence": "low"}):
        assert getattr(Terms(**told, **good), axis) is UseClass.ALLOWED
    for bad, word in (
        ({"confidence": "high"}, "evidence"),
        ({"evidence": [READ], "confidence": "low"}, "confidence"),
        ({"evidence": [{**READ, "quote": "  "}], "confidence": "high"}, "words"),
        ({"evidence": [{k: v for k, v in READ.items() if k != "read"}], "confidence": "high"}, "read"),
        ({"evidence": [{**READ, "commit": None}], "confidence": "high"}, "commit"),
        ({"evidence": [{**READ, "read": 0}], "confidence": "high"}, "no day"),
        ({"evidence": [{"read": "2026-11-23", "quote": "x"}], "confidence": "high"}, "place"),
    ):
        with pytest.raises(ValidationError, match=word):
            Terms(**told, **bad)


def vocabulary(**more: tuple[str, str, bool]) -> Vocabulary:
    """MIT, a non-commercial, an unclear and a share-alike licence."""
    told = {
        "MIT": ("allowed", "allowed", False),
        "CC-BY-NC-4.0": ("forbidden", "allowed", False),
        "CC-BY-SA-4.0": ("allowed", "allowed", True),
        "NOASSERTION": ("unknown", "unknown", False),
        **more,
    }
    return Vocabulary.model_validate(
        {
            "licences": {
                name: {"name": name, "commercial": c, "redistribute": r, "attribution": False, "share_alike": sa}
                for name, (c, r, sa) in told.items()
            }
        }
    )


def faults(**told: Any) -> list[tuple[tuple[str | int, ...], str]]:
    base = {"spdx": "MIT", "commercial": "allowed", "redistribute": "allowed", "confidence": "high", "evidence": [READ]}
    return list(licence_faults(Terms.model_validate(base | told), vocabulary()))


@pytest.mark.parametrize(
    ("told", "keys"),
    [
        ({}, []),
        ({"spdx": "MIT OR CC-BY-NC-4.0"}, []),
        ({"spdx": "MIT AND CC-BY-NC-4.0"}, [("commercial",)]),
        ({"spdx": "MIT AND CC-BY-NC-4.0", "commercial": "forbidden"}, []),
        ({"spdx": "(MIT OR NOASSERTION) AND CC-BY-NC-4.0", "commercial": "unknown"}, [("commercial",)]),
        ({"underlying": ["NOASSERTION"]}, [("commercial",), ("redistribute",)]),
        ({"underlying": ["NOASSERTION"], "commercial": "unknown", "redistribute": "forbidden"}, []),
        ({"underlying": ["MIT", "CC-BY-NC-4.0"]}, [("commercial",)]),
        ({"underlying": ["MIT", "CC-BY-NC-9"]}, [("underlying", 1)]),
        ({"spdx": "CC-BY-SA-4.0"}, [("share_alike",)]),
        ({"spdx": "CC-BY-SA-4.0", "share_alike": True}, []),
        ({"spdx": "CC-BY-SA-4.0", "conflict": "a second file says MIT"}, []),
        ({"spdx": "CC-BY-NC-4.0", "basis": "own"}, []),
    ],
)
def test_what_a_block_may_claim(told: dict[str, Any], keys: list[Any]) -> None:
    assert [key for key, _ in faults(**told)] == keys


@pytest.mark.parametrize(
    ("spdx", "words"),
    [
        ("CC-BY-SA", ["CC-BY-SA is no SPDX id", "did you mean", "CC-BY-SA-4.0"]),
        ("CC-BY-NC-ND-4.0", ["CC-BY-NC-ND-4.0 is not in manifests/licences.yaml; add it there"]),
        ("LicenseRef-mine", ["LicenseRef-mine is not in manifests/licences.yaml; add it there"]),
        ("frobnicate", ["frobnicate is no SPDX id", "LicenseRef-*"]),
        ("MIT Apache", ["not an SPDX expression"]),
        ("MIT AND", ["not an SPDX expression"]),
        ("", ["empty"]),
        ("mit", ["write it MIT"]),
    ],
)
def test_unknown_ids_are_told_with_a_way_out(spdx: str, words: list[str]) -> None:
    ((key, told),) = [one for one in faults(spdx=spdx) if one[0] == ("spdx",)]
    assert key == ("spdx",)
    for word in words:
        assert word in told


def test_a_licence_that_asks_for_a_name_gets_one() -> None:
    asking = vocabulary()
    entry = asking.licences["MIT"].model_copy(update={"attribution": True})
    asking = Vocabulary(licences={**asking.licences, "MIT": entry})
    base = {"spdx": "MIT", "commercial": "allowed", "redistribute": "unknown", "confidence": "high", "evidence": [READ]}
    assert [key for key, _ in licence_faults(Terms.model_validate(base), asking)] == [("attribution",)]
    assert not list(licence_faults(Terms.model_validate({**base, "attribution": "me"}), asking))


# --- the same at file:line:column ------------------------------------------------------------------------------------

BLOCK = """\
name: small
title: Small
domain: 百科
task: 问答
grade: 优
source: {kind: local, root: .}
parts:
  - files: {train: x.jsonl}
    layout: jsonl
    columns: {q: string, a: string}
    select: {text: q, text_pos: a}
licence:
  spdx: CC0-1.0
  commercial: allowed
  redistribute: allowed
  confidence: high
  evidence:
    - repo: a/b
      commit: "0000000000000000000000000000000000000000"
      read: 2026-11-23
      quote: "free"
"""


def told_problems(folder: Path, text: str) -> list[str]:
    """Problems of one corpus file, without the path before its name."""
    write_manifests(folder, [])
    (folder / "corpora" / "small.yaml").write_text(text, "utf-8")
    with pytest.raises(ManifestError) as caught:
        read_catalog([folder], shipped=False)
    assert "Traceback" not in str(caught.value)
    return [line.split("corpora/")[-1] for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("CC0-1.0", "CC0", "small.yaml:13:9 licence.spdx", ["CC0 is no SPDX id", "CC0-1.0"]),
        ("CC0-1.0", "GPL-3.0-only", "small.yaml:13:9 licence.spdx", ["not in manifests/licences.yaml", "add it"]),
        ("CC0-1.0", "LicenseRef-x", "small.yaml:13:9 licence.spdx", ["not in manifests/licences.yaml", "add it"]),
        ("CC0-1.0", "no", "small.yaml:13:9 licence.spdx", ["no SPDX id"]),
        ("CC0-1.0", "false", "small.yaml:13:9 licence.spdx", ["string", "False"]),
        ("commercial: allowed", "commercial: no", "small.yaml:14:15 licence.commercial", ["'allowed'", "'no'"]),
        ("redistribute: allowed", "redistribute: true", "small.yaml:15:17 licence.redistribute", ["'allowed'", "True"]),
        ("confidence: high", "confidence: low", "small.yaml:14:15 licence.commercial", ["confidence medium or high"]),
        ("2026-11-23", "0", "small.yaml:20:13 licence.evidence.0.read", ["no day", "2026-11-23"]),
        ("2026-11-23", "2026-13-40", "small.yaml:20:13 licence.evidence.0.read", ["date"]),
        ('"free"', '""', "small.yaml:21:14 licence.evidence.0.quote", ["at least 1"]),
        ('      commit: "' + "0" * 40 + '"\n', "", "small.yaml:18:7 licence.evidence.0", ["commit"]),
        ("  confidence: high\n", "  confidence: high\n  sharing: 1\n", "small.yaml:17:12 licence.sharing", ["unknown key"]),
    ],
)  # fmt: skip
def test_bad_input_is_told_at_its_place(tmp_path: Path, old: str, new: str, place: str, words: list[str]) -> None:
    assert old in BLOCK
    (told,) = told_problems(tmp_path, BLOCK.replace(old, new, 1))
    assert told.startswith(place)
    for word in words:
        assert word in told


def test_allowed_without_evidence_is_told_where_it_is_claimed(tmp_path: Path) -> None:
    (told,) = told_problems(tmp_path, BLOCK.partition("  evidence:")[0])
    assert told.startswith("small.yaml:14:15 licence.commercial")
    assert "evidence with a quote" in told


def test_sub_sources_are_held_to_the_same_rules(tmp_path: Path) -> None:
    part = "  sub_sources:\n    forum: {spdx: CC0-1.0, commercial: unknown, redistribute: allowed, confidence: high}\n"
    (told,) = told_problems(tmp_path, BLOCK + part)
    assert told.startswith("small.yaml:23:63 licence.sub_sources.forum.redistribute")
    (told,) = told_problems(tmp_path, BLOCK + part.replace("allowed", "unknown").replace("CC0-1.0", "CC0-9"))
    assert told.startswith("small.yaml:23:19 licence.sub_sources.forum.spdx")


def test_an_id_of_the_vocabulary_that_nobody_knows_is_a_fault(tmp_path: Path) -> None:
    folder = write_manifests(tmp_path, [])
    path = folder / "licences.yaml"
    path.write_text(path.read_text().replace("  CC0-1.0:", "  CC-0:"))
    with pytest.raises(ManifestError, match=r"licences.yaml:2:\d+ licences.CC-0: CC-0 is no SPDX id"):
        read_catalog([folder], shipped=False)


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        ("0" * 32, True),
        ("F" * 16 + "  # asked for", True),
        ("# only words", True),
        ("0" * 31, False),
        ("g" * 16, False),
    ],
)
def test_tombstones_are_ids_or_key_hashes(tmp_path: Path, line: str, fine: bool) -> None:
    folder = write_manifests(tmp_path, [])
    (folder / "tombstones.txt").write_text(f"# head\n\n{line}\n")
    if fine:
        assert read_catalog([folder], shipped=False).tombstones <= {"0" * 32, "f" * 16}
        return
    with pytest.raises(ManifestError, match=r"tombstones.txt:3:1: give a record_id \(32 hex digits\)"):
        read_catalog([folder], shipped=False)


# --- age -------------------------------------------------------------------------------------------------------------


def test_evidence_is_old_from_a_year_on() -> None:
    terms = Terms.model_validate(
        {**OPEN, "evidence": [READ, {**READ, "read": "2025-11-24"}, {**READ, "read": "2025-11-23"}]}
    )
    assert list(stale_evidence(terms, date(2026, 11, 23))) == []
    assert list(stale_evidence(terms, date(2026, 11, 24))) == [(2, 366)]
    assert [n for n, _ in stale_evidence(terms, date(2027, 11, 24))] == [0, 1, 2]


def test_no_clock_in_what_a_build_is_made_of() -> None:
    """The day of a build may not decide its bytes: only the two verbs that warn people ask for it."""
    root = Path(__file__).resolve().parents[1] / "pipeline"
    asking = {p.relative_to(root).as_posix() for p in root.rglob("*.py") if "date.today" in p.read_text("utf-8")}
    assert asking == {"cli/manifests.py"}


def test_strictest_of_nothing_is_allowed_and_order_is_of_no_matter() -> None:
    assert strictest([]) is UseClass.ALLOWED
    assert [strictest(map(UseClass, (a, b))).value for a in NAMES for b in NAMES] == [
        max(a, b, key=rank) for a in NAMES for b in NAMES
    ]


def test_a_licence_keeps_its_own_terms_for_parts_it_does_not_name() -> None:
    licence = Licence.model_validate({**OPEN, "sub_sources": {"nc": CLOSED}})
    assert licence.of("nc").commercial == "forbidden"
    assert licence.of("").commercial == "allowed"
    assert json.loads(licence.model_dump_json())["sub_sources"]["nc"]["spdx"] == "CC-BY-NC-4.0"
