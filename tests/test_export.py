"""Export: what the trainers' own loaders see, compared with the records read one by one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from scored_case import ask, docs, mine, scored_build
from tiny_model import tiny_model
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.errors import StoreError, UsageError
from pipeline.export import FORMATS, export
from pipeline.manifest.settings import RuleConfig, ScoreConfig
from pipeline.report.opened import Build

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("build")
    mined = mine(folder / "base", {"ask": ask(), "docs": docs()}, pooled=False)
    # The rule leaves some records of `docs` short.
    rule = RuleConfig(negatives=3, p=0.6, last=6)
    return Build(scored_build(folder, mined, rule, ScoreConfig(), pooled=False))


@pytest.fixture(scope="module")
def plain(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The build that the other was made upon, as far as an export looks at it."""
    folder = tmp_path_factory.mktemp("plain") / "case"
    for name in ("ask", "docs"):
        (folder / "data" / name).mkdir(parents=True)
        for path in (build.folder.parent / "base" / name).glob("train-*"):
            (folder / "data" / name / path.name).hardlink_to(path)
    (folder / "funnel.json").hardlink_to(build.folder / "funnel.json")
    (folder / "build.json").write_text(json.dumps({"recipe": {"name": "case"}, "files": {}}))
    return Build(folder)


def records(build: Build, corpus: str) -> Rows:
    return [row for path in build.data(corpus) for row in pq.read_table(path).to_pylist()]


def load(folder: Path) -> Rows:
    """As a trainer's data: by the datasets library, columns in its order."""
    from datasets import load_dataset

    kind = "json" if next(folder.iterdir()).suffix == ".jsonl" else "parquet"
    loaded = load_dataset(kind, data_dir=str(folder), split="train", cache_dir=str(folder.parents[2] / "cache"))
    return [dict(row) for row in loaded]


def texts(neg: Rows) -> list[str]:
    return [one["text"] for one in neg]


def shapes(folder: Path, corpus: str) -> list[str]:
    return sorted(path.name for path in (folder / corpus).iterdir())


@pytest.mark.parametrize("corpus", ["ask", "docs"])
def test_pairs_and_triplets(build: Build, tmp_path: Path, corpus: str) -> None:
    rows = records(build, corpus)
    pairs = load(export(build, "st-pair", tmp_path).folder / corpus / "pairs")
    assert [list(row.items()) for row in pairs] == [[("anchor", r["text"]), ("positive", r["text_pos"])] for r in rows]
    made = export(build, "st-triplet", tmp_path)
    triplets = load(made.folder / corpus / "triplets")
    expected = [(r["text"], r["text_pos"], text) for r in rows for text in texts(r["neg"])]
    assert [tuple(row.values()) for row in triplets] == expected
    assert list(triplets[0]) == ["anchor", "positive", "negative"]
    assert made.told["corpora"][corpus]["left_out"]["without_negative"] == sum(not r["neg"] for r in rows)


def test_ntuples_have_one_width_per_folder(build: Build, tmp_path: Path) -> None:
    folder = export(build, "st-ntuple", tmp_path).folder
    widths = {len(r["neg"]) for r in records(build, "docs")}
    assert len(widths) > 1 and shapes(folder, "docs") == sorted(f"negatives-{n}" for n in widths)
    for n in widths:
        rows = load(folder / "docs" / f"negatives-{n}")
        assert list(rows[0]) == ["anchor", "positive", *(f"negative_{i + 1}" for i in range(n))]
        expected = [[r["text"], r["text_pos"], *texts(r["neg"])] for r in records(build, "docs") if len(r["neg"]) == n]
        assert [list(row.values()) for row in rows] == expected


def test_scored_rows_are_pairs_and_negatives_and_what_people_judged(build: Build, tmp_path: Path) -> None:
    folder = export(build, "st-scored", tmp_path).folder
    assert shapes(folder, "ask") == ["labelled", "scored"] and shapes(folder, "docs") == ["scored"]
    rows = load(folder / "ask" / "scored")
    assert list(rows[0]) == ["sentence1", "sentence2", "score"]
    expected = []
    for r in records(build, "ask"):
        expected.append((r["text"], r["text_pos"], r["calibrated_pos"]))
        expected += [(r["text"], n["text"], n["calibrated"]) for n in r["neg"]]
    assert [tuple(row.values()) for row in rows] == expected
    judged = pq.read_table(build.folder / "labelled" / "ask.parquet").to_pylist()
    gold = [(r["text"], r["other"], r["score"] / 5 if r["score"] is not None else float(r["label"])) for r in judged]
    assert [(*list(row.values())[:2], pytest.approx(row["score"])) for row in load(folder / "ask" / "labelled")] == gold


