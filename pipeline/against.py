"""A build that stands: what a new build is compared with, and what it leaves as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BuildError
from pipeline.manifest.corpus import Corpus


@dataclass(frozen=True)
class Standing:
    """One corpus of the standing build: its data shards, and how its records may be compared."""

    corpus: str
    shards: tuple[Path, ...]
    symmetric: bool
    near: bool
    code_sides: frozenset[str]

    @property
    def known_as(self) -> str:
        """Its name among the corpora that are being built, none of which can have it."""
        return f"against/{self.corpus}"


@dataclass(frozen=True)
class Against:
    """A build folder, told apart by the sha256 of its receipt."""

    folder: Path
    key: str
    corpora: tuple[Standing, ...]

    @classmethod
    def open(cls, folder: Path, manifests: Mapping[str, Corpus]) -> Against:
        """The build in `folder`; a corpus that no manifest tells of is taken as not symmetric, near and no code.

        Raises BuildError where there is no build, or no record in it.
        """
        receipt = folder / "build.json"
        if not receipt.is_file():
            raise BuildError(
                str(folder), "it holds no build.json, so it is no build", "give --against a build's folder"
            )
        found = []
        for home in sorted(path for path in (folder / "data").glob("*") if path.is_dir()):
            known = manifests.get(home.name)
            shards = tuple(sorted(home.resolve().glob("train-*.parquet")))
            flags = (
                (known.symmetric, known.near, frozenset(known.code_sides)) if known else (False, True, frozenset[str]())
            )
            found.append(Standing(home.name, shards, *flags))
        if not found:
            raise BuildError(str(folder), "the build holds no data", "give --against a build with records")
        return cls(folder, hashlib.sha256(receipt.read_bytes()).hexdigest(), tuple(found))

    def told(self) -> list[object]:
        """What of it decides an output."""
        return [self.key, [[c.corpus, c.symmetric, c.near, sorted(c.code_sides)] for c in self.corpora]]
