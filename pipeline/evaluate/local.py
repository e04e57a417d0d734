"""Tasks out of files on this machine, so that anyone can evaluate without a network.

    tasks:
      - {name: our-similarity, type: sts, file: sts.jsonl, max_score: 5}
      - {name: our-doubles, type: pairs, file: pairs.csv}
      - {name: our-search, type: retrieval, corpus: passages.parquet, queries: queries.jsonl, qrels: qrels.tsv}
      - {name: our-answers, type: retrieval, pairs: answers.jsonl}

Files are jsonl, csv, tsv or parquet, read from the folder of the YAML file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, model_validator

from pipeline.errors import FormatError, ManifestError, Problem, UsageError
from pipeline.manifest.corpus import Name, Strict
from pipeline.manifest.yaml import load, validate
from pipeline.store import canonical_json

#: The file that a folder of tasks is described by.
TASKS = "tasks.yaml"
READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".jsonl": pl.read_ndjson,
    ".parquet": pl.read_parquet,
    ".csv": pl.read_csv,
    ".tsv": lambda path: pl.read_csv(path, separator="\t"),
}
#: BEIR's names.
RETRIEVAL = {"corpus": ("id", "text"), "queries": ("id", "text"), "qrels": ("query-id", "corpus-id", "score")}


class Local(Strict):
    """What all tasks have. `language` as mteb writes it: three letters and a script."""

    name: Name
    language: str = "cmn-Hans"


class StsTask(Local):
    """Pairs with a gold score between `min_score` and `max_score`: Spearman's correlation with the cosine."""

    type: Literal["sts"]
    file: str
    text: str = "text"
    other: str = "other"
    score: str = "score"
    min_score: float = 0
    max_score: float = 1


class PairsTask(Local):
    """Pairs with a label, 1 for a match and 0 for none: average precision, the best threshold."""

    type: Literal["pairs"]
    file: str
    text: str = "text"
    other: str = "other"
    label: str = "label"


class RetrievalTask(Local):
    """Either `corpus` (id, text), `queries` (id, text) and `qrels` (query-id, corpus-id, score), or `pairs`.

    Of `pairs` (text, text_pos) every distinct text is a query, and every distinct text_pos a passage; those of its pairs
    are the right ones.
    """

    type: Literal["retrieval"]
    corpus: str | None = None
    queries: str | None = None
    qrels: str | None = None
    pairs: str | None = None
    text: str = "text"
    text_pos: str = "text_pos"

    @model_validator(mode="after")
    def _one_way(self) -> RetrievalTask:
        told = [self.corpus, self.queries, self.qrels]
        if (self.pairs is None) == (None in told) or (self.pairs is not None and any(told)):
            raise ValueError("give corpus, queries and qrels, or pairs alone")
        return self


LocalTask = Annotated[StsTask | PairsTask | RetrievalTask, Field(discriminator="type")]


class LocalTasks(Strict):
    tasks: Annotated[list[LocalTask], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_differ(self) -> LocalTasks:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the name {twice[0]} is given to several tasks")
        return self


def local_tasks(place: Path) -> list[Any]:
    """The tasks that a YAML file, or `tasks.yaml` of a folder, describes; files are read when a task is run.

    Raises UsageError where there is none, ManifestError for what it may not say.
    """
    path = place / TASKS if place.is_dir() else place
    if not path.is_file():
        cure = f"give a YAML file, or a folder with {TASKS}; docs/training.md shows one"
        raise UsageError(f"--local {place}", "there is no such file", cure)
    document = load(path, str(path))
    told = validate(document, LocalTasks)
    if told is None:
        raise ManifestError(document.problems)
    missing = [
        Problem(
            str(path), *document.at(("tasks", at, key)), f"tasks.{at}.{key}", f"there is no file {path.parent / name}"
        )
        for at, task in enumerate(told.tasks)
        for key, name in files_of(task).items()
        if not (path.parent / name).is_file()
    ]
    if missing:
        raise ManifestError(missing)
    from pipeline.evaluate.local_mteb import made

    return [made(task, path.parent) for task in told.tasks]


def files_of(task: LocalTask) -> dict[str, str]:
    """The files that a task names, by their key."""
    keys = ("file", "corpus", "queries", "qrels", "pairs")
    return {key: getattr(task, key) for key in keys if getattr(task, key, None) is not None}


def fingerprint(task: LocalTask, home: Path) -> str:
    """What a score was made of: sha256 over the task's description and the bytes of its files."""
    digest = hashlib.sha256(canonical_json(task.model_dump(mode="json")))
    for name in files_of(task).values():
        with (home / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def rows(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """These columns of a file, no field of them empty.

    Raises FormatError where the file is not what its name says, lacks a column or has an empty field.
    """
    read = READERS.get(path.suffix)
    if read is None:
        raise FormatError(str(path), f"{path.suffix or 'no suffix'} is not known", f"give one of {', '.join(READERS)}")
    try:
        frame = read(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FormatError(str(path), f"it cannot be read: {str(error).splitlines()[0]}", "mend the file") from None
    if lacking := [column for column in columns if column not in frame.columns]:
        cause = f"it has no column {', '.join(lacking)}; it has {', '.join(frame.columns)}"
        raise FormatError(str(path), cause, "name its columns in the task, or mend the file")
    frame = frame.select(*columns)
    if (empty := frame.null_count().sum_horizontal().item()) or not frame.height:
        raise FormatError(
            str(path), f"{empty} empty fields in {frame.height} rows", "fill them in, or leave the rows out"
        )
    return frame
