"""A finished build, opened for reading."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.ledger import Funnel


@dataclass(frozen=True)
class Build:
    """The folder of a build and its receipt."""

    folder: Path

    @cached_property
    def receipt(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.folder / "build.json").read_bytes())
        return told

    @cached_property
    def run(self) -> dict[str, Any]:
        """What is known of the run that made it: timings, and where the store lay. Empty when run.json is gone."""
        path = self.folder / "run.json"
        told: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
        return told

    @cached_property
    def funnels(self) -> list[Funnel]:
        return [Funnel(**told) for told in json.loads((self.folder / "funnel.json").read_bytes())["corpora"]]

    @property
    def leaks(self) -> list[dict[str, Any]]:
        """Benchmark text found in the whole build, by task and role."""
        told: list[dict[str, Any]] = json.loads((self.folder / "funnel.json").read_bytes())["benchmarks"]["all"]
        return told

    @property
    def corpora(self) -> list[str]:
        return [funnel.corpus for funnel in self.funnels]

    def data(self, corpus: str) -> list[Path]:
        return sorted((self.folder / "data" / corpus).glob("train-*.parquet"))


def open_build(folder: Path) -> Build:
    """The build in this folder, or the only one below it. Raises UsageError when there is none, or more than one."""
    if (folder / "build.json").is_file():
        return Build(folder)
    below = sorted(path.parent for path in folder.glob("*/build.json"))
    if len(below) == 1:
        return Build(below[0])
    cure = (
        f"give one of its builds: {', '.join(map(str, below))}" if below else "give the folder that `m3e build` printed"
    )
    raise UsageError(str(folder), "there is no finished build here (no build.json)", cure)
