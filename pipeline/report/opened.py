"""A finished build, opened for reading."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.ledger import Funnel
from pipeline.licence import UseClass


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

    @property
    def has_scores(self) -> bool:
        return "score" in self.receipt

    def data(self, corpus: str) -> list[Path]:
        return sorted((self.folder / "data" / corpus).glob("train-*.parquet"))

    def ledger(self, corpus: str) -> Path:
        return self.folder / "ledger" / f"{corpus}.parquet"

    def evidence(self, corpus: str) -> Path:
        return self.folder / "evidence" / f"{corpus}.parquet"

    def texts(self, corpus: str) -> list[Path]:
        """Where the text of every converted record lies, removed ones too: in the store, while that is there; else empty."""
        paths = [Path(path) for path in self.run.get("text", {}).get(corpus, [])]
        return paths if all(path.exists() for path in paths) else []

    def about(self, corpus: str) -> dict[str, Any]:
        """What the receipt says of a corpus: title, kind of text, terms per part. A build of an older version says less."""
        told: dict[str, Any] = self.receipt.get("corpora", {}).get(corpus, {})
        return {"title": "", "domain": "", "task": "", "prompt": "", "script": "hans", "parts": {}} | told

    def free_parts(self, corpus: str) -> set[str]:
        """The sub-sources of a corpus whose texts may be passed on."""
        parts = self.about(corpus)["parts"]
        return {name for name, terms in parts.items() if terms["redistribute"] == UseClass.ALLOWED}


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
