"""One training run: from a build and a base model to a folder that holds the trained model and its papers."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.disk import writable
from pipeline.errors import StoreError, UsageError
from pipeline.folder import readable_json
from pipeline.manifest.settings import TrainConfig
from pipeline.receipt import versions
from pipeline.report.opened import Build
from pipeline.store import write_durably
from pipeline.train.base import Base
from pipeline.train.licence import model_terms
from pipeline.train.papers import as_json, curve_of, draw, listed, render_model_card
from pipeline.weights import EncoderIdentity, identify, model_folder

#: Hears (step, steps, loss).
Heard = Callable[[int, int, float], None]
#: Written first: what a run is of. A folder that holds one of other settings is not touched.
SETTINGS = "training/settings.json"
#: Written last: what came of it.
RECEIPT = "training/receipt.json"
#: More prompts than this are not put into the model's settings.
MOST_PROMPTS = 50
NEEDED = ("accelerate", "datasets", "sentence_transformers", "torch")


@dataclass(frozen=True)
class Trained:
    """Where a trained model lies and what its receipt says; `resumed` is the step it went on from."""

    folder: Path
    receipt: dict[str, Any]
    changed: bool
    resumed: int | None = None


def train(build: Build, base: Base, out: Path, config: TrainConfig, listen: Heard = lambda *_: None) -> Trained:
    """Train a model on a build and write it to `out`, which `SentenceTransformer(out)` then loads.

    The batches are those of `pipeline.mix`: one corpus and one length bucket each, never two records of one group. Run
    again after a kill, it goes on from the last whole checkpoint and gives the losses it would have given; run again
    when it is done, it does nothing.

    Files: the model, `README.md` (its card), `checkpoint-*`, and in `training/` `settings.json`, `loss.json`, `loss.svg`
    and `receipt.json`, which is written last.

    Raises UsageError where the build has no scores for the recipe, the extra `train` is missing, or `out` holds a run of
    other settings; SourceError or NetworkError where the base model cannot be had; StoreError where `out` holds something
    else; BuildError where the build has no record.

    Source of the defaults: uniem's scripts/train_m3e.py and FineTuner.
    """
    _check(build, config)
    identity = identify(base.manifest, base.home)
    asked = _asked(build, identity, config)
    _check_folder(out, asked)
    if (out / RECEIPT).is_file():
        return Trained(out, json.loads((out / RECEIPT).read_bytes()), changed=False)
    return _trained(build, base, identity, out, config, asked, listen)


def _trained(
    build: Build,
    base: Base,
    identity: EncoderIdentity,
    out: Path,
    config: TrainConfig,
    asked: dict[str, Any],
    listen: Heard,
) -> Trained:
    import torch
    from accelerate import PartialState

    from pipeline.train import trainer as made
    from pipeline.train.feed import Feed, steps_of

    model = made.load_model(model_folder(base.manifest, base.home), base.told, config)
    state = PartialState(cpu=not torch.cuda.is_available())
    rank, world = state.process_index, state.num_processes
    steps = config.steps or steps_of(build, config, world)
    prompts = _prompts(build) if config.prompts == "record" else []
    if prompts:
        model.prompts |= listed([f"{prompt}\n" for prompt in prompts])
    told = made.arguments(out, model, config, steps)
    with writable(out, "training"):
        if state.is_main_process:
            (out / SETTINGS).parent.mkdir(parents=True, exist_ok=True)
            write_durably(out / SETTINGS, readable_json(asked))
        trainer = made.Trainer(
            lambda collate: Feed(build, config, collate, (rank, world)),
            listen,
            model=model,
            args=told,
            loss=made.loss_of(model, config, world),
        )
        checkpoint = made.checkpoint_of(out)
        trainer.run(checkpoint)
        resumed = made.step_of(checkpoint) if checkpoint else None
        if not state.is_main_process:
            return Trained(out, {}, changed=True, resumed=resumed)
        model.save_pretrained(str(out), create_model_card=False)
        curve = curve_of(trainer.state.log_history)
        given = trainer.feed.position["given"]
        terms = model_terms(base, build, labelled=config.recipe == "cosent")
        receipt = {
            **asked,
            "title": out.resolve().name,
            "build": {"recipe": build.receipt["recipe"]["name"], "sha256": asked["build"]},
            "model": {**_named(base), "weights": identity.weights, "revision": identity.revision},
            "steps": steps,
            "processes": world,
            "lr": told.learning_rate,
            "precision": "bf16" if told.bf16 else "float32",
            "tokens": model.max_seq_length,
            "dimension": model.get_embedding_dimension(),
            "loss": type(trainer.loss).__name__,
            "curve": {"first": curve[0]["loss"], "last": curve[-1]["loss"], "points": len(curve)},
            "data": [
                {"corpus": f.corpus, "records": f.kept, "given": given.get(f.corpus, 0)}
                for f in build.funnels
                if f.kept
            ],
            "licence": terms.told(),
            "training_datasets": build.receipt.get("training_datasets", {}),
            "prompts": listed([f"{prompt}\n" for prompt in prompts]),
            "versions": {**versions(), **_libraries()},
        }
        write_durably(out / "training/loss.json", as_json(curve))
        write_durably(out / "training/loss.svg", draw(curve))
        write_durably(out / "README.md", render_model_card(receipt).encode())
        write_durably(out / RECEIPT, readable_json(receipt))
    return Trained(out, receipt, changed=True, resumed=resumed)


def _check(build: Build, config: TrainConfig) -> None:
    if config.recipe != "contrastive" and "score" not in build.receipt:
        cause = f"the recipe {config.recipe} needs scores and mined negatives, and this build has none"
        cure = "give a build of a recipe with a base, such as m3e-hq-with-score, or take --recipe contrastive"
        raise UsageError(str(build.folder), cause, cure)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        cause = f"{', '.join(missing)} is not installed"
        raise UsageError("m3e train", cause, "pip install 'm3e-pipeline[train]'")


def _check_folder(out: Path, asked: dict[str, Any]) -> None:
    if out.exists() and not out.is_dir():
        raise StoreError(str(out), "it is a file", "choose another --out")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / SETTINGS).is_file():
        cause = f"it holds files but no {SETTINGS}, so it is no training of ours"
        raise StoreError(str(out), cause, "choose another --out, or empty that folder")
    before, now = _flat(json.loads((out / SETTINGS).read_bytes())), _flat(json.loads(readable_json(asked)))
    if differ := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        cause = f"it holds a training that differs in {', '.join(differ)}"
        raise UsageError(str(out), cause, "choose another --out, or give the settings of that one")


def _asked(build: Build, identity: EncoderIdentity, config: TrainConfig) -> dict[str, Any]:
    """What decides a training."""
    return {
        "build": hashlib.sha256((build.folder / "build.json").read_bytes()).hexdigest(),
        "weights": identity.weights,
        "config": config.model_dump(mode="json"),
    }


def _flat(told: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in told.items():
        name = f"{before}{key}".removeprefix("config.")
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def _prompts(build: Build) -> list[str]:
    """Prompts of the texts, when they are few enough to be named in the model's own settings."""
    import polars as pl

    paths = [path for name in build.corpora for path in build.data(name)]
    found = pl.concat([pl.scan_parquet(path).select("prompt") for path in paths]).unique().collect(engine="streaming")
    prompts = sorted(set(found["prompt"]) - {""})
    return prompts if len(prompts) <= MOST_PROMPTS else []


def _named(base: Base) -> dict[str, str]:
    """The model as a card may call it: never by a path of this machine."""
    source = base.manifest.source
    if source.kind == "hub":
        return {"kind": "hub", "name": source.model}
    return {
        "kind": source.kind,
        "name": base.manifest.name if base.has_terms else os.path.basename(base.told.rstrip("/")),
    }


def _libraries() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("accelerate", "sentence-transformers", "torch", "transformers")}
