"""A model that a CPU trains in seconds: a bag of hashed characters and pairs of them, one vector each.

It knows nothing before its training, so what it knows afterwards comes from the data. Batches are the mixer's, of one corpus and
one length bucket; the corpus of every step is drawn by fixed weights, the same steps for every arm of a seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.nn import functional

from pipeline.manifest.settings import MixConfig, TrainConfig
from pipeline.mix import Mixer
from pipeline.train.rows import PLAIN, contrastive, records

Ids = npt.NDArray[np.int64]
BUCKETS, DIMENSION = 1 << 15, 64
#: Characters of a text that are read.
LONGEST = 256
BATCH, LR, WARMUP = 96, 0.05, 0.05


class Bags:
    """The n-grams of texts, worked out once for all arms: each text as its distinct numbers below BUCKETS.

    >>> bags = Bags(["你好", "好"])
    >>> ids, offsets = bags.of(["好", "你好"])
    >>> offsets.tolist(), len(ids), ids[0] in ids[1:]
    ([0, 1], 4, True)
    """

    def __init__(self, texts: Sequence[str]) -> None:
        distinct = list(dict.fromkeys(texts))
        self._place = {text: i for i, text in enumerate(distinct)}
        cut = [text.lower()[:LONGEST] or " " for text in distinct]
        points = np.frombuffer("".join(cut).encode("utf-32-le"), np.uint32).astype(np.uint64)
        of = np.repeat(np.arange(len(cut), dtype=np.int64), [len(text) for text in cut])
        inside = of[1:] == of[:-1]
        couples = (points[:-1] * np.uint64(0x9E3779B1) + points[1:] + np.uint64(1 << 32))[inside]
        numbers = np.concatenate([_hashed(points), _hashed(couples)])
        coded = np.unique(np.concatenate([of, of[1:][inside]]) * BUCKETS + numbers)
        self._ids = coded % BUCKETS
        self._starts = np.searchsorted(coded // BUCKETS, np.arange(len(cut) + 1))

    def of(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """The numbers of these texts one after another, and where each text begins: as EmbeddingBag takes them."""
        at = np.array([self._place[text] for text in texts])
        starts, sizes = self._starts[at], self._starts[at + 1] - self._starts[at]
        offsets = np.cumsum(sizes) - sizes
        flat = np.repeat(starts - offsets, sizes) + np.arange(sizes.sum())
        return torch.from_numpy(self._ids[flat]), torch.from_numpy(offsets)


def _hashed(numbers: npt.NDArray[np.uint64]) -> Ids:
    """The upper bits of a product (Knuth, TAOCP 3, 6.4)."""
    return (numbers * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(49)).astype(np.int64)


class Student:
    """Vectors of n-grams, drawn by `seed`; a text is the direction of their sum."""

    def __init__(self, bags: Bags, seed: int) -> None:
        self._bags = bags
        draw = torch.Generator().manual_seed(seed)
        self.table = torch.nn.EmbeddingBag(BUCKETS, DIMENSION, mode="sum")
        with torch.no_grad():
            self.table.weight.normal_(0, DIMENSION**-0.5, generator=draw)

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """float32 [n, DIMENSION], rows of length 1."""
        return functional.normalize(self.table(*self._bags.of(texts)), dim=1)

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The same, without a gradient."""
        with torch.no_grad():
            return self(texts).numpy()


@dataclass(frozen=True)
class Arm:
    """What is trained on: shards per corpus, in the columns of a build. With `grouped` no two records of one group meet in
    a batch; without, batches come as rows come. `negatives` of a record join the batch, at most."""

    name: str
    data: Mapping[str, Sequence[Path]]
    negatives: int = 0


def schedule(weights: Mapping[str, float], steps: int, seed: int) -> list[str]:
    """The corpus of every step, the same for every arm."""
    names = sorted(weights)
    odds = np.array([weights[name] for name in names])
    return [names[i] for i in np.random.default_rng(seed).choice(len(names), steps, p=odds / odds.sum())]


def train(arm: Arm, bags: Bags, weights: Mapping[str, float], steps: int, seed: int) -> tuple[Student, int]:
    """The student after so many steps of in-batch softmax at M3E's temperature, and how many records it saw."""
    config = TrainConfig(negatives=arm.negatives, prompts="off")
    student = Student(bags, seed)
    adam = torch.optim.Adam(student.table.parameters(), lr=LR, fused=True)
    feeds = {name: _endless(arm.data[name], seed) for name in weights}
    seen = 0
    for step, corpus in enumerate(schedule(weights, steps, seed)):
        anchors, *others = _columns(next(feeds[corpus]), config)
        scores = student(anchors) @ student([text for column in others for text in column]).T
        loss = functional.cross_entropy(scores / config.temperature, torch.arange(len(anchors)))
        adam.param_groups[0]["lr"] = LR * _pace(step / steps)
        adam.zero_grad()
        loss.backward()
        adam.step()
        seen += len(anchors)
    return student, seen


def _pace(done: float) -> float:
    """Warm-up, then a cosine down to 0."""
    return min(done / WARMUP, 1) * (1 + math.cos(math.pi * done)) / 2


def _columns(table: pa.Table, config: TrainConfig) -> list[list[str]]:
    """Texts, their positives, and as many columns of negatives as there are."""
    if not config.negatives:
        return [table[side].to_pylist() for side in ("text", "text_pos")]
    return list(contrastive(records(table), config).values())


def _endless(shards: Sequence[Path], seed: int) -> Iterator[pa.Table]:
    mixer = Mixer({"corpus": shards}, MixConfig(batch=BATCH, power=1, seed=seed), PLAIN)
    while True:
        yield from (batch.table for batch in mixer.batches())
