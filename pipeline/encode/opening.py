"""Encoders are opened here, once per process and device."""

from __future__ import annotations

import threading
from pathlib import Path

from pipeline.encode.device import device_of, wait_patiently
from pipeline.encode.encoder import Encoder
from pipeline.errors import SourceError
from pipeline.manifest.encoder import EncoderManifest, PackageModel
from pipeline.weights import identify, model_folder

_OPENED: dict[tuple[str, str, str, bool], Encoder] = {}
_OPENING = threading.Lock()


def open_encoder(
    manifest: EncoderManifest,
    home: Path,
    *,
    shard: int = 0,
    cache: Path | None = None,
    device: str | None = None,
    raw: bool = False,
) -> Encoder:
    """Load an encoder, once per process and device.

    home: the folder of the manifest. shard: with several GPUs, shard n is encoded on GPU n modulo their number. cache:
    as in `identify`. device: `cpu`, `cuda:1`; what `shard` says if None. raw: vectors as the model's own modules leave
    them, of whatever length: what a classifier is fitted on tells models apart by more than direction.

    Raises SourceError where the model is missing, or there is no library that can load it.
    """
    identity = identify(manifest, home, cache)
    packaged = isinstance(manifest.source, PackageModel)
    wait_patiently()
    device = "cpu" if packaged else device or device_of(shard)
    key = (manifest.name, repr(identity), device, raw)
    with _OPENING:
        if key not in _OPENED:
            if packaged:
                from pipeline.encode.nano import NanoEncoder

                _OPENED[key] = NanoEncoder(manifest, identity)
            else:
                try:
                    from pipeline.encode.model import ModelEncoder
                except ImportError as error:
                    cause = f"{error.name} is not installed"
                    raise SourceError(f"encoder {manifest.name}", cause, "pip install 'm3e-pipeline[mine]'") from None
                _OPENED[key] = ModelEncoder(manifest, identity, model_folder(manifest, home), device, raw=raw)
        return _OPENED[key]
