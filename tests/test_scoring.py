"""Scores upon a base, from recipe to folder: what is made, what is made again, and what cannot be made."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML
from selectolax.lexbor import LexborHTMLParser as Html

from pipeline.errors import BuildError, SourceError, UsageError
from pipeline.fetch import silent
from pipeline.make import Made, make
from pipeline.manifest.catalog import read_catalog
from pipeline.recut import papers_of, recut
from pipeline.release import release_of_build
from pipeline.report.opened import open_build
from pipeline.report.plan import plan
from pipeline.runner import Threads
from pipeline.scoring import scoring_context
from tests.browser import faults_of
from tests.command import started
from tests.hub_uploads import UploadDouble
from tests.publishing import TOKEN
from tests.test_publish import loaded
from tests.tiny_model import OPEN, letters, tiny_cross, tiny_model

ROOT = Path(__file__).resolve().parents[1]
CORPORA = ["demo-similar", "demo-passages", "demo-forum"]


class Deaf:
    """Hears nothing."""

    hear = staticmethod(silent)

    def encoded(self, corpus: str, progress: Any) -> None:
        pass


class Run:
    """Makes recipes of one folder of manifests and keeps what the steps said."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.states = folder, list[tuple[str, str, str]]()

    def make(self, recipe: str = "scored", to: str = "out", store: str = "store", **told: Any) -> Made:
        catalog = read_catalog([self.folder / "manifests"])
        self.states.clear()

        @contextmanager
        def running(_: Mapping[str, int]) -> Iterator[tuple[Threads, Deaf]]:
            runner = Threads(2, lambda *event: self.states.append(event[:3]))
            try:
                yield runner, Deaf()
            finally:
                runner.close()

        return make(catalog, catalog.recipe(recipe), self.folder / store, self.folder / to, running, **told)

    def recipe(self, name: str = "scored", **told: Any) -> None:
        write(self.folder / "manifests" / "recipes" / f"{name}.yaml", {"name": name, **told})

    def done(self) -> set[str]:
        """Stages in which work was done."""
        return {
            stage for stage, _, state in self.states if state == "done" and stage not in ("fetch", "model", "encode")
        }


def write(path: Path, told: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        YAML().dump(told, file)


def encoder(folder: Path, name: str, root: Path, **told: Any) -> None:
    licence = told.pop("licence", OPEN)
    source = {"kind": "local", "root": str(root)}
    write(
        folder / "manifests" / "encoders" / f"{name}.yaml",
        {"name": name, "title": name, "source": source, "licence": licence, **told},
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = [path for path in (ROOT / "manifests" / "demo").rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "ignore") for path in files]
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny", texts, max_tokens=128)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[Run, Made]:
    """A small demo with scores, made once; tests copy its folder where they change something."""
    folder = tmp_path_factory.mktemp("scoring")
    run = Run(folder)
    encoder(folder, "tiny", model)
    run.recipe("small", corpora=CORPORA)
    run.recipe(base="small", encoder="tiny", rule={"negatives": 3}, mine={"keep": 20, "yardstick_texts": 50})
    return run, run.make()


@pytest.fixture
def run(shared: tuple[Run, Made], tmp_path: Path) -> Run:
    """A folder of its own over the same store."""
    shutil.copytree(shared[0].folder / "manifests", tmp_path / "manifests")
    shutil.copytree(shared[0].folder / "store", tmp_path / "store")
    return Run(tmp_path)


def records(made: Made) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(p) for c in CORPORA for p in open_build(made.folder).data(c)])


def files(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file() and p.name not in ("run.json", "report.html")
    }


def test_the_report_shows_negatives_and_is_whole_in_a_browser(shared: tuple[Run, Made]) -> None:
    page = shared[1].folder / "report.html"
    shown = Html(page.read_text("utf-8"))
    kept = {(row["text"], row["text_pos"]): row for row in records(shared[1]).to_dicts()}
    samples = shown.css("#negatives .scored")
    assert len(samples) >= 3
    for sample in samples:
        words = [node.text() for node in sample.css(".words")]
        row = kept[sample.css_first(".text").text(), words[0]]
        assert words[1:] == [one["text"] for one in row["neg"]]
        told = [node.text().split(" · ")[0] for node in sample.css(".told")]
        assert told == [f"{score:.2f}" for score in (row["score_pos"], *(one["score"] for one in row["neg"]))]
    assert faults_of(page) == []


