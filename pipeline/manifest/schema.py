"""JSON Schemas of the manifests, for editors: `python -m pipeline.manifest.schema` writes `manifests/schema/*.json`."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from pipeline.licence import Vocabulary
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.catalog import SHIPPED
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.encoder import EncoderManifest
from pipeline.manifest.recipe import Recipe

MODELS: dict[str, type[BaseModel]] = {
    "corpus": Corpus,
    "benchmark": Benchmark,
    "recipe": Recipe,
    "encoder": EncoderManifest,
    "licences": Vocabulary,
}


def schema_text(name: str) -> str:
    """The schema file of one kind of manifest, as it must lie in `manifests/schema/`."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **MODELS[name].model_json_schema()}
    return json.dumps(schema, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        (folder / f"{name}.json").write_text(schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    write(SHIPPED / "schema")
