"""Many corpora as one stream of batches: weights, order, and a position to go on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import BuildError
from pipeline.manifest.settings import MixConfig
from pipeline.mix.windows import Position, Stream

#: Rows that a window holds at least, in batches, so that packing has a choice.
LEAST_BATCHES = 16


@dataclass(frozen=True)
class Batch:
    """Records to train on together: one corpus, one length bucket, no two of one group."""

    corpus: str
    bucket: int
    table: pa.Table


class Mixer:
    """Batches of a build, epoch by epoch; the same seed gives the same batches in the same order.

    `data` maps corpus to the parquet shards of a build (`data/<corpus>/train-*.parquet`), `columns` are those that
    batches carry. Memory is a window per corpus, whatever the size of the build.

    Raises BuildError where a shard lacks a column or nothing is left to train on.
    """

    def __init__(
        self, data: Mapping[str, Sequence[Path]], config: MixConfig, columns: Sequence[str] = ("text", "text_pos")
    ) -> None:
        self._config, self._columns, self._data = config, columns, {name: list(data[name]) for name in sorted(data)}
        if unknown := sorted(set(config.caps) - set(data)):
            raise BuildError("caps", f"there is no corpus {', '.join(unknown)}", f"choose among: {', '.join(data)}")
        self._streams = self._opened({})
        self.epoch, self._given = 0, dict.fromkeys(self._streams, 0)
        if not self._streams:
            raise BuildError("the build", "it has no record to train on", "give a build that kept some")

    def _opened(self, positions: Mapping[str, Position]) -> dict[str, Stream]:
        rows = {name: Stream(name, 0, paths, [], self._config, 1).rows for name, paths in self._data.items()}
        rows = {name: n for name, n in rows.items() if n}
        whole = max(1, sum(rows.values()))
        least = LEAST_BATCHES * self._config.batch
        return {
            name: Stream(
                name,
                number,
                self._data[name],
                self._columns,
                self._config,
                max(least, self._config.window_rows * n // whole),
                positions.get(name),
            )
            for number, (name, n) in enumerate(rows.items())
        }

    @property
    def targets(self) -> dict[str, int]:
        """Rows per corpus and epoch."""
        config = self._config
        rows = {name: stream.rows for name, stream in self._streams.items()}
        weights = {name: n**config.power for name, n in rows.items()}
        share = sum(rows.values()) / sum(weights.values())
        told = {name: n if config.power == 1 else round(weights[name] * share) for name, n in rows.items()}
        return {
            name: max(1, min(n, int(rows[name] * config.repeats), config.caps.get(name, n))) for name, n in told.items()
        }

    def batches(self) -> Iterator[Batch]:
        """The rest of the current epoch. Then `epoch` is one more, and calling again gives the next."""
        live = {name: stream.batches() for name, stream in self._streams.items()}
        names, targets = list(live), self.targets
        left = np.array([targets[name] - self._given[name] for name in names], np.float64)
        while (left > 0).any():
            # The draw depends on what is given, not on how often this ran: a position taken up again draws the same.
            draw = np.random.default_rng([self._config.seed, self.epoch, sum(self._given.values())]).random()
            odds = np.cumsum(np.maximum(left, 0))
            i = int(np.searchsorted(odds, draw * odds[-1], side="right"))
            bucket, table = next(live[names[i]])
            self._given[names[i]] += table.num_rows
            left[i] -= table.num_rows
            yield Batch(names[i], bucket, table)
        self.epoch, self._given = self.epoch + 1, dict.fromkeys(names, 0)

    def state(self) -> dict[str, Any]:
        """Where the mixer stands: plain JSON, a few kilobytes. Ask between batches."""
        # Shallow: `carry` may hold many rows, and a stream replaces it instead of changing it.
        positions = {name: dict(vars(stream.position)) for name, stream in self._streams.items()}
        return {"epoch": self.epoch, "given": dict(self._given), "positions": positions}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken: the same data and settings then give the same next batch.

        Raises BuildError where the state is of other corpora.
        """
        if set(state["positions"]) != set(self._streams):
            raise BuildError("the position", "it is of other corpora than this build", "start the training anew")
        self._streams = self._opened({name: Position(**told) for name, told in state["positions"].items()})
        self.epoch, self._given = state["epoch"], dict(state["given"])
