"""A release of a trained model: its folder, without what only training needs and without anything that can run code."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.errors import PublishError
from pipeline.publish.plan import Item, Release

#: Formats that a reader would unpickle, and so run.
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
#: States of a trainer that no user of the model needs.
TRAINING = (
    "checkpoint-",
    "runs",
    "optimizer.",
    "scheduler.",
    "rng_state",
    "trainer_state.",
    "training_args.",
    "global_step",
)


def model_release(folder: Path) -> Release:
    """The release of a model folder: config, weights as safetensors, and a card with a licence.

    Raises PublishError, naming the files, where one of them is missing or weights are pickled.
    """
    files: dict[str, Item] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        steps = path.relative_to(folder).parts
        if any(step.startswith((".", *TRAINING)) for step in steps):
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        files["/".join(steps)] = Item(path, path.stat().st_size, digest)
    pickled = [name for name in files if Path(name).suffix in PICKLES]
    if pickled:
        cause = f"{', '.join(pickled)}: such files run code when they are read"
        raise PublishError(str(folder), cause, "save the model as safetensors")
    if "config.json" not in files or not any(name.endswith(".safetensors") for name in files):
        cause = "it holds no model (config.json and weights as safetensors)"
        raise PublishError(str(folder), cause, "give the folder that training wrote")
    licence = _licence(folder / "README.md")
    if licence is None:
        cause = "its card (README.md) names no licence"
        raise PublishError(str(folder), cause, "add one: data and base model decide what it may be")
    return Release.of("model", folder.name, files, {"licence_class": licence, "edition": "all"})


def _licence(card: Path) -> str | None:
    if not card.is_file():
        return None
    from huggingface_hub import ModelCard

    told = ModelCard(card.read_text("utf-8"), ignore_metadata_errors=True).data.get("license")
    return told if isinstance(told, str) and told else None
