"""Settings of a training out of words of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.manifest.settings import MixConfig, TrainConfig


def train_config(given: Mapping[str, Any], words: Sequence[str] = ()) -> TrainConfig:
    """Settings by name, those of the mix as `mix.name`; `words` are further ones as `name=value`, `none` for no value.

    Raises UsageError for unknown names and for values that do not fit.

    >>> config = train_config({"mix.batch": 8}, ["lr=3e-5", "mix.power=1"])
    >>> config.lr, config.mix.batch, config.mix.power
    (3e-05, 8, 1.0)
    """
    told = {name: value for name, value in given.items() if value is not None}
    for word in words:
        name, equals, value = word.partition("=")
        known = [*TrainConfig.model_fields, *(f"mix.{field}" for field in MixConfig.model_fields)]
        known = [one for one in known if one not in ("mix", "mix.caps", "mix.length_buckets")]
        if not equals or name not in known:
            cure = f"write name=value, name one of {', '.join(known)}"
            raise UsageError(f"--set {word}", "it names no setting of a training", cure)
        told[name] = None if value == "none" else value
    mix = {name.removeprefix("mix."): told.pop(name) for name in list(told) if name.startswith("mix.")}
    try:
        return TrainConfig.model_validate({**told, "mix": mix})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors())
        raise UsageError(
            "m3e train", faults, "see m3e train --help and docs/training.md for what each may be"
        ) from None