def test_what_it_cost_is_told_of_every_stage_the_bases_too(shared: tuple[Run, Made]) -> None:
    told = open_build(shared[1].folder).run["steps"]
    stages = {row["stage"] for row in told}
    assert {"convert", "assemble", "pool", "encode", "mine", "score"} < stages
    assert {row["corpus"] for row in told if row["stage"] == "encode"} == set(CORPORA)
    assert all(row["seconds"] > 0 and row["peak_bytes"] > 0 for row in told)


def test_every_record_of_the_base_comes_back_with_its_negatives(shared: tuple[Run, Made]) -> None:
    made = shared[1]
    base = open_build(made.folder.parent / "small")
    scored = records(made)
    plain = pl.concat([pl.read_parquet(p) for c in CORPORA for p in base.data(c)])
    same = [name for name in plain.columns if name not in ("commercial", "redistribute")]
    assert scored.select(same).equals(plain.select(same))
    assert scored["neg"].list.len().sum() > scored.height
    # By plain sets: no negative is the text, the positive, or any known positive of that text.
    known: dict[str, set[str]] = {}
    for row in plain.iter_rows(named=True):
        known.setdefault(row["text"], {row["text"]}).add(row["text_pos"])
    kept = set(plain["text"]) | set(plain["text_pos"])
    for row in scored.iter_rows(named=True):
        told = [negative["text"] for negative in row["neg"]]
        assert len(set(told)) == len(told) <= 3
        assert not set(told) & known[row["text"]]
        assert all(n["origin"] != "mined" or (n["text"] in kept and n["record_id"]) for n in row["neg"])


def test_scores_are_the_cosines_of_the_model_itself(shared: tuple[Run, Made], model: Path) -> None:
    from sentence_transformers import SentenceTransformer

    own = SentenceTransformer(str(model), device="cpu")
    some = records(shared[1]).filter(pl.col("neg").list.len() > 0).sample(40, seed=1)
    for row in some.iter_rows(named=True):
        texts = [row["text"], row["text_pos"], *(n["text"] for n in row["neg"])]
        vectors = own.encode(texts, normalize_embeddings=True).astype(np.float64)
        told = [row["score_pos"], *(n["score"] for n in row["neg"])]
        # Vectors are kept in half precision: three digits.
        assert np.abs(vectors[1:] @ vectors[0] - told).max() < 2e-3


def test_the_folder_holds_the_bases_evidence_the_candidates_and_a_true_receipt(shared: tuple[Run, Made]) -> None:
    folder = shared[1].folder
    receipt = json.loads((folder / "build.json").read_bytes())
    base = folder.parent / "small"
    assert receipt["base"] == {
        "recipe": "small",
        "build": hashlib.sha256((base / "build.json").read_bytes()).hexdigest(),
        "versions": json.loads((base / "build.json").read_bytes())["versions"],
    }
    assert receipt["recipe"]["dedupe"] == json.loads((base / "build.json").read_bytes())["recipe"]["dedupe"]
    assert receipt["recipe"]["rule"]["negatives"] == 3 and receipt["recipe"]["name"] == "scored"
    assert receipt["encoders"]["tiny"]["licence"]["spdx"] == "CC0-1.0"
    told = files(folder)
    assert {name: known["sha256"] for name, known in receipt["files"].items()} | {
        "build.json": told["build.json"]
    } == told
    for corpus in CORPORA:
        assert {
            f"candidates/{corpus}.json",
            f"candidates/{corpus}/pool-00000.parquet",
            f"evidence/{corpus}.parquet",
        } <= set(told)
        assert receipt["score"][corpus]["records"] == sum(
            pl.read_parquet(p).height for p in open_build(folder).data(corpus)
        )
    assert "## Hard negatives and scores" in (folder / "README.md").read_text("utf-8")


def test_again_writes_nothing_and_elsewhere_writes_the_same(shared: tuple[Run, Made], run: Run) -> None:
    first = files(shared[1].folder)
    again = run.make()
    assert again.changed and not run.done()
    assert files(again.folder) == first
    assert not run.make().changed
    fresh = run.make(store="another", to="there")
    assert files(fresh.folder) == first and {"pool", "mine", "score"} <= run.done()


def test_another_calibration_scores_anew_and_nothing_else(run: Run) -> None:
    run.recipe(
        base="small",
        encoder="tiny",
        rule={"negatives": 3},
        mine={"keep": 20, "yardstick_texts": 50},
        score={"calibrate": False},
    )
    made = run.make()
    assert run.done() == {"score"}
    assert records(made)["calibrated_pos"].null_count() == records(made).height


