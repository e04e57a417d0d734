"""Publish a build, or a trained model, to the Hub as one honest commit.

editions, cut, release   what goes there: files of the build, or such as the terms of their rows allow
model                    the same for the folder of a model
gates                    what must hold in the build before a byte is sent
plan                     what a push would do to what a repository holds
hub, errors, push        doing it, whole or not at all
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.manifest.catalog import Catalog
from pipeline.publish.editions import ROWS
from pipeline.publish.model import model_release
from pipeline.publish.plan import Plan, Release, Remote
from pipeline.publish.push import Pushed, Target, look, push
from pipeline.publish.release import make_release
from pipeline.report.opened import open_build
from pipeline.store import Store

__all__ = [
    "Plan",
    "Pushed",
    "Release",
    "Remote",
    "Target",
    "look",
    "make_release",
    "model_release",
    "push",
    "release_of",
]


def release_of(
    build: Path | None, model: Path | None, repo: str, edition: str | None, store: Path, catalog: Callable[[], Catalog]
) -> Release:
    """The release of a build or of a model, as they are named in words. Raises UsageError where the words do not fit."""
    if (build is None) == (model is None):
        raise UsageError("m3e publish", "it takes a build or --model", "give one of the two")
    if model is not None:
        if edition is not None:
            raise UsageError(f"--edition {edition}", "a model has no editions", "leave it out")
        return model_release(model)
    if edition not in (None, *ROWS):
        raise UsageError(f"--edition {edition}", "there is no such edition", f"choose one of: {', '.join(ROWS)}")
    assert build is not None
    return make_release(open_build(build), catalog(), repo, edition, Store(store))