def test_without_calibration_scores_are_cosines(tmp_path: Path) -> None:
    mined = mine(tmp_path / "base", {"docs": docs()}, pooled=False)
    build = Build(scored_build(tmp_path, mined, RuleConfig(negatives=2), ScoreConfig(calibrate=False), pooled=False))
    rows = load(export(build, "st-scored").folder / "docs" / "scored")
    expected = [s for r in records(build, "docs") for s in (r["score_pos"], *(n["score"] for n in r["neg"]))]
    assert [row["score"] for row in rows] == expected


def record_type(columns: set[str]) -> str:
    """How uniem tells its records apart: by column names, the scored kind first."""
    if {"sentence1", "sentence2", "label"} <= columns:
        return "scored"
    if {"text", "text_pos", "text_neg"} <= columns:
        return "triplet"
    if {"text", "text_pos"} <= columns:
        return "pair"
    raise AssertionError(f"uniem knows no record of {sorted(columns)}")


def test_uniem_infers_each_folder_as_what_it_is(build: Build, plain: Build, tmp_path: Path) -> None:
    folder = export(build, "uniem", tmp_path).folder
    for shape in ("pair", "triplet", "scored"):
        rows = load(folder / "docs" / shape)
        assert record_type(set(rows[0])) == shape
        assert not {"text", "sentence1"} <= set(rows[0])
    rows = records(build, "docs")
    assert [tuple(r.values()) for r in load(folder / "docs" / "pair")] == [(r["text"], r["text_pos"]) for r in rows]
    labels = [row["label"] for row in load(folder / "docs" / "scored")]
    assert labels == [s for r in rows for s in (r["calibrated_pos"], *(n["calibrated"] for n in r["neg"]))]
    shipped = load(export(plain, "uniem", tmp_path).folder / "docs" / "triplet")
    expected = [(r["text"], r["text_pos"], text) for r in records(plain, "docs") for text in r["text_neg"]]
    assert [tuple(r.values()) for r in shipped] == expected
    assert shapes(tmp_path / "case.uniem", "ask") == ["pair"]


def test_flag_lines_have_the_keys_its_loader_reads(build: Build, plain: Build, tmp_path: Path) -> None:
    folder = export(build, "flag", tmp_path).folder
    rows = records(build, "docs")
    with_neg = [r for r in rows if r["neg"]]
    lines = load(folder / "docs" / "lines")
    for line, r in zip(lines, with_neg, strict=True):
        assert list(line) == ["query", "pos", "neg", "pos_scores", "neg_scores", "prompt"]
        assert (line["query"], line["pos"], line["neg"]) == (r["text"], [r["text_pos"]], texts(r["neg"]))
        assert line["pos_scores"] == [pytest.approx(r["calibrated_pos"])]
        assert line["neg_scores"] == pytest.approx([n["calibrated"] for n in r["neg"]])
        assert line["prompt"] == r["prompt"]
    bare = [r["text"] for r in rows if not r["neg"]]
    assert bare and [line["query"] for line in load(folder / "docs" / "lines-without-negatives")] == bare
    unscored = load(export(plain, "flag", tmp_path).folder / "docs" / "lines")
    assert list(unscored[0]) == ["query", "pos", "neg", "prompt"]


def test_commercial_leaves_nothing_else(build: Build, tmp_path: Path) -> None:
    made = export(build, "st-scored", tmp_path, commercial=True, corpora=["ask"])
    assert made.folder.name == "case-with-score.commercial.only-ask.st-scored"
    free = {(r["text"], r["text_pos"]) for r in records(build, "ask") if r["commercial"] == "allowed"}
    rows = records(build, "ask")
    assert (
        made.told["corpora"]["ask"]["left_out"]["not_commercial"] == sum(r["commercial"] != "allowed" for r in rows) > 0
    )
    told = load(made.folder / "ask" / "scored")
    assert len(told) == sum(1 + len(r["neg"]) for r in rows if r["commercial"] == "allowed")
    assert {r["sentence1"] for r in told} <= {text for text, _ in free}
    judged = pq.read_table(build.folder / "labelled" / "ask.parquet").to_pylist()
    assert len(load(made.folder / "ask" / "labelled")) == sum(r["commercial"] == "allowed" for r in judged)


