"""What `manifests/benchmarks/<name>.yaml` may say: an evaluation set and the part each of its texts plays."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.manifest.corpus import FileSet, Name, Source, Sql, Strict

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


class BenchmarkPart(FileSet):
    """Files of one layout within a benchmark, and the texts they hold."""

    texts: list[BenchmarkTexts] = []
    pairs: list[BenchmarkPairs] = []

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
