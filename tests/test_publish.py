"""Pushes against the Hub's double: what arrives, what may not leave, whole or not at all whatever happens."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.command import python
from tests.hub_double import Blob
from tests.hub_uploads import UploadDouble
from tests.publishing import TOKEN, Publisher, built, manifests_of, rewritten, scored_build

REPO = "alice/small"
#: Views of a build with scores, per corpus and over all.
TAILS = ("", "-triplet", "-scored", "-full")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("publish")
    manifests_of(folder / "manifests")
    built(folder / "manifests", folder / "out", folder / "store")
    scored_build(folder / "out/small", folder / "scored")
    rewritten(folder / "out/small", folder / "other", lambda frame: frame.with_columns(quality_score=pl.lit(1.0)))
    return folder


@pytest.fixture(scope="module")
def double() -> Iterator[UploadDouble]:
    with UploadDouble() as hub:
        yield hub


@pytest.fixture(scope="module")
def publisher(base: Path, double: UploadDouble) -> Iterator[Publisher]:
    made = Publisher(double, base)
    yield made
    made.close()
    assert TOKEN not in made.folder.joinpath("stderr").read_text()


@pytest.fixture
def hub(double: UploadDouble, publisher: Publisher) -> UploadDouble:
    double.reset()
    double.tokens[TOKEN] = "alice"
    return double


def held(hub: UploadDouble, repo: str = REPO, ref: str = "main") -> dict[str, str]:
    """sha256 by path at a ref, without what the Hub itself puts there."""
    tree = hub.head(repo, ref).tree
    return {path: blob.sha256 for path, blob in tree.items() if path != ".gitattributes"}


def listed(hub: UploadDouble, repo: str = REPO, ref: str = "main") -> dict[str, str]:
    """The files that the release at a ref says it has, itself included."""
    told = hub.head(repo, ref).tree["release.json"]
    files = json.loads(told.content)["files"]
    return {path: one["sha256"] for path, one in files.items()} | {"release.json": told.sha256}


def rows_of(build: Path, corpus: str) -> pl.DataFrame:
    return pl.read_parquet(build / "data" / corpus / "*.parquet")


def changes(hub: UploadDouble) -> list[str]:
    return [f"{r.method} {r.path}" for r in hub.requests if r.method not in ("GET", "HEAD")]


LOAD = """
import json, sys
from datasets import load_dataset
repo, cache, *names = sys.argv[1:]
told = {}
for name in names:
    loaded = load_dataset(repo, *([name] if name != "-" else []), split="train", cache_dir=cache)
    told[name] = loaded.to_list()