def test_a_cross_encoder_scores_anew_and_its_terms_bind(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.score.rated.RANDOM_PAIRS", 50)
    shut = {**OPEN, "spdx": "LicenseRef-M3E-models", "commercial": "forbidden", "redistribute": "unknown"}
    encoder(run.folder, "judge", tiny_cross(tmp_path / "judge", list(letters())), licence=shut)
    told: dict[str, Any] = {"rule": {"negatives": 3}, "mine": {"keep": 20, "yardstick_texts": 50}}
    run.recipe(base="small", encoder="tiny", score={"cross_encoder": "judge"}, **told)
    made = run.make()
    assert run.done() == {"score"}
    assert set(records(made)["commercial"]) == {"forbidden"}
    receipt = json.loads((made.folder / "build.json").read_bytes())
    assert receipt["encoders"]["judge"]["licence"]["spdx"] == "LicenseRef-M3E-models"
    assert "Cross-encoder, whose scores are calibrated: judge" in (made.folder / "README.md").read_text("utf-8")
    assert not run.make().changed


def test_cut_again_by_the_same_rule_it_is_the_same_build(shared: tuple[Run, Made], run: Run, tmp_path: Path) -> None:
    """Card included; by another rule, records as a build by that rule has them."""
    build = open_build(shared[1].folder)
    known = read_catalog([run.folder / "manifests"]).corpora
    papers = papers_of(build, [known[name] for name in build.corpora])
    same = recut(build, ["negatives=3"], tmp_path / "cuts", papers)
    assert files(same.folder) == files(build.folder)
    # Beyond the candidates that are kept a new build may look further.
    other = recut(build, ["negatives=2", "p=0.7", "last=20"], tmp_path / "cuts", papers)
    rule = {"negatives": 2, "p": 0.7, "last": 20}
    run.recipe(base="small", encoder="tiny", rule=rule, mine={"keep": 20, "yardstick_texts": 50})
    told, fresh = (
        {name: digest for name, digest in files(folder).items() if name.startswith("data/")}
        for folder in (other.folder, run.make().folder)
    )
    assert told == fresh


def test_another_rule_needs_no_encoder(run: Run, model: Path) -> None:
    run.recipe(base="small", encoder="tiny", rule={"negatives": 1, "p": 0.5}, mine={"keep": 20, "yardstick_texts": 50})
    made = run.make()
    assert run.done() == {"mine", "score"}
    assert records(made)["neg"].list.len().max() == 1


def test_the_miners_terms_reach_every_record_unless_the_recipe_says_otherwise(run: Run, model: Path) -> None:
    closed = {**OPEN, "spdx": "LicenseRef-M3E-models", "commercial": "forbidden", "redistribute": "unknown"}
    encoder(run.folder, "tiny", model, licence=closed)
    strict = records(run.make())
    assert run.done() == {"score"}
    assert set(strict["commercial"]) == {"forbidden"}
    assert set(strict["redistribute"]) <= {"unknown", "forbidden"}
    settings: dict[str, Any] = {"rule": {"negatives": 3}, "mine": {"keep": 20, "yardstick_texts": 50}}
    run.recipe(base="small", encoder="tiny", accept_miner_terms=True, **settings)
    accepting = run.make()
    assert run.done() == {"score"}
    assert {"allowed"} <= set(records(accepting)["commercial"])
    told = json.loads((accepting.folder / "build.json").read_bytes())
    assert told["recipe"]["accept_miner_terms"] is True
    assert "`accept_miner_terms: true`" in (accepting.folder / "README.md").read_text("utf-8")
    released = release_of_build(accepting.folder)
    held = sum(n for uses in released.held_back.values() for n in uses.values())
    judged = told["counts"]["labelled_kept"]
    assert (
        sum(c.records + sum(c.labelled.values()) for c in released.classes) + held == len(records(accepting)) + judged
    )


def test_a_pool_of_all_corpora_finds_negatives_in_others(run: Run) -> None:
    told = {"pool": "all", "keep": 20, "yardstick_texts": 0}
    run.recipe("wide", base="small", encoder="tiny", rule={"negatives": 3}, mine=told)
    found = records(run.make("wide")).explode("neg").drop_nulls("neg")
    assert (found["neg"].struct.field("corpus") != found["corpus"]).any()


def test_a_finished_build_can_be_given(shared: tuple[Run, Made], run: Run) -> None:
    base = shared[1].folder.parent / "small"
    made = run.make(base=base)
    assert made.outcome is None
    assert files(made.folder) == files(shared[1].folder)
    with pytest.raises(UsageError, match="cannot be changed"):
        run.make(base=base, sample=3)
    with pytest.raises(UsageError, match="has no base"):
        run.make("small", base=base)


def test_the_plan_tells_what_comes_upon_the_base(run: Run) -> None:
    catalog = read_catalog([run.folder / "manifests"])
    recipe = catalog.recipe("scored")
    told = plan(catalog, recipe, run.folder / "store", out=run.folder / "out")["upon"]
    assert told["encoder"] == "tiny" and told["missing"] == "the base is not built yet"
    run.make()
    told = plan(catalog, recipe, run.folder / "store", out=run.folder / "out")["upon"]
    assert told["missing"] is None
    assert told["stages"] == {stage: {"steps": 3, "cached": 3} for stage in ("pool", "encode", "mine", "score")}
    run.recipe(base="small", encoder="tiny", rule={"negatives": 2}, mine={"keep": 20, "yardstick_texts": 50})
    catalog = read_catalog([run.folder / "manifests"])
    stages = plan(catalog, catalog.recipe("scored"), run.folder / "store", out=run.folder / "out")["upon"]["stages"]
    assert {stage: of["cached"] for stage, of in stages.items()} == {"pool": 3, "encode": 3, "mine": 0, "score": 0}


def test_a_base_that_cannot_carry_scores_is_refused(shared: tuple[Run, Made], run: Run, tmp_path: Path) -> None:
    catalog = read_catalog([run.folder / "manifests"])
    recipe = catalog.recipe("scored")
    with pytest.raises(BuildError, match="has scores already"):
        scoring_context(catalog, recipe, open_build(shared[1].folder), tmp_path / "store")
    broken = tmp_path / "broken"
    shutil.copytree(shared[1].folder.parent / "small", broken)
    (broken / "evidence" / "demo-forum.parquet").unlink()
    with pytest.raises(BuildError, match=r"evidence/demo-forum.parquet is missing.*\n?.*m3e build small"):
        run.make(base=broken)
    receipt = json.loads((broken / "build.json").read_bytes())
    del receipt["files"]["evidence/demo-forum.parquet"]
    (broken / "build.json").write_text(json.dumps(receipt))
    with pytest.raises(BuildError, match="holds no evidence of demo-forum"):
        run.make(base=broken)


def test_a_model_that_is_not_there_is_told_in_a_sentence(run: Run, tmp_path: Path) -> None:
    encoder(run.folder, "tiny", tmp_path / "nothing")
    with pytest.raises(SourceError, match="encoder tiny: there is no folder"):
        run.make()
    assert not (run.folder / "out" / "scored").exists()


def test_consistency_takes_out_far_pairs_of_weak_corpora_only(run: Run) -> None:
    run.recipe("small", corpora=CORPORA, consistency={"encoder": "tiny", "top": 1})
    made = run.make("small")
    assert made.outcome is not None
    weak = {c.name for c in made.outcome.context.corpora if c.weak}
    removed = {f.corpus: f.removed.get("consistency", {}) for f in made.outcome.funnels.values()}
    assert weak and {name for name, told in removed.items() if told} <= weak
    kept = {f.corpus: f.kept for f in made.outcome.funnels.values()}
    run.recipe("small", corpora=CORPORA, consistency={"encoder": "tiny", "top": 5})
    wider = run.make("small")
    assert run.done() == {"resolve", "assemble"}
    assert wider.outcome is not None
    assert all(wider.outcome.funnels[name].kept >= n for name, n in kept.items())


def test_it_is_published_and_every_view_reads_back(shared: tuple[Run, Made], tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    run, made = shared
    with UploadDouble() as hub:
        hub.tokens[TOKEN] = "alice"
        words = ("publish", made.folder, "--repo", "alice/scored", "--manifests", run.folder / "manifests")
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN}
        done = started(*words, "--store", tmp_path / "store", HF_HUB_DISABLE_XET="1", **env)
        assert done.returncode == 0, done.stderr
        rows = records(made).to_dicts()
        assert {row["redistribute"] for row in rows} == {"allowed"}
        told = loaded(hub, "alice/scored", tmp_path, "all", "full", "all-triplet", "all-scored")
    by_id = {row["record_id"]: row for row in rows}
    assert sorted(row["record_id"] for row in told["full"]) == sorted(by_id)
    for row in told["full"]:
        extra = {name: row.pop(name) for name in ("negative", "label")}
        assert row == by_id[row["record_id"]]
        assert extra["negative"] == (row["neg"][0]["text"] if row["neg"] else None)
    assert len(told["all"]) == len(rows)
    assert len(told["all-triplet"]) == len(told["all-scored"]) == sum(bool(row["neg"]) for row in rows) > 0
