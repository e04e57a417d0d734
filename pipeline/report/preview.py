"""A look at the pairs of a build: an even sample of each corpus, for the eye."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pipeline.errors import UsageError
from pipeline.report.opened import Build
from pipeline.report.samples import even_rows


def preview(build: Build, corpus: str | None = None, n: int = 5) -> Iterator[tuple[str, pl.DataFrame]]:
    """Per corpus, `n` kept records at even distances (the same ones every time): text, text_pos, text_neg, prompt, licence.

    Raises UsageError for a corpus that the build does not hold.
    """
    if corpus is not None and corpus not in build.corpora:
        raise UsageError(
            str(build.folder),
            f"corpus {corpus} is not part of this build",
            f"choose one of: {', '.join(build.corpora)}",
        )
    for name in [corpus] if corpus else build.corpora:
        columns = ("record_id", "text", "text_pos", "text_neg", "prompt", "licence_id", "commercial")
        yield name, even_rows(build.data(name), columns, n)
