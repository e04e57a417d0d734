"""Local tasks as tasks of mteb: its metrics on our rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import polars as pl
from datasets import Dataset, DatasetDict
from mteb.abstasks.pair_classification import AbsTaskPairClassification
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.sts import AbsTaskSTS

from pipeline.errors import FormatError
from pipeline.evaluate.local import RETRIEVAL, LocalTask, PairsTask, RetrievalTask, StsTask, fingerprint, rows
from pipeline.evaluate.metadata import metadata


def made(task: LocalTask, home: Path) -> Any:
    """The task of mteb; its revision is a fingerprint of description and files."""
    kinds: dict[str, tuple[type[Any], str]] = {
        "sts": (LocalSts, "STS"),
        "pairs": (LocalPairs, "PairClassification"),
        "retrieval": (LocalRetrieval, "Retrieval"),
    }
    of, kind = kinds[task.type]
    told = metadata(
        task.name,
        kind,
        str(home.resolve()),
        fingerprint(task, home),
        ["test"],
        "Files of this machine.",
        languages=[task.language],
    )
    return of(task, home, told)


class _Local(ABC):
    """`task` as it was described, `home` the folder of its files."""

    def __init__(self, task: Any, home: Path, told: Any) -> None:
        self.task, self.home, self.metadata = task, home, told
        super().__init__()

    def load_data(self, num_proc: int | None = None, *, timer: Any = None, **_: Any) -> None:
        """Raises FormatError where a file is not what the task says."""
        if not getattr(self, "data_loaded", False):
            self.dataset = self.read()
            self.data_loaded = True

    @abstractmethod
    def read(self) -> Any:
        """The rows of the task's files, as mteb's class of this kind holds them."""


class LocalSts(_Local, AbsTaskSTS):
    def read(self) -> Any:
        task: StsTask = self.task
        vars(self).update(min_score=task.min_score, max_score=task.max_score)
        frame = rows(self.home / task.file, [task.text, task.other, task.score])
        score = pl.col(task.score).cast(pl.Float64, strict=False)
        frame = frame.select(sentence1=pl.col(task.text).cast(pl.String), sentence2=task.other, score=score)
        fits = pl.col("score").is_between(task.min_score, task.max_score)
        outside = frame.filter(fits.not_() | pl.col("score").is_null())
        if outside.height:
            cause = f"{outside.height} scores are no numbers from {task.min_score:g} to {task.max_score:g}"
            raise FormatError(str(self.home / task.file), cause, "give min_score and max_score in the task")
        return DatasetDict(test=Dataset(frame.to_arrow()))


class LocalPairs(_Local, AbsTaskPairClassification):
    def read(self) -> Any:
        task: PairsTask = self.task
        frame = rows(self.home / task.file, [task.text, task.other, task.label])
        label = pl.col(task.label).cast(pl.Int64, strict=False)
        frame = frame.select(sentence1=pl.col(task.text).cast(pl.String), sentence2=task.other, labels=label)
        if set(frame["labels"].unique()) != {0, 1}:
            cause = f"column {task.label} must hold labels 0 and 1, both of them"
            raise FormatError(str(self.home / task.file), cause, "mend the labels, or name another column")
        return DatasetDict(test=Dataset(frame.to_arrow()))


class LocalRetrieval(_Local, AbsTaskRetrieval):
    def read(self) -> Any:
        corpus, queries, judged = self._of_pairs() if self.task.pairs else self._of_files()
        place = str(self.home / (self.task.qrels or self.task.pairs))
        for column, held, what in (("query-id", queries, "query"), ("corpus-id", corpus, "passage")):
            if unknown := sorted(set(judged[column]) - set(held["id"])):
                cause = f"it judges the {what} {unknown[0]}, which there is not ({len(unknown)} such)"
                raise FormatError(place, cause, "leave these rows out, or add what they name")
        for held, what in ((queries, "queries"), (corpus, "corpus")):
            if held["id"].is_duplicated().any():
                name = held.filter(held["id"].is_duplicated())["id"][0]
                raise FormatError(place, f"two {what} rows have the id {name}", "give each an id of its own")
        lists = judged.group_by("query-id", maintain_order=True).agg("corpus-id", "score")
        split = {
            "corpus": Dataset(corpus.to_arrow()),
            "queries": Dataset(queries.filter(pl.col("id").is_in(judged["query-id"].implode())).to_arrow()),
            "relevant_docs": {q: dict(zip(p, s, strict=True)) for q, p, s in lists.iter_rows()},
            "top_ranked": None,
        }
        return {"default": {"test": split}}

    def _of_files(self) -> list[pl.DataFrame]:
        task: RetrievalTask = self.task
        read = []
        for key, columns in RETRIEVAL.items():
            path = self.home / getattr(task, key)
            frame = rows(path, columns)
            texts = [column for column in columns if column != "score"]
            read.append(frame.with_columns(pl.col(texts).cast(pl.String), *_whole(frame, path)))
        return read

    def _of_pairs(self) -> list[pl.DataFrame]:
        task: RetrievalTask = self.task
        frame = rows(self.home / str(task.pairs), [task.text, task.text_pos]).unique(maintain_order=True)
        frame = frame.select(text=pl.col(task.text).cast(pl.String), passage=pl.col(task.text_pos).cast(pl.String))
        sides = []
        for column in ("text", "passage"):
            distinct = frame.select(text=column).unique(maintain_order=True).with_row_index("id")
            sides.append(distinct.select(id=pl.col("id").cast(pl.String), text="text"))
        queries, corpus = sides
        judged = frame.join(queries, on="text", how="left", maintain_order="left").rename({"id": "query-id"})
        named = corpus.rename({"text": "passage", "id": "corpus-id"})
        judged = judged.join(named, on="passage", how="left", maintain_order="left")
        return [corpus, queries, judged.select("query-id", "corpus-id", score=pl.lit(1))]


def _whole(frame: pl.DataFrame, path: Path) -> list[pl.Series]:
    if "score" not in frame.columns:
        return []
    score = frame["score"].cast(pl.Int64, strict=False)
    if score.null_count():
        raise FormatError(str(path), "column score must hold whole numbers, 0 for irrelevant", "mend the judgements")
    return [score]
