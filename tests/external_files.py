"""The external corpora's manifests as their sources give them, and the files of `external_rows` in their layouts."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from pipeline.convert import convert
from pipeline.manifest.catalog import SHIPPED
from pipeline.manifest.corpus import Corpus, Part
from pipeline.source import SourceFile
from pipeline.store import Receipt
from tests.external_rows import CASES, Case


def manifest(kind: str, name: str) -> dict[str, Any]:
    told: dict[str, Any] = YAML(typ="safe").load((SHIPPED / kind / f"{name}.yaml").read_text("utf-8"))
    return told


CORPORA = {name: Corpus.model_validate(manifest("corpora", name)) for name in CASES}


@dataclass(frozen=True)
class Variant:
    """A corpus as it is when fetched from its source (None) or from one of its alternates."""

    name: str
    alternate: int | None

    def __str__(self) -> str:
        corpus = CORPORA[self.name]
        source = corpus.source if self.alternate is None else corpus.alternates[self.alternate].source
        return f"{self.name}-{source.kind}{'' if self.alternate is None else self.alternate}"

    @property
    def corpus(self) -> Corpus:
        whole = CORPORA[self.name]
        parts = None if self.alternate is None else whole.alternates[self.alternate].parts
        return whole if parts is None else whole.model_copy(update={"parts": parts})

    @property
    def case(self) -> Case:
        return CASES[self.name]

    @property
    def rows(self) -> tuple[Any, ...]:
        return self.case.rows if self.alternate is None else self.case.variants.get(self.alternate, self.case.rows)


VARIANTS = [Variant(name, at) for name, corpus in CORPORA.items() for at in (None, *range(len(corpus.alternates)))]


def encoded(part: Part, rows: list[dict[str, Any]]) -> bytes:
    """The rows as a file of the part's layout, by plain code."""
    dumps = lambda value: json.dumps(value, ensure_ascii=False)  # noqa: E731
    if part.layout == "parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), out)
        return out.getvalue()
    if part.layout in ("csv", "tsv"):
        text = io.StringIO()
        writer = csv.writer(text, delimiter="," if part.layout == "csv" else "\t", lineterminator="\n")
        writer.writerows([list(rows[0])] * part.header + [list(row.values()) for row in rows])
        return text.getvalue().encode(part.encoding)
    wrapped = {
        "jsonl": lambda: "".join(dumps(row) + "\n" for row in rows),
        "json-array": lambda: dumps(rows),
        "json-object": lambda: dumps({str(part.path): rows}),
        "squad": lambda: dumps({"version": "v2.0", "data": rows}),
    }
    return wrapped[part.layout]().encode(part.encoding)


def name_of(part: Part) -> str:
    """What the train file of a part is called: the manifest's name, archive and member too, with a pattern filled in."""
    given = part.files["train"]
    assert isinstance(given, str)
    return given.replace("*", "00000-of-00001")


def on_disk(corpus: Corpus, rows: tuple[Any, ...], folder: Path) -> list[SourceFile]:
    files = []
    for at, (part, of) in enumerate(zip(corpus.parts, rows, strict=True)):
        path = folder / str(at)
        path.write_bytes(encoded(part, of))
        files.append(SourceFile(at, "train", name_of(part), path, "", path.stat().st_size))
    return files


def converted(corpus: Corpus, files: list[SourceFile], folder: Path) -> tuple[Receipt, pl.DataFrame, pl.DataFrame]:
    out = folder / "out"
    out.mkdir()
    told = convert(corpus, files, out)
    shards = {kind: [pl.read_parquet(out / name) for name in names] for kind, names in told["shards"].items()}
    return told, pl.concat(shards["text"]), pl.concat(shards["labelled"])
