"""Evaluation on the Hub's double: every suite, every type of task, the same scores as mteb's own, and without the Hub."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from command import ROOT
from evaluation_data import TASKS, Texts, commit, labelled, mount, parquet, t2ranking
from hub_double import HubDouble
from tiny_model import letters, tiny_model

if importlib.util.find_spec("mteb") is None:
    pytest.skip("mteb is not installed (extra eval)", allow_module_level=True)

#: One task of every type of MTEB(cmn, v1).
TYPES = {name: told[0] for name, told in TASKS.items() if name != "CosQA"}
T2RANKING = "1e3ceeea18566e50fc79159449739315d60ac554"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hub")
    # The prompts show that each side gets its own, and texts of no side none.
    model = str(tiny_model(folder / "tiny", [letters()], layers=1, prompts={"query": "一丁", "document": "七丂丄"}))
    cmteb, zh, code = (["m3e", "evaluate", model, "--suite", name] for name in ("cmteb", "mteb-zh", "code"))
    names = ["--tasks", ",".join(TYPES)]
    words = {
        "cmteb": [*cmteb, *names, "--out", f"{folder}/cmteb"],
        "mteb": ["mteb", model, *TYPES],
        "read again": ["read", f"{folder}/cmteb/tasks/LCQMC.json"],
        "mteb-zh": [*zh, "--tasks", "JDIphone,T2Ranking-1W,GubaEastmony", "--out", f"{folder}/zh"],
        "code": [*code, "--tasks", "CosQA", "--out", f"{folder}/code"],
        "offline": ["offline"],
        "kept": [*zh, "--tasks", "JDIphone,T2Ranking-1W", "--out", f"{folder}/kept"],
        "absent": [*cmteb, "--tasks", "STSB", "--out", f"{folder}/absent"],
        "gone on": [*cmteb, *names, "--out", f"{folder}/cmteb"],
    }
    with HubDouble() as hub:
        mount(hub)
        texts = Texts(3)
        rows = {
            f"iPhone/{split}/0000.parquet": parquet(labelled(texts, "sentence")) for split in ("train", "validation")
        }
        hub.commit("kuroneko5943/jd21", rows, ref="refs/convert/parquet")
        commit(hub, "THUIR/T2Ranking", t2ranking(texts, 100), T2RANKING)
        kept = {name: told for name, told in os.environ.items() if not name.startswith(("HF_", "HUGGING", "M3E"))}
        kept |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "*", "COLUMNS": "160"}
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests/evaluate_child.py"), json.dumps(list(words.values())), folder / "told"],
            env=kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
            capture_output=True,
            text=True,
            check=False,
        )
        asked = [request.path for request in hub.requests]
    assert done.returncode == 0, done.stderr
    told = dict(zip(words, json.loads((folder / "told").read_text("utf-8")), strict=True))
    return told | {"folder": folder, "model": model, "asked": asked}


def results(runs: dict[str, Any], name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((runs["folder"] / name / "results.json").read_bytes())
    return told


def test_every_type_of_task_scores_as_mteb_scores_it(runs: dict[str, Any]) -> None:
    assert runs["cmteb"]["code"] == 0, runs["cmteb"]["err"]
    ours = {row["task"]: row for row in results(runs, "cmteb")["scores"]}
    assert {name: row["type"] for name, row in ours.items()} == TYPES
    assert {name: row["score"] for name, row in ours.items()} == pytest.approx(runs["mteb"], abs=2e-4)
    # Scores of 0 or 1 would tell nothing.
    assert sum(0.2 < row["score"] < 0.98 for row in ours.values()) >= 5
    assert {name: row["revision"] for name, row in ours.items()} == {name: TASKS[name][2] for name in TYPES}
    # mteb itself can read the results again.
    assert runs["read again"] == pytest.approx(ours["LCQMC"]["score"], abs=1e-5)


def test_the_seeds_suite_stands_beside_the_seeds_scores(runs: dict[str, Any]) -> None:
    run, told = runs["mteb-zh"], results(runs, "zh")
    assert run["code"] == 0, run["err"]
    assert [row["task"] for row in told["scores"]] == ["JDIphone", "T2Ranking-1W"]
    assert set(told["scores"][1]["details"]) == {f"{m}_at_{k}" for m in ("map", "mrr", "ndcg") for k in (1, 10)}
    assert told["published"]["JDIphone"]["accuracy"]["m3e-base"] == 0.8533
    assert "0.8533" in run["out"] and "0.8004" in run["out"] and "m3e-base" in run["out"]
    # A ref that moves is told as the commit that it was.
    assert len(told["scores"][0]["revision"]) == 40
    assert (runs["folder"] / "zh/scores.svg").read_bytes().startswith(b"<svg")


def test_what_the_hub_does_not_have_is_a_gap_and_the_others_go_on(runs: dict[str, Any]) -> None:
    (gap,) = results(runs, "zh")["gaps"]
    assert "no data set Fearao/guba_eastmoney" in gap["cause"] and "--data DIR" in gap["cure"]
    assert "gap: task GubaEastmony" in runs["mteb-zh"]["err"] and "Traceback" not in runs["mteb-zh"]["err"]
    assert "StockComSentiment" in results(runs, "zh")["missing"]


def test_code_retrieval_runs(runs: dict[str, Any]) -> None:
    assert runs["code"]["code"] == 0, runs["code"]["err"]
    (row,) = results(runs, "code")["scores"]
    assert (row["task"], row["metric"]) == ("CosQA", "ndcg_at_10") and 0.2 < row["score"] < 0.98


def test_without_the_hub_what_was_read_before_is_read_again(runs: dict[str, Any]) -> None:
    assert runs["kept"]["code"] == 0, runs["kept"]["err"]
    before, after = (results(runs, name)["scores"] for name in ("zh", "kept"))
    assert before == after
    # And of the passages only as much was ever sent as the task takes, once.
    assert sum("collection.tsv" in path and "/resolve/" in path for path in runs["asked"]) <= 3


def test_without_the_hub_and_the_data_the_error_is_a_sentence(runs: dict[str, Any]) -> None:
    run = runs["absent"]
    assert run["code"] == 1
    assert "task STSB: mteb/STSB is not on this machine" in run["err"] and "Cure: " in run["err"]
    assert "--data DIR" in run["err"] and "Traceback" not in run["err"]


def test_an_evaluation_that_is_done_does_nothing(runs: dict[str, Any]) -> None:
    run = runs["gone on"]
    assert run["code"] == 0 and "Nothing changed" in run["out"], run["err"]
    assert "1 of" not in run["err"]
