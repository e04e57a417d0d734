"""The held-back sets, what a model scores on them, and how sure a difference is.

Pair sets: the area under the ROC curve, which ranks models as the Spearman correlation of C-MTEB does. Retrieval: nDCG@10
of questions among the passages of both sets, each with one that answers it. Items that share a text (a family of
questions, the questions of a passage) are drawn together, and so are the seeds, which are the same for every arm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data_value.slices import TRIAL, XQUAD, families, read_bq, read_lcqmc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
DRAWS, DRAWN_BY = 2_000, 0


@dataclass(frozen=True)
class Pairs:
    """Sentence pairs with a label; `family` names those that are drawn together."""

    name: str
    left: list[str]
    right: list[str]
    label: npt.NDArray[np.bool_]
    family: Ints

    @property
    def texts(self) -> list[str]:
        return [*self.left, *self.right]

    def scored(self, embed: Embed) -> Floats:
        """The cosine of every pair."""
        return np.einsum("ij,ij->i", embed(self.left), embed(self.right)).astype(np.float64)

    def value(self, scored: Floats, times: Floats) -> Floats:
        """float64 [draws]: the area, where item i stands in draw d times[d, i] times."""
        return areas(scored, self.label, times)


@dataclass(frozen=True)
class Questions:
    """Questions with the one passage that answers each; `passages` are all that are searched."""

    name: str
    questions: list[str]
    passages: list[str]
    answer: Ints
    family: Ints

    @property
    def texts(self) -> list[str]:
        return [*self.questions, *self.passages]

    def scored(self, embed: Embed) -> Floats:
        """nDCG@10 of every question: with one relevant passage, 1 / log2(1 + its rank)."""
        scores = embed(self.questions) @ embed(self.passages).T
        own = scores[np.arange(len(scores)), self.answer]
        # Of equal scores the relevant passage counts as the last.
        rank = (scores >= own[:, None]).sum(1)
        return np.where(rank <= 10, 1 / np.log2(1 + rank), 0.0)

    def value(self, scored: Floats, times: Floats) -> Floats:
        """float64 [draws]: the mean, where item i stands in draw d times[d, i] times."""
        return times @ scored / times.sum(1)


Held = Pairs | Questions


def areas(scores: Floats, label: npt.NDArray[np.bool_], times: Floats) -> Floats:
    """float64 [draws]: how often a match scores above a non-match, ties counting half.

    >>> areas(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]), np.ones((1, 4))).tolist()
    [0.875]
    """
    order = np.argsort(scores, kind="stable")
    _, tie = np.unique(scores[order], return_inverse=True)
    last = np.flatnonzero(np.diff(tie, append=tie[-1] + 1))
    yes, no = (np.cumsum(times[:, order] * side[order], axis=1)[:, last] for side in (label, ~label))
    matches = np.diff(yes, axis=1, prepend=0)
    below = np.concatenate([np.zeros((len(no), 1)), no[:, :-1]], axis=1)
    return (matches * (below + no) / 2).sum(1) / (yes[:, -1] * no[:, -1])


def held_sets(slices: Path, files: Path) -> list[Held]:
    """The four sets, read with plain code."""
    pairs = [
        _pairs("LCQMC", read_lcqmc(files / "lcqmc.test.tsv")),
        _pairs("BQ", read_bq(files / "bq.test.csv")),
    ]
    read = {"CMRC trial": _passages(slices / TRIAL), "XQuAD zh": _passages(slices / XQUAD)}
    passages = sorted({passage for rows in read.values() for _, passage in rows})
    place = {passage: i for i, passage in enumerate(passages)}
    questions = []
    for name, rows in read.items():
        answer = np.array([place[passage] for _, passage in rows])
        questions.append(Questions(name, [question for question, _ in rows], passages, answer, answer))
    return [*pairs, *questions]


def _pairs(name: str, rows: Sequence[tuple[str, str, str]]) -> Pairs:
    left, right, labels = (list(side) for side in zip(*rows, strict=True))
    return Pairs(name, left, right, np.array([label == "1" for label in labels]), np.array(families(rows)))


def _passages(path: Path) -> list[tuple[str, str]]:
    articles: list[dict[str, Any]] = json.loads(path.read_bytes())["data"]
    paragraphs = [one for article in articles for one in article["paragraphs"]]
    return [(asked["question"], one["context"]) for one in paragraphs for asked in one["qas"]]


def draws(held: Sequence[Held], seeds: int, n: int = DRAWS) -> tuple[list[Floats], Ints]:
    """How often each item of each set stands in each draw, families drawn whole; and the seeds of each draw [n, seeds]."""
    draw = np.random.default_rng(DRAWN_BY)
    times = []
    for one in held:
        _, of = np.unique(one.family, return_inverse=True)
        count = int(of.max()) + 1
        drawn = draw.multinomial(count, np.full(count, 1 / count), size=n)
        times.append(drawn[:, of].astype(np.float64))
    return times, draw.integers(0, seeds, (n, seeds))


@dataclass(frozen=True)
class Measured:
    """What the arms score. `sets`: arm -> a value per set, mean over seeds. `drawn`: arm -> the mean over sets per draw."""

    sets: dict[str, list[float]]
    drawn: dict[str, Floats]

    def mean(self, arm: str) -> float:
        return float(np.mean(self.sets[arm]))

    def against(self, arm: str, other: str) -> tuple[float, float, float]:
        """How much more `arm` scores than `other`, and between which bounds 95 % of the draws lie."""
        low, high = np.quantile(self.drawn[arm] - self.drawn[other], [0.025, 0.975]).tolist()
        return self.mean(arm) - self.mean(other), low, high


def measure(held: Sequence[Held], scored: Mapping[str, Sequence[Sequence[Floats]]], n: int = DRAWS) -> Measured:
    """scored: arm -> seed -> set -> a number per item. Every arm sees the same draws."""
    seeds = len(next(iter(scored.values())))
    times, of_seed = draws(held, seeds, n)
    sets, drawn = {}, {}
    for arm, told in scored.items():
        whole = [[one.value(s, np.ones((1, len(s))))[0] for one, s in zip(held, of, strict=True)] for of in told]
        sets[arm] = np.mean(whole, axis=0).tolist()
        by_seed = [np.mean([one.value(s, t) for one, s, t in zip(held, of, times, strict=True)], axis=0) for of in told]
        drawn[arm] = np.take_along_axis(np.stack(by_seed, axis=1), of_seed, axis=1).mean(1)
    return Measured(sets, drawn)
