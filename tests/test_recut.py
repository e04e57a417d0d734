"""Re-cutting: a finished build with scores, another rule, nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
from scored_case import ask, docs, mine, scored_build
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import StoreError, UsageError
from pipeline.manifest.settings import RuleConfig, ScoreConfig
from pipeline.recut import changed_rule, recut
from pipeline.report.negatives import negatives_view, showcase
from pipeline.report.opened import Build, open_build
from tests.command import python

RULE = RuleConfig(negatives=4, p=0.8)


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "pooled"])
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    mined = mine(folder / "base", {"ask": ask(), "docs": docs()}, pooled=request.param)
    return scored_build(folder, mined, RULE, ScoreConfig(), pooled=request.param)


def digests(folder: Path, under: str = "") -> dict[str, str]:
    files = (p for p in sorted((folder / under).rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_same_rule_gives_the_same_bytes(build: Path, tmp_path: Path) -> None:
    cut = recut(open_build(build), ["p=0.8"], tmp_path)
    assert cut.folder.name == "case-with-score.p-0.8"
    assert digests(cut.folder, "data") == digests(build, "data")
    assert digests(cut.folder, "candidates") == digests(build, "candidates")
    old, new = (json.loads((folder / "build.json").read_bytes()) for folder in (build, cut.folder))
    assert {**new, "recipe": None} == {**old, "recipe": None}
    assert new["recipe"]["rule"] == old["recipe"]["rule"]
    assert not recut(open_build(build), ["p=0.8"], tmp_path).changed


def test_another_rule_gives_what_a_build_by_it_gives(build: Path, tmp_path: Path) -> None:
    """The re-cut reads terms from a build whose licence columns speak of the old negatives already."""
    cut = recut(open_build(build), ["p=0.95", "negatives=6", "sample=random", "seed=5"], tmp_path / "cut")
    pooled = len(json.loads((build / "candidates" / "ask.json").read_bytes())["pool"]) > 1
    mined = mine(tmp_path / "base", {"ask": ask(), "docs": docs()}, pooled=pooled)
    rule = RuleConfig(p=0.95, negatives=6, sample="random", seed=5)
    fresh = scored_build(tmp_path, mined, rule, ScoreConfig(), pooled=pooled)
    assert digests(cut.folder, "data") == digests(fresh, "data") != digests(build, "data")
    assert cut.after == json.loads((fresh / "build.json").read_bytes())["score"]
    again = recut(open_build(cut.folder), ["p=0.8", "negatives=4", "sample=top", "seed=0"], tmp_path / "back")
    assert digests(again.folder, "data") == digests(build, "data")


def test_the_receipt_tells_every_file(build: Path, tmp_path: Path) -> None:
    (cut,) = [recut(open_build(build), ["last=20", "first=2"], tmp_path).folder]
    receipt = json.loads((cut / "build.json").read_bytes())
    found = digests(cut)
    assert {n: f["sha256"] for n, f in receipt["files"].items()} == {
        n: d for n, d in found.items() if n not in ("build.json", "run.json")
    }
    assert receipt["recipe"]["rule"] == RULE.model_dump() | {"first": 2, "last": 20}
    kept = "candidates/ask/candidates-00000.parquet"
    assert (cut / kept).samefile(build / kept)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_papers_are_made_from_the_new_receipt(build: Path, tmp_path: Path) -> None:
    told = tmp_path / "copy"
    shutil.copytree(build, told)
    receipt = json.loads((told / "build.json").read_bytes())
    for name in ("README.md", "ATTRIBUTION.md"):
        (told / name).write_text("old")
        receipt["files"][name] = {"sha256": hashlib.sha256(b"old").hexdigest(), "bytes": 3}
    (told / "build.json").write_text(json.dumps(receipt))
    bare = recut(Build(told), ["p=0.7"]).folder
    assert not (bare / "README.md").exists() and (bare / "ATTRIBUTION.md").read_text() == "old"
    spoken = recut(
        Build(told), ["p=0.7"], tmp_path / "x", lambda r: {"README.md": str(r["recipe"]["rule"]["p"]).encode()}
    )
    assert (spoken.folder / "README.md").read_text() == "0.7"


def test_it_needs_no_torch_and_no_store(build: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.recut import recut; from pipeline.report.opened import open_build\n"
        f"recut(open_build(Path({str(build)!r})), ['p=0.9'], Path({str(tmp_path)!r}))\n"
        "assert not {'torch', 'transformers', 'sentence_transformers', 'prefect'} & set(sys.modules)"
    )
    done = python(code, cwd=tmp_path, env={"PYTHONPATH": ":".join(sys.path)})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["q=1"], "names no setting"),
        (["p"], "name=value"),
        (["p=2"], "less than or equal to 1"),
        (["negatives=x"], "valid integer"),
        (["first=9", "last=3"], "comes before"),
    ],
)
def test_a_wrong_rule_is_told(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        changed_rule(RULE, words)


def test_a_bound_is_taken_away() -> None:
    assert changed_rule(RuleConfig(last=9), ["last=none"]).last is None


def test_what_is_no_build_with_scores_is_told(build: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "build.json").write_text(json.dumps({"files": {}, "recipe": {}}))
    with pytest.raises(UsageError, match="no scores"):
        recut(Build(plain), ["p=0.9"])
    torn = tmp_path / "torn"
    shutil.copytree(build, torn)
    (torn / "candidates" / "ask" / "pool-00001.parquet").write_bytes(b"x")
    with pytest.raises(StoreError, match="another size"):
        recut(Build(torn), ["p=0.9"])
    (torn / "candidates" / "ask" / "pool-00001.parquet").unlink()
    with pytest.raises(StoreError, match="is missing"):
        recut(Build(torn), ["p=0.9"])


def test_the_command_shows_before_and_after(build: Path, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        app, ["negatives", str(build), "--rule", "p=0.95", "--rule", "negatives=2", "--out", str(tmp_path)]
    )
    assert ran.exit_code == 0, ran.output
    receipt = json.loads((build / "build.json").read_bytes())["score"]
    new = json.loads((tmp_path / "case-with-score.p-0.95+negatives-2" / "build.json").read_bytes())["score"]
    for corpus in ("ask", "docs"):
        line = next(line for line in ran.output.splitlines() if line.strip().startswith(corpus))
        assert f"{receipt[corpus]['hardness']:.3f} → {new[corpus]['hardness']:.3f}" in line
        assert f"{receipt[corpus]['fill']:.1%} → {new[corpus]['fill']:.1%}" in line


def test_the_view_shows_texts_with_their_negatives(build: Path) -> None:
    ran = CliRunner().invoke(app, ["preview", str(build), "-n", "3", "--corpus", "ask"], env={"COLUMNS": "100"})
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("positive ") == 3
    assert "mined" in ran.output and "labelled" in ran.output
    (table,) = negatives_view(open_build(build), 2, "docs")
    assert table.row_count >= 4
    with pytest.raises(UsageError, match="has no records"):
        negatives_view(open_build(build), 2, "no")


def test_the_showcase_shows_the_nearest_negatives_of_the_corpus_with_the_most_to_choose_from(build: Path) -> None:
    opened = open_build(build)
    opened.receipt["mine"] = {"docs": {"candidates": 5}, "ask": {"candidates": 9}}
    rows = pl.concat([pl.read_parquet(path) for path in opened.data("ask")]).to_dicts()
    near = {row["text"]: 0.0 for row in rows if row["neg"]}
    for row in rows:
        if row["neg"]:
            mean = sum(one["score"] for one in row["neg"]) / len(row["neg"])
            near[row["text"]] = max(near[row["text"]], mean)
    ordered = sorted(near, key=lambda text: -near[text])
    told = [str(cell) for cell in showcase(opened, 2).columns[1].cells]
    shown = [told[i] for i, kind in enumerate(showcase(opened, 2).columns[0].cells) if kind == "text"]
    assert [near[text] for text in shown] == [near[ordered[k * len(near) // 40]] for k in (1, 2)]
