"""Batches for the trainer, made ready while it works on the ones before, with the position of the data behind each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch.utils.data import IterableDataset

from pipeline.manifest.settings import TrainConfig
from pipeline.mix import Mixer
from pipeline.report.opened import Build
from pipeline.train.judged import Judged
from pipeline.train.rows import PLAIN, SCORED, contrastive, cosent, records

#: Batches that are made ready ahead of the trainer.
AHEAD = 3
Collate = Callable[[list[dict[str, Any]]], dict[str, Any]]


def mixer_of(build: Build, config: TrainConfig, columns: Sequence[str] = ()) -> Mixer:
    """The records of a build as batches; corpora without a record have no part in it."""
    data = {name: paths for name in build.corpora if (paths := build.data(name))}
    return Mixer(data, config.mix, columns)


def steps_of(build: Build, config: TrainConfig, world: int) -> int:
    """Batches of all epochs, counted by mixing once without training: short ones make them more than rows / batch."""
    mixer, steps = mixer_of(build, config), 0
    while mixer.epoch < config.epochs:
        steps += sum(batch.table.num_rows >= world for batch in mixer.batches())
    return steps


class Feed(IterableDataset[dict[str, Any]]):
    """Tokens of one batch after another, epoch after epoch; `position` belongs to the batch that was given last.

    With several processes each mixes all the data and takes its part of every batch, so that the whole batch is the one
    the mixer made: of one corpus, without two records of a group. Rows that do not go round are left out.
    """

    def __init__(self, build: Build, config: TrainConfig, collate: Collate, part: tuple[int, int]) -> None:
        scored = "score" in build.receipt
        self._mixer = mixer_of(build, config, SCORED if scored else PLAIN)
        self._config, self._collate, self._part = config, collate, part
        self._judged = _judged(build, config) if config.recipe == "cosent" else {}
        self._rows = {name: sum(f.kept for f in build.funnels if f.corpus == name) for name in self._judged}
        self._seen = dict.fromkeys(self._judged, 0)
        self.position: dict[str, Any] = self._state({})

    def resume(self, position: Mapping[str, Any]) -> None:
        """Go on behind the batch that `position` was told for."""
        self._mixer.resume(position["mixer"])
        self._seen, self.position = dict(position["seen"]), dict(position)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        made = self._made()
        waiting: deque[Future[tuple[dict[str, Any], dict[str, Any]]]] = deque()
        ahead = ThreadPoolExecutor(1, "feed")
        try:
            while True:
                while len(waiting) < AHEAD:
                    waiting.append(ahead.submit(next, made))
                batch, self.position = waiting.popleft().result()
                yield batch
        finally:
            ahead.shutdown(cancel_futures=True)

    def _made(self) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        rank, world = self._part
        given = dict(self.position["given"])
        while True:
            for batch in self._mixer.batches():
                n = batch.table.num_rows
                given[batch.corpus] = given.get(batch.corpus, 0) + n
                if n < world:
                    continue
                columns = self._columns(batch.corpus, records(batch.table.slice(0, n - n % world)))
                rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
                even = len(rows) - len(rows) % world
                yield self._collate(rows[rank:even:world]), self._state(given)

    def _columns(self, corpus: str, frame: Any) -> dict[str, list[Any]]:
        if self._config.recipe != "cosent":
            return contrastive(frame, self._config)
        judged = None
        if (source := self._judged.get(corpus)) is not None:
            # As many judged rows as belong to so many records, whole epochs alike.
            seen = self._seen[corpus]
            share = [n * source.rows // self._rows[corpus] for n in (seen, seen + frame.height)]
            judged = source.between(*share)
            self._seen[corpus] = seen + frame.height
        return cosent(frame, self._config, judged)

    def _state(self, given: Mapping[str, int]) -> dict[str, Any]:
        return {"mixer": self._mixer.state(), "seen": dict(self._seen), "given": dict(given)}


def _judged(build: Build, config: TrainConfig) -> dict[str, Judged]:
    found = {}
    for name in build.corpora:
        path = build.folder / "labelled" / f"{name}.parquet"
        if path.is_file() and build.data(name):
            scale = build.receipt["score"][name]["calibration"]["gold_scale"]
            found[name] = Judged(path, scale, config.seed)
    return {name: judged for name, judged in found.items() if judged.rows}
