"""What `manifests/benchmarks/<name>.yaml` may say: an evaluation set and the part each of its texts plays."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.manifest.corpus import (
    SQUAD_COLUMNS,
    TXT_COLUMNS,
    ColumnType,
    Encoding,
    Files,
    Layout,
    Name,
    Source,
    Sql,
    Strict,
)

#: A query drops the record it matches; a judged positive flags it (and drops it when its query matches too); a passage
#: that is only there to distract flags it.
Role = Literal["query", "positive", "passage"]


class BenchmarkTexts(Strict):
    """One text expression (a list explodes) and its role. `joined` also compares it with text + text_pos as one."""

    role: Role
    text: Sql
    where: Sql | None = None
    joined: bool = False


class BenchmarkPairs(Strict):
    """Two texts judged together (a query and its positive, the sentences of a pair task): matched as a pair at any length."""

    text: Sql
    other: Sql
    where: Sql | None = None


class BenchmarkPart(Strict):
    files: Files
    layout: Layout
    encoding: Encoding = "utf-8"
    header: bool = True
    quote: Literal['"'] | None = None
    path: str | None = None
    columns: dict[str, ColumnType] = {}
    texts: list[BenchmarkTexts] = []
    pairs: list[BenchmarkPairs] = []

    @property
    def typed_columns(self) -> dict[str, ColumnType]:
        fixed = {"squad": SQUAD_COLUMNS, "txt": TXT_COLUMNS}.get(self.layout)
        return dict(fixed) if fixed is not None else self.columns  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _says_something(self) -> BenchmarkPart:
        if not self.texts and not self.pairs:
            raise ValueError("give texts, pairs or both")
        return self


class Benchmark(Strict):
    """An evaluation set that training data must not contain."""

    name: Name
    task: str
    suites: list[str] = []
    source: Source
    splits: Annotated[list[str], Field(min_length=1)]
    parts: Annotated[list[BenchmarkPart], Field(min_length=1)]
    note: str | None = None