sys.stdout.write(json.dumps(told))
"""


def loaded(hub: UploadDouble, repo: str, tmp_path: Path, *names: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by view, as a process with an empty cache gets them from the Hub."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN, "NO_PROXY": "*"}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = python(LOAD, repo, tmp_path / "cache", *names, env=env)
    assert done.returncode == 0, done.stderr
    told: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return told


def test_every_view_holds_the_rows_that_may_be_passed_on(
    hub: UploadDouble, publisher: Publisher, base: Path, tmp_path: Path
) -> None:
    build = base / "out/small"
    done = publisher.push(REPO, build)
    assert done["pushed"]["state"] == "published", done
    assert hub.repositories[REPO].is_private
    names = ["free", "bound", "parts"]
    told = loaded(hub, REPO, tmp_path, "-", "all", "full", "labelled", *names, *(f"{name}-full" for name in names))
    expected = {name: rows_of(build, name).filter(redistribute="allowed").to_dicts() for name in names}
    assert 0 < len(expected["parts"]) < rows_of(build, "parts").height
    lean = {name: [{k: row[k] for k in ("text", "text_pos")} for row in rows] for name, rows in expected.items()}
    for name in names:
        assert told[name] == lean[name]
        assert told[f"{name}-full"] == expected[name]
    assert told["-"] == told["all"] == [row for name in names for row in lean[name]]
    assert told["full"] == [row for name in names for row in expected[name]]
    assert told["labelled"] == pl.read_parquet(build / "labelled/free.parquet").to_dicts()
    assert held(hub) == listed(hub)


def test_of_the_others_only_ids_and_marks_leave(hub: UploadDouble, publisher: Publisher, base: Path) -> None:
    build = base / "out/small"
    publisher.push(REPO, build)
    tree = hub.head(REPO).tree
    for corpus in ("shut", "parts"):
        rows = rows_of(build, corpus).filter(pl.col("redistribute") != "allowed")
        ids = pl.read_parquet(tree[f"ids/{corpus}.parquet"].content)
        assert ids["record_id"].to_list() == rows["record_id"].to_list()
        assert ids.drop("flags").equals(rows.select(ids.drop("flags").columns))
        assert not {"text", "text_pos", "text_neg"} & set(ids.columns)
        secret = {text.encode() for text in (*rows["text"], *rows["text_pos"])}
        for path, blob in tree.items():
            content = blob.content
            if path.endswith(".parquet"):
                content = pl.read_parquet(content).write_json().encode()
            assert not any(text in content for text in secret), path
    assert "labelled/free.parquet" in tree and "labelled/shut.parquet" not in tree
    assert (
        "bound" in (told := json.loads(tree["release.json"].content))["binding"]
        and told["licence_class"] == "mixed-commercial-forbidden"
    )
    card = tree["README.md"].content.decode()
    assert f"parts {rows_of(build, 'parts').filter(pl.col('redistribute') != 'allowed').height}" in card
    assert "m3e build small" in card and "licence-class:mixed-commercial-forbidden" in card


TRAIN = """
import sys
import torch
from datasets import load_dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers import losses, models
from transformers import BertConfig, BertModel, BertTokenizerFast
from pathlib import Path
repo, folder, words = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
folder.mkdir()
vocabulary = folder / "vocab.txt"
vocabulary.write_text("\\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), "utf-8")
tokenizer = BertTokenizerFast(str(vocabulary))
size = len(vocabulary.read_text("utf-8").split("\\n"))
config = BertConfig(vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
BertModel(config).save_pretrained(folder)
tokenizer.save_pretrained(folder)
word = models.Transformer(str(folder), max_seq_length=32)
model = SentenceTransformer(modules=[word, models.Pooling(16)], device="cpu")
LOSSES = {
    "all": losses.MultipleNegativesRankingLoss,
    "all-triplet": losses.MultipleNegativesRankingLoss,
    "all-scored": losses.MarginMSELoss,
}
told = {"max_steps": 1, "per_device_train_batch_size": 4, "report_to": [], "save_strategy": "no", "use_cpu": True}
for view, loss in LOSSES.items():
    rows = load_dataset(repo, view, split="train", cache_dir=str(folder / "cache"))
    arguments = SentenceTransformerTrainingArguments(str(folder / view), disable_tqdm=True, **told)
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=rows, loss=loss(model))
    done = trainer.train()
    assert done.global_step == 1 and done.training_loss == done.training_loss, view
    print(view, rows.num_rows, ",".join(rows.column_names), flush=True)
"""


def test_a_build_with_scores_has_views_that_a_trainer_eats(
    hub: UploadDouble, publisher: Publisher, base: Path, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate", reason="the trainer needs it (extra: train)")
    build = base / "scored"
    assert publisher.push(REPO, build)["pushed"]["state"] == "published"
    names = ["free", "bound", "parts"]
    told = loaded(
        hub, REPO, tmp_path, *(f"{name}{tail}" for name in ("all", "parts") for tail in TAILS[:3]), "full", "parts-full"
    )
    rows = {name: rows_of(build, name).filter(redistribute="allowed").to_dicts() for name in names}
    triplets = {
        name: [
            {
                "text": row["text"],
                "text_pos": row["text_pos"],
                "negative": row["neg"][0]["text"],
                "label": 0.75 - row["neg"][0]["score"],
            }
            for row in mine
            if row["neg"]
        ]
        for name, mine in rows.items()
    }
    assert told["parts-scored"] == triplets["parts"] and triplets["parts"]
    assert told["all-scored"] == [row for name in names for row in triplets[name]]
    assert told["all-triplet"] == [{k: row[k] for k in ("text", "text_pos", "negative")} for row in told["all-scored"]]
    assert [{k: v for k, v in row.items() if k not in ("negative", "label")} for row in told["parts-full"]] == rows[
        "parts"
    ]
    assert len(told["all"]) == len(told["full"]) == sum(map(len, rows.values()))
    ids = pl.read_parquet(hub.head(REPO).tree["ids/shut.parquet"].content)
    assert "text" not in str(ids.schema["neg"]) and ids["neg"].list.len().sum() > 0
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    env |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    words = "".join(sorted({c for row in told["all"] for c in row["text"] + row["text_pos"]}))
    command = [sys.executable, "-c", TRAIN, REPO, str(tmp_path / "model"), words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    views = [line.split(" ") for line in done.stdout.splitlines() if line.startswith("all")]
    assert views == [
        ["all", str(len(told["all"])), "text,text_pos"],
        ["all-triplet", str(len(told["all-triplet"])), "text,text_pos,negative"],
        ["all-scored", str(len(told["all-scored"])), "text,text_pos,negative,label"],
    ]


def test_a_second_push_commits_nothing_and_a_dry_run_only_asks(
    hub: UploadDouble, publisher: Publisher, base: Path
) -> None:
    told = publisher.push(REPO, base / "out/small", look=True)
    assert told["plan"]["add"] == len(told["told"]["files"]) + 1
    assert changes(hub) == [] and REPO not in hub.repositories
    first = publisher.push(REPO, base / "out/small", tag="v1")["pushed"]
    hub.requests.clear()
    again = publisher.push(REPO, base / "out/small", tag="v1")["pushed"]
    assert (again["state"], again["commit"]) == ("unchanged", first["commit"])
    assert [change for change in changes(hub) if "/tag/" not in change] == []
    assert len(hub.history(REPO)) == 2
    assert hub.repositories[REPO].refs["refs/tags/v1"] == first["commit"]


def test_old_files_go_in_the_same_commit_and_strangers_stay(
    hub: UploadDouble, publisher: Publisher, base: Path, tmp_path: Path
) -> None:
    publisher.push(REPO, base / "out/small")
    repository = hub.repositories[REPO]
    tree = dict(hub.head(REPO).tree)
    told = json.loads(tree["release.json"].content)
    old = "data/free/train-00001-of-00002.parquet"
    told["files"][old] = {"sha256": "0" * 64, "bytes": 3}
    tree |= {
        old: Blob(b"old", True),
        "notes.txt": Blob(b"mine", False),
        "release.json": Blob(json.dumps(told).encode(), False),
    }
    hub.write(repository, repository.refs["main"], tree, "main")
    done = publisher.push(REPO, base / "out/small")["pushed"]
    assert done["plan"]["delete"] == 1
    # The repository's own first commit, the push, the write above, and one that both adds and deletes.
    assert len(hub.history(REPO)) == 4
    assert old not in hub.head(REPO).tree and hub.head(REPO).tree["notes.txt"].content == b"mine"
    assert {p: s for p, s in held(hub).items() if p != "notes.txt"} == listed(hub)


def test_killed_at_any_moment_the_head_is_a_whole_version(hub: UploadDouble, publisher: Publisher, base: Path) -> None:
    versions = [base / "out/small", base / "other"]
    publisher.push(REPO, versions[0])
    hub.seen = 0
    publisher.push(REPO, versions[1])
    requests = hub.seen
    draw, killed, kills = random.Random(8), 0, int(os.environ.get("M3E_SOAK_KILLS", "20"))
    seen = len(hub.history(REPO))
    for turn in range(kills):
        before = held(hub)
        killed += publisher.killed(REPO, versions[turn % 2], draw.randint(1, requests), is_done=draw.random() < 0.5)
        assert held(hub) == listed(hub)
        is_new = held(hub) != before
        assert len(hub.history(REPO)) == seen + is_new
        done = publisher.push(REPO, versions[turn % 2])
        assert done["pushed"]["state"] == ("unchanged" if is_new else "published"), done
        assert held(hub) == listed(hub) != before
        seen += 1
        assert len(hub.history(REPO)) == seen
        hub.requests.clear()
    assert killed >= kills * 9 // 10
