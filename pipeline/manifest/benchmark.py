"""What `manifests/benchmarks/<name>.yaml` may say: an evaluation set and the part each of its texts plays.

Retrieval and reranking sets keep queries, documents and judgements in files of their own. Their texts then carry an `id`
and a part `judges` them: the index joins the three, so that every text gets the role it truly has.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.manifest.corpus import FileSet, Name, Source, Sql, Strict

#: A query drops the record it matches; a judged positive flags it (and drops it when its query matches too); a passage
#: that is only there to distract flags it.
Role = Literal["query", "positive", "passage"]


class BenchmarkTexts(Strict):
    """One text expression (a list explodes) and its role. `joined` also compares it with text + text_pos as one.

    With an `id` the text is one of those that a part of this benchmark judges: a query stays where a judgement names it
    (mteb evaluates no other), a passage becomes a positive, paired with its query, where one finds it relevant.
    """

    role: Role
    text: Sql
    id: Sql | None = None
    where: Sql | None = None
    joined: bool = False

    @model_validator(mode="after")
    def _judged_by_others(self) -> BenchmarkTexts:
        if self.id is not None and self.role == "positive":
            raise ValueError("a text with an id is a query or a passage; the judgements tell which are positive")
        return self


class BenchmarkPairs(Strict):
    """Two texts judged together (a query and its positive, the sentences of a pair task): matched as a pair at any length."""

    text: Sql
    other: Sql
    where: Sql | None = None


class BenchmarkJudgements(Strict):
    """Rows that name a query and a document by their ids; those that `where` keeps find the document relevant."""

    query: Sql
    document: Sql
    where: Sql | None = None


class BenchmarkPart(FileSet):
    """Files of one layout within a benchmark, and the texts or the judgements they hold."""

    texts: list[BenchmarkTexts] = []
    pairs: list[BenchmarkPairs] = []
    judges: BenchmarkJudgements | None = None

    @model_validator(mode="after")
    def _says_something(self) -> BenchmarkPart:
        if not (self.texts or self.pairs or self.judges):
            raise ValueError("give texts, pairs, judges or several of them")
        return self

    @property
    def expressions(
        self,
    ) -> Iterator[tuple[tuple[str | int, ...], BenchmarkTexts | BenchmarkPairs | BenchmarkJudgements]]:
        """Everything that holds SQL, each with its place in the part: `("texts", 0)`."""
        yield from ((("texts", at), texts) for at, texts in enumerate(self.texts))
        yield from ((("pairs", at), pairs) for at, pairs in enumerate(self.pairs))
        if self.judges is not None:
            yield ("judges",), self.judges


class Benchmark(Strict):
    """An evaluation set that training data must not contain."""

    name: Name
    task: str
    suites: list[str] = []
    source: Source
    splits: Annotated[list[str], Field(min_length=1)]
    parts: Annotated[list[BenchmarkPart], Field(min_length=1)]
    note: str | None = None

    @model_validator(mode="after")
    def _joined_up(self) -> Benchmark:
        named = {texts.role for part in self.parts for texts in part.texts if texts.id is not None}
        judged = any(part.judges is not None for part in self.parts)
        if named and not judged:
            raise ValueError("texts have ids, but no part judges them; give one `judges: {query: ..., document: ...}`")
        if judged and (missing := {"query", "passage"} - named):
            raise ValueError(f"a part judges, but no text of role {' or '.join(sorted(missing))} has an id")
        return self
