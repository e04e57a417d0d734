"""A cross-encoder: one number for two texts that are read together. Dearer than two vectors, and nearer to what people judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.encode.device import device_of, wait_patiently
from pipeline.errors import FormatError, SourceError
from pipeline.manifest.encoder import EncoderManifest, PackageModel
from pipeline.weights import identify, model_folder

#: float32 scores of pairs of texts, in their order.
Rate = Callable[[Sequence[tuple[str, str]]], npt.NDArray[np.float32]]
BATCH = 64


def open_cross_encoder(
    manifest: EncoderManifest, home: Path, *, cache: Path | None = None, device: str | None = None
) -> Rate:
    """sentence-transformers' CrossEncoder over a model's own files, from safetensors, without code that came with it.

    home: the folder of the manifest. cache: as in `pipeline.weights.identify`. The scores are those of its `predict`, so
    between 0 and 1 for a model of one number whose configuration says nothing else.

    Raises SourceError where the model is missing, cannot be loaded or gives several numbers a pair. What is returned
    raises FormatError where the model gives what is no number.
    """
    place = f"cross-encoder {manifest.name}"
    if isinstance(manifest.source, PackageModel):
        cause = f"{manifest.source.package} turns single texts into vectors and reads no pairs"
        raise SourceError(place, cause, "name a cross-encoder in score.cross_encoder")
    identify(manifest, home, cache)
    folder = model_folder(manifest, home)
    wait_patiently()
    try:
        from sentence_transformers import CrossEncoder
    except ImportError as error:
        raise SourceError(place, f"{error.name} is not installed", "pip install 'm3e-pipeline[mine]'") from None
    told: dict[str, Any] = {"model_kwargs": {"use_safetensors": True}, "max_length": manifest.max_tokens}
    try:
        model = CrossEncoder(
            str(folder), device=device or device_of(0), local_files_only=True, trust_remote_code=False, **told
        )
    except Exception as error:
        # Loaders raise whatever their parts raise.
        cause = f"{folder} cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0][:200]})"
        cure = "it must be a model for sequence classification that runs without code of its own"
        raise SourceError(place, cause, cure) from None
    if model.num_labels != 1:
        cause = f"it gives {model.num_labels} numbers for a pair"
        raise SourceError(place, cause, "name a cross-encoder that gives one score")

    def rate(pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
        if not pairs:
            return np.zeros(0, np.float32)
        scores: npt.NDArray[np.float32] = np.asarray(
            model.predict(list(pairs), batch_size=BATCH, show_progress_bar=False), np.float32
        )
        if not np.isfinite(scores).all():
            cause = f"it gives no number for {int((~np.isfinite(scores)).sum())} of {len(pairs)} pairs"
            raise FormatError(place, cause, "look at the model's weights; every score must be a number")
        return scores

    return rate
