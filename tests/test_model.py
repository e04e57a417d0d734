"""Models of sentence-transformers on our batches, against its own `encode`; small, of random weights, built here."""

from __future__ import annotations

import json
import random
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_model import letters, manifest, tiny_model

from pipeline.encode import Encoded, Vectors, encode, identify, open_encoder
from pipeline.encoding import vectors_key
from pipeline.errors import CurationError, FormatError, SourceError
from pipeline.record import POOL_SCHEMA
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.encode.model import ModelEncoder

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed (extra: mine)"
)


def texts(count: int, longest: int = 90, seed: int = 0) -> list[str]:
    """Made-up texts of mixed length, with blanks at the ends and characters outside the vocabulary."""
    drawn = random.Random(seed)
    made = ["".join(drawn.choices(letters() + " ，龘", k=drawn.randint(1, longest))) for _ in range(count)]
    return [*made, " a b  c ", "龘", made[0]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders by name, each with another end."""
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    # The models are so small that threads only wait for one another.
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("models")
    tiny_model(home / "mean", letters())
    tiny_model(home / "cls", letters(), pooling="cls")
    tiny_model(home / "both", letters(), pooling=("max", "mean_sqrt_len_tokens"))
    torch.manual_seed(1)
    tiny_model(home / "dense", letters(), pooling="lasttoken", more=[Dense(32, 12), Normalize()])
    tiny_model(home / "prompted", letters(), prompts={"query": "1 a", "document": "2 b"})
    tiny_model(home / "excluding", letters(), prompts={"query": "1 a", "document": "2 b"})
    pooling = home / "excluding/1_Pooling/config.json"
    pooling.write_text(json.dumps(json.loads(pooling.read_text("utf-8")) | {"include_prompt": False}), "utf-8")
    assert not Pooling.load(str(pooling.parent)).include_prompt
    _static(home / "static", home / "mean/tokenizer.json")
    return home


def _static(folder: Path, tokenizer: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    torch.manual_seed(2)
    module = StaticEmbedding(Tokenizer.from_file(str(tokenizer)), embedding_dim=16)
    model = SentenceTransformer(modules=[module], device="cpu")
    model.save(str(folder), create_model_card=False)


def opened(folder: Path, **changes: Any) -> ModelEncoder:
    from pipeline.encode.model import ModelEncoder

    encoder = open_encoder(manifest(folder, **changes), folder.parent, device="cpu")
    assert isinstance(encoder, ModelEncoder)
    return encoder


def theirs(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


NAMES = ["mean", "cls", "both", "dense", "prompted", "excluding", "static"]


@pytest.mark.parametrize("name", NAMES)
def test_equal_to_sentence_transformers(models: Path, name: str) -> None:
    given, own = texts(150), theirs(models / name)
    encoder = opened(models / name)
    assert encoder.dimension == own.get_embedding_dimension()
    if name != "static":
        assert identify(manifest(models / name), models).dimension == encoder.dimension
    # Only models that want more than ids are prepared by sentence-transformers itself.
    assert (encoder._tokenizer is None) == (name in ("excluding", "static"))
    for document, encode_side in ((False, own.encode_query), (True, own.encode_document)):
        want = encode_side(given, normalize_embeddings=True, show_progress_bar=False)
        found = encoder.encode(given, document)
        assert found.dtype == np.float32 and found.shape == want.shape
        assert np.abs(found - want).max() < 2e-6
        # Within half a unit in the last place of float16.
        assert np.abs(found.astype(np.float16).astype(np.float32) - want).max() <= 2.0**-12 + 2e-6
    sides = [encoder.encode(given, document) for document in (False, True)]
    assert (sides[0] == sides[1]).all() == (name not in ("prompted", "excluding"))


def test_prompts_of_the_manifest_outrank_those_of_the_model(models: Path) -> None:
    given = texts(20)
    encoder = opened(models / "prompted", prompts={"text": "文1", "text_pos": ""})
    own = theirs(models / "prompted")
    for document, prompt in ((False, "文1"), (True, "")):
        want = own.encode(given, prompt=prompt, normalize_embeddings=True, show_progress_bar=False)
        assert np.abs(encoder.encode(given, document) - want).max() < 2e-6


@pytest.mark.parametrize("most", [None, 20])
def test_long_texts_are_cut_as_sentence_transformers_does_and_counted(models: Path, most: int | None) -> None:
    given = texts(150)
    own = theirs(models / "mean")
    if most is not None:
        own.max_seq_length = most
    heard: list[Encoded] = []
    made = opened(models / "mean", max_tokens=most).encode(given, False, heard.append)
    assert np.abs(made - own.encode(given, normalize_embeddings=True, show_progress_bar=False)).max() < 2e-6
    lengths = [len(own.tokenizer(text)["input_ids"]) for text in given]
    limit = most or 64
    assert sum(step.cut for step in heard) == sum(length > limit for length in lengths) > 0
    assert sum(step.tokens for step in heard) == sum(min(length, limit) for length in lengths)
    assert sum(step.texts for step in heard) == len(given)


def test_more_tokens_than_the_model_has_places_are_refused(models: Path) -> None:
    with pytest.raises(SourceError, match="max_tokens is 65, but the model has 64 places"):
        opened(models / "mean", max_tokens=65)


def test_out_of_memory_halves_the_budget_and_goes_on(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU has memory enough, so the model says that a batch of over 300 padded tokens does not fit."""
    encoder, given = opened(models / "mean", name="halving"), texts(150)
    want, forward, widths = encoder.encode(given, False), encoder._forward, []

    def narrow(features: dict[str, Any]) -> Any:
        widths.append(features["input_ids"].numel())
        if widths[-1] > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(features)

    monkeypatch.setattr(encoder, "_forward", narrow)
    before, heard = encoder.budget, list[Encoded]()
    found = encoder.encode(given, False, heard.append)
    assert np.abs(found - want).max() < 2e-6 and sum(step.texts for step in heard) == len(given)
    assert encoder.budget < before and max(widths) > 300 >= min(widths)
    monkeypatch.setattr(encoder, "_forward", lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("out")))
    with pytest.raises(CurationError, match="its memory does not hold one text of 64 tokens"):
        encoder.encode(given, False)


