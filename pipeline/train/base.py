"""The model that a training begins with: an encoder of the manifests, a folder, or a model on the Hub, with its terms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.licence import Terms
from pipeline.manifest.encoder import EncoderManifest, HubModel, LocalModel, PackageModel

#: Of a model that no manifest tells of nothing is known.
UNTOLD = Terms.model_validate(
    {"spdx": "NOASSERTION", "commercial": "unknown", "redistribute": "unknown", "confidence": "low"}
)
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Base:
    """`told` as the user wrote it; `home` is what a relative folder in the manifest is read from."""

    told: str
    manifest: EncoderManifest
    home: Path
    has_terms: bool


def base_model(told: str, encoders: Mapping[str, tuple[EncoderManifest, Path]]) -> Base:
    """What `--model` of a training names; see `named_model`.

    Raises UsageError where it is no model, or one that cannot be trained.

    >>> base_model("org/name", {}).manifest.source.model
    'org/name'
    """
    found = named_model(told, encoders, f"--model {told}")
    if isinstance(found.manifest.source, PackageModel):
        cure = "give a sentence-transformers folder, or a model on the Hub"
        raise UsageError(f"--model {told}", "its weights are of 4 bits and cannot be trained", cure)
    return found


def named_model(told: str, encoders: Mapping[str, tuple[EncoderManifest, Path]], place: str) -> Base:
    """A model by what a user calls it: an encoder manifest, a folder of this machine, or a model on the Hub (`org/name`).

    A folder or Hub model that a manifest tells of has the terms given there, any other none that are known. place: what
    an error names.

    Raises UsageError where it is none of the three.
    """
    found = encoders.get(told)
    if found is None:
        found = next((e for e in encoders.values() if _is(e, told)), None)
    if found is not None:
        return Base(told, *found, has_terms=True)
    source: HubModel | LocalModel
    if Path(told).is_dir():
        source = LocalModel(kind="local", root=str(Path(told).resolve()))
    elif HUB_NAME.fullmatch(told) and not told.startswith("."):
        source = HubModel(kind="hub", model=told)
    else:
        known = ", ".join(sorted(encoders)) or "none"
        cause = "there is no such folder, and no encoder of that name in the manifests"
        raise UsageError(place, cause, f"give a folder, ORG/NAME on the Hub, or an encoder: {known}")
    manifest = EncoderManifest(name="base", title=Path(told).name, source=source, licence=UNTOLD)
    return Base(told, manifest, Path(), has_terms=False)


def _is(encoder: tuple[EncoderManifest, Path], told: str) -> bool:
    source, home = encoder[0].source, encoder[1]
    if isinstance(source, HubModel):
        return source.model == told and not Path(told).is_dir()
    return isinstance(source, LocalModel) and (home / source.root).resolve() == Path(told).resolve()
