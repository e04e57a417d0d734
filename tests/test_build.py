"""Whole builds of small corpora: gaps, resumption, identity to the byte, nothing written twice."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.build import build, count
from pipeline.context import context_of
from pipeline.errors import BuildError, StoreError
from pipeline.manifest.catalog import read_catalog
from pipeline.receipt import write_build
from pipeline.runner import Threads
from tests.small import CLOSED, corpus, write_manifests, write_rows

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = [
    "怎样给猫剪指甲",
    "长城有多长",
    "米饭怎么煮才香",
    "自行车链条掉了怎么办",
    "如何挑选西瓜",
    "月亮为什么有圆缺",
    "怎样学好书法",
    "冬天怎样养绿萝",
]
ANSWERS = [
    "趁猫睡着时轻轻按出爪尖，只剪透明的部分，不要剪到血线。",
    "明长城全长八千八百多公里，各个朝代修筑的长度并不相同。",
    "先把米泡上二十分钟，水面高出米一个指节，煮好后再焖十分钟。",
    "把链条下半部挂在后齿盘上，用手转动脚踏，链条就会回到原位。",
    "看瓜蒂是否新鲜，轻拍听声音，沉闷而有回响的多半熟透了。",
    "月亮绕地球转动，我们看到它被太阳照亮的部分时多时少。",
    "先练好基本笔画，每天临帖半小时，贵在坚持而不在贪多。",
    "放在明亮而没有直射光的地方，温度不低于十度，少浇水。",
]


def pairs(start: int = 0, end: int = 8) -> list[dict[str, Any]]:
    return [{"q": q, "a": a} for q, a in list(zip(QUESTIONS, ANSWERS, strict=True))[start:end]]


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    folder = write_manifests(tmp_path / "manifests", [corpus("one"), corpus("two", licence=CLOSED)], {"name": "small"})
    write_rows(folder, "one", pairs(0, 5))
    write_rows(folder, "two", [*pairs(3, 8), {"q": "空", "a": ""}])
    return folder


def run(
    folder: Path, tmp_path: Path, to: str = "out", store: str = "store", workers: int = 2, **told: Any
) -> tuple[Path, bool, Any]:
    catalog = read_catalog([folder], shipped=False)
    only = told.pop("only", ())
    context = context_of(catalog, catalog.recipe("small"), tmp_path / store, only, told.pop("sample", None))
    runner = Threads(workers)
    try:
        outcome = build(context, runner, **told)
    finally:
        runner.close()
    count(outcome)
    path, changed = write_build(outcome, tmp_path / to, only, [])
    return path, changed, outcome


def snapshot(*folders: Path) -> dict[str, tuple[int, int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_ino, p.stat().st_size) for f in folders for p in f.rglob("*")}


def files_of(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((path / "build.json").read_bytes())["files"]
    return told


def test_duplicates_across_corpora_keep_the_freest_copy(manifests: Path, tmp_path: Path) -> None:
    path, changed, outcome = run(manifests, tmp_path)
    assert changed
    assert {n: (f.converted, f.kept) for n, f in outcome.funnels.items()} == {"one": (5, 5), "two": (6, 3)}
    ledger = pl.read_parquet(path / "ledger" / "two.parquet")
    assert sorted(ledger["reason"]) == ["empty_side", "exact_duplicate", "exact_duplicate"]
    kept = pl.read_parquet(path / "data" / "one" / "*.parquet")
    assert set(ledger["duplicate_of"].drop_nulls()) <= set(kept["record_id"])
    assert sorted(kept["text"]) == sorted(QUESTIONS[:5])


def test_a_second_run_writes_nothing(manifests: Path, tmp_path: Path) -> None:
    run(manifests, tmp_path)
    before = snapshot(tmp_path / "out", tmp_path / "store")
    _, changed, _ = run(manifests, tmp_path)
    assert not changed
    assert snapshot(tmp_path / "out", tmp_path / "store") == before


def test_a_licence_edit_runs_only_resolve_and_assemble(manifests: Path, tmp_path: Path) -> None:
    run(manifests, tmp_path)
    write_manifests(manifests, [corpus("one", licence=CLOSED)])
    _, changed, outcome = run(manifests, tmp_path)
    assert changed
    ran = {stage for (stage, _), entry in outcome.entries.items() if not entry.cached}
    assert ran == {"resolve", "assemble"}


def test_an_edited_count_is_judged_without_converting_again(manifests: Path, tmp_path: Path) -> None:
    run(manifests, tmp_path)
    write_manifests(
        manifests,
        [
            corpus("one", expect={"rows": 5, "seen": "measured"}),
            corpus("two", licence=CLOSED, expect={"records": 9, "seen": "claimed"}),
        ],
    )
    _, _, outcome = run(manifests, tmp_path)
    assert {stage for (stage, _), entry in outcome.entries.items() if not entry.cached} == set()
    assert outcome.warnings == ["two: records: expected 9, found 6 (claimed)"]
    write_manifests(manifests, [corpus("one", expect={"rows": 6, "seen": "measured"})])
    _, _, outcome = run(manifests, tmp_path)
    assert [(g.corpus, g.stage) for g in outcome.gaps] == [("one", "convert")]
    assert "expected 6, found 5" in outcome.gaps[0].cause


def test_a_threshold_edit_rewrites_no_text(manifests: Path, tmp_path: Path) -> None:
    run(manifests, tmp_path)
    write_manifests(manifests, [], {"name": "small", "quality": {"min_chars": 3}})
    _, _, outcome = run(manifests, tmp_path)
    assert {stage for (stage, _), entry in outcome.entries.items() if not entry.cached} == {
        "quality",
        "resolve",
        "assemble",
    }


def test_another_threshold_of_dedupe_signs_nothing(
    manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(manifests, "two", [{"q": q["q"], "a": q["a"][1:]} for q in pairs()])
    _, _, first = run(manifests, tmp_path)
    monkeypatch.setattr("pipeline.dedupe.stage.key_piece", None)
    write_manifests(manifests, [], {"name": "small", "dedupe": {"threshold": 0.99}})
    _, _, second = run(manifests, tmp_path)
    assert {stage for (stage, _), entry in second.entries.items() if not entry.cached} == {"resolve", "assemble"}
    assert [outcome.funnels["two"].kept for outcome in (first, second)] == [3, 8]


def test_a_failing_corpus_leaves_a_named_gap_and_strict_fails(manifests: Path, tmp_path: Path) -> None:
    (manifests / "files" / "two.jsonl").unlink()
    path, _, outcome = run(manifests, tmp_path)
    assert [(g.corpus, g.stage) for g in outcome.gaps] == [("two", "fetch")]
    assert "two.jsonl" in outcome.gaps[0].cause and outcome.gaps[0].cure
    assert sorted(p.name for p in (path / "data").iterdir()) == ["one"]
    with pytest.raises(BuildError, match="--strict"):
        run(manifests, tmp_path, strict=True)


def test_a_model_declares_what_its_corpora_overlap_and_what_was_only_flagged(manifests: Path, tmp_path: Path) -> None:
    write_manifests(
        manifests, [corpus("one", overlaps=["BQ", "PAWSX"]), corpus("two", licence=CLOSED, overlaps=["BQ"])]
    )
    path, _, _ = run(manifests, tmp_path)
    declared = json.loads((path / "build.json").read_bytes())["training_datasets"]
    assert declared == {"BQ": ["one", "two"], "PAWSX": ["one"]}
    exam = {"name": "exam", "task": "Exam", "source": {"kind": "local", "root": "../files"}, "splits": ["test"]}
    rows = {
        "queries": [{"id": "q", "text": "怎样学好书法"}],
        "docs": [{"id": "d", "text": "先把链条挂回后轮"}],
        "judged": [{"q": "q", "d": "d"}, {"q": "q", "d": "gone"}],
    }
    for name, told in rows.items():
        write_rows(manifests, name, told)
    parts = [
        {"files": {"test": f"{name}.jsonl"}, "layout": "jsonl", "columns": dict.fromkeys(told[0], "string")}
        for name, told in rows.items()
    ]
    parts[0] |= {"texts": [{"role": "query", "id": "id", "text": "text"}]}
    parts[1] |= {"texts": [{"role": "passage", "id": "id", "text": "text"}]}
    parts[2] |= {"judges": {"query": "q", "document": "d"}}
    settings = {"name": "small", "decontaminate": {"benchmarks": ["exam"], "policy": "flag", "min_chars": 6}}
    write_manifests(manifests, [], settings, [exam | {"parts": parts}])
    path, _, outcome = run(manifests, tmp_path)
    assert outcome.warnings == ["benchmark Exam: 1 of 2 relevant judgements name a query or document that is not there"]
    evidence = {name: pl.read_parquet(path / "evidence" / f"{name}.parquet") for name in ("one", "two")}
    flagged = pl.col("flags").list.contains("contaminated:Exam")
    holders = [name for name, frame in evidence.items() if frame.filter(flagged & pl.col("kept")).height]
    assert holders
    declared = json.loads((path / "build.json").read_bytes())["training_datasets"]
    assert declared == {"BQ": ["one", "two"], "Exam": holders, "PAWSX": ["one"]}


def test_a_benchmark_that_cannot_be_read_is_a_gap_and_never_claimed(manifests: Path, tmp_path: Path) -> None:
    part = {"files": {"test": "exam.txt"}, "layout": "txt", "texts": [{"role": "query", "text": "line"}]}
    exams = [
        {
            "name": name,
            "task": name,
            "source": {"kind": "local", "root": f"../{name}"},
            "splits": ["test"],
            "parts": [part],
        }
        for name in ("held", "lost")
    ]
    (manifests / "held").mkdir()
    (manifests / "held" / "exam.txt").write_text("自行车链条掉了该怎么办呢\n怎样学好书法\n", "utf-8")
    recipe = {"name": "small", "decontaminate": {"benchmarks": ["held", "lost"], "min_chars": 6}}
    write_manifests(manifests, [], recipe, exams)
    path, _, outcome = run(manifests, tmp_path)
    assert [(g.corpus, g.stage) for g in outcome.gaps] == [("benchmark lost", "index")]
    told = json.loads((path / "build.json").read_bytes())
    assert (told["benchmarks"], told["full"]) == (["held"], False)
    assert set(pl.read_parquet(path / "ledger" / "*.parquet")["benchmark"].drop_nulls()) == {"held"}
    assert set(told["lock"]) == {"one", "two", "benchmark:held"}
    (file,) = told["lock"]["benchmark:held"]["files"]
    held = (manifests / "held" / "exam.txt").read_bytes()
    assert (file["name"], file["sha256"], file["bytes"]) == ("exam.txt", hashlib.sha256(held).hexdigest(), len(held))
    with pytest.raises(BuildError, match="benchmark lost failed in index"):
        run(manifests, tmp_path, strict=True)


def test_nothing_left_is_an_error(manifests: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (manifests / "files" / f"{name}.jsonl").write_text('{"q": "问", "answer": "答"}\n')
    with pytest.raises(BuildError) as caught:
        run(manifests, tmp_path)
    assert "column a" in str(caught.value) and "Cure" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_part_builds_stand_beside_the_full_one(manifests: Path, tmp_path: Path) -> None:
    full, _, _ = run(manifests, tmp_path)
    before = snapshot(full)
    part, _, _ = run(manifests, tmp_path, only=("one",), sample=2)
    assert (full.name, part.name) == ("small", "small.only-one.sample-2")
    assert snapshot(full) == before
    assert json.loads((part / "build.json").read_bytes())["full"] is False
    assert pl.read_parquet(part / "data" / "one" / "*.parquet")["text"].to_list() == QUESTIONS[:2]


def test_a_foreign_folder_is_not_overwritten(manifests: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "small").mkdir(parents=True)
    (tmp_path / "out" / "small" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="no build"):
        run(manifests, tmp_path)
    assert (tmp_path / "out" / "small" / "thesis.txt").read_text() == "mine"


def test_an_unknown_name_in_only_is_told(manifests: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="three"):
        run(manifests, tmp_path, only=("three",))


def kills() -> int:
    """How often the kill test kills: 5 in the suite; `make soak` asks for 100."""
    return int(os.environ.get("M3E_SOAK_KILLS", "5"))


def made(base: Path) -> int:
    """How many files and folders a build has made so far."""
    # os.walk passes over folders that are renamed away while it looks; rglob raises.
    return sum(len(folders) + len(names) for _, folders, names in os.walk(base))


def test_killed_at_any_moment_a_plain_re_run_ends_the_same(manifests: Path, tmp_path: Path) -> None:
    # What is killed is forked from a server that has everything imported.
    from tests.whole_build import finished, start_small

    run(manifests, tmp_path / "undisturbed")
    expected = (tmp_path / "undisturbed" / "out" / "small" / "build.json").read_bytes()
    steps = made(tmp_path / "undisturbed")
    chance, killed = random.Random(11), 0
    for n in range(kills()):
        # A moment is told by what is on disk by then, so that kills fall on every stage however fast the machine is.
        base, moment = tmp_path / str(n), chance.randrange(steps * 9 // 10)
        broken = start_small(manifests, base)
        while made(base) < moment and broken.is_alive():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        broken.kill()
        killed += finished(broken) == -signal.SIGKILL
        run(manifests, base)
        target = base / "out" / "small"
        assert (target / "build.json").read_bytes() == expected
        assert sorted(p.name for p in (base / "out").iterdir()) == ["small"]
        for name, told in files_of(target).items():
            assert (target / name).stat().st_size == told["bytes"]
        assert not list((base / "store").glob("*/*.tmp"))
    sys.stdout.write(f"{killed} of {kills()} builds were killed before their end; every re-run ended the same.\n")
    assert killed >= kills() // 2