def digests(folder: Path) -> dict[str, str]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("to", FORMATS)
def test_the_bytes_are_the_same_and_counted(
    build: Build, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (export(build, to, tmp_path / name) for name in ("one", "two"))
    assert digests(one.folder) == digests(two.folder)
    again = export(build, to, tmp_path / "one")
    assert digests(again.folder) == digests(two.folder)
    told = json.loads((one.folder / "export.json").read_bytes())
    for corpus, of in told["corpora"].items():
        assert of["records"] == len(records(build, corpus))
        for shape, rows in of["rows"].items():
            assert sorted(p.name for p in (one.folder / corpus / shape).iterdir()) == rows["files"]
            assert len(load(one.folder / corpus / shape)) == rows["rows"]
    # Small groups and files hold the same rows in the same order.
    monkeypatch.setattr("pipeline.export.stage.BATCH_ROWS", 7)
    monkeypatch.setattr("pipeline.export.parts.GROUP_ROWS", 20)
    monkeypatch.setattr("pipeline.export.parts.SHARD_ROWS", 50)
    cut = export(build, to, tmp_path / "cut")
    shape = max(told["corpora"]["ask"]["rows"], key=lambda name: told["corpora"]["ask"]["rows"][name]["rows"])
    assert len(cut.told["corpora"]["ask"]["rows"][shape]["files"]) > 1
    assert load(cut.folder / "ask" / shape) == load(one.folder / "ask" / shape)


def test_prompts_are_told_as_settings(build: Build, tmp_path: Path) -> None:
    told = export(build, "st-pair", tmp_path).told["corpora"]
    assert told["ask"]["prompts"] == {"text": ["相似"], "text_pos": [""]}


def test_what_cannot_be_exported_is_told(build: Build, plain: Build, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs scores, and this build has none"):
        export(plain, "st-scored", tmp_path)
    with pytest.raises(UsageError, match="no such format"):
        export(plain, "csv", tmp_path)
    with pytest.raises(UsageError, match="corpus no is not part"):
        export(build, "st-pair", tmp_path, corpora=["no"])
    taken = tmp_path / "case.st-pair"
    taken.mkdir()
    with pytest.raises(StoreError, match="no export"):
        export(plain, "st-pair", tmp_path)
    assert list(tmp_path.iterdir()) == [taken]


def test_the_command_tells_rows_and_folder(plain: Build, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["export", str(plain.folder), "--to", "st-triplet", "--out", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    shipped = sum(bool(r["text_neg"]) for r in records(plain, "docs"))
    assert f"docs: 91 records, {shipped} rows in triplets; left out: {91 - shipped} without negative" in ran.output
    assert str(tmp_path / "case.st-triplet") in ran.output.replace("\n", "")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("to", "shape"),
    [("st-pair", "pairs"), ("st-triplet", "triplets"), ("st-ntuple", "negatives-2"), ("st-scored", "scored")],
)
def test_sentence_transformers_trains_on_it(
    build: Build, tmp_path: Path, to: str, shape: str, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of its own trainer: the columns are what the loss takes."""
    from datasets import load_dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses

    folder = export(build, to, tmp_path).folder / "docs" / shape
    model = SentenceTransformer(str(model_folder), device="cpu")
    loss = losses.CoSENTLoss(model) if to == "st-scored" else losses.MultipleNegativesRankingLoss(model)
    before = {name: value.clone() for name, value in model.named_parameters()}
    args = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=1,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    rows = load_dataset("parquet", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    SentenceTransformerTrainer(model=model, args=args, train_dataset=rows, loss=loss).train()
    assert any(not value.equal(before[name]) for name, value in model.named_parameters())


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [text for r in docs()[0] for text in (r["text"], r["text_pos"])]
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny", words)