def stored(store: Store, folder: Path, shard: Path) -> npt.NDArray[np.float32]:
    """Vectors as a build keeps them: under a key that names what `identify` tells."""
    told = manifest(folder)
    key = vectors_key(told, identify(told, folder.parent), "shard")
    entry = store.run("encode", key, lambda out: encode(shard, out, open_encoder(told, folder.parent, device="cpu")))
    return Vectors.open([entry.path / "vectors.npy"]).take(np.arange(entry.receipt["texts"]))


def test_two_models_never_share_a_vector(models: Path, tmp_path: Path) -> None:
    """Same folder name, same base, same shape, same configuration: only the weights differ."""
    for seed in (1, 2):
        tiny_model(tmp_path / str(seed) / "model", letters(), seed=seed)
    one, two = tmp_path / "1/model", tmp_path / "2/model"
    assert (one / "config.json").read_bytes() == (two / "config.json").read_bytes()
    table = pa.Table.from_pylist([{"text": text, "document": False} for text in texts(10)], POOL_SCHEMA)
    pq.write_table(table, tmp_path / "pool.parquet")
    store = Store(tmp_path / "store")
    first, second = (stored(store, folder, tmp_path / "pool.parquet") for folder in (one, two))
    assert (np.abs(first - second).max(axis=1) > 0.01).all()
    # A model trained further in its folder is another model, also for one that is open already.
    shutil.copy(two / "model.safetensors", one / "model.safetensors")
    assert (stored(store, one, tmp_path / "pool.parquet") == second).all()
    assert len(list((store.root / "encode").iterdir())) == 2
    assert (stored(store, one, tmp_path / "pool.parquet") == second).all()


def test_the_same_bytes_again_and_one_model_in_memory(models: Path, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(
        [{"text": text, "document": i % 3 == 0} for i, text in enumerate(texts(200))], POOL_SCHEMA
    )
    pq.write_table(table, tmp_path / "pool.parquet")
    told = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        encode(tmp_path / "pool.parquet", tmp_path / name, opened(models / "prompted"))
        told.append((tmp_path / name / "vectors.npy").read_bytes())
    assert told[0] == told[1]
    assert opened(models / "prompted") is opened(models / "prompted")
    assert opened(models / "prompted") is not opened(models / "prompted", max_tokens=32)


def test_what_cannot_be_loaded_is_told(models: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(models / "mean", tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(SourceError, match=r"encoder tiny: .*broken cannot be loaded \("):
        opened(broken)
    foreign = shutil.copytree(models / "mean", tmp_path / "foreign")
    told = json.loads((foreign / "config.json").read_text("utf-8"))
    ran = tmp_path / "ran"
    (foreign / "modeling_own.py").write_text(f"open({str(ran)!r}, 'w')\n", "utf-8")
    auto = {"AutoConfig": "modeling_own.Own", "AutoModel": "modeling_own.Own"}
    (foreign / "config.json").write_text(json.dumps(told | {"model_type": "own", "auto_map": auto}), "utf-8")
    with pytest.raises(SourceError, match="runs without code of its own"):
        opened(foreign)
    assert not ran.exists()


def test_weights_that_are_no_numbers_are_refused(models: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(models / "mean", tmp_path / "nan")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layer.1.output.dense.bias"))
    tensors[name][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    table = pa.Table.from_pylist([{"text": "a", "document": False}], POOL_SCHEMA)
    pq.write_table(table, tmp_path / "pool.parquet")
    with pytest.raises(FormatError, match="NaN or infinity for 1 of 1 texts"):
        encode(tmp_path / "pool.parquet", tmp_path, opened(folder))
