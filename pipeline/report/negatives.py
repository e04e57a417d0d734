"""Hard negatives for the eye: texts with their positive and negatives, and what a cut is like, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from rich import box
from rich.markup import escape
from rich.table import Table

from pipeline.errors import UsageError
from pipeline.report.opened import Build
from pipeline.report.samples import even_rows

#: Characters of a text that are shown.
SHOWN = 120
#: Records that a showcase is chosen from.
LOOKED = 16_384
COLUMNS = ("text", "text_pos", "score_pos", "calibrated_pos", "licence_id", "commercial", "neg")
#: How terms look: what may not be used freely stands out.
COLOURS = {"allowed": "green", "unknown": "yellow", "forbidden": "red"}


def has_scores(build: Build) -> bool:
    return "score" in build.receipt


def negatives_view(build: Build, n: int = 3, corpus: str | None = None) -> list[Table]:
    """Per corpus, `n` texts at even distances (the same ones every time), each with its positive and its negatives.

    Raises UsageError for a build without scores, or a corpus that it does not hold.
    """
    if not has_scores(build):
        raise UsageError(str(build.folder), "this build has no scores", "give one of a recipe with a base")
    scored = [name for name in build.corpora if name in build.receipt["score"]]
    if corpus is not None and corpus not in scored:
        cure = f"choose one of: {', '.join(scored)}"
        raise UsageError(str(build.folder), f"corpus {corpus} has no records in this build", cure)
    return [_view(corpus, _samples(build, corpus, n)) for corpus in ([corpus] if corpus else scored)]


def showcase(build: Build, n: int = 3) -> Table:
    """What hard negatives look like, in `n` texts: of the corpus with the most candidates, where the search had a choice,
    such whose negatives lie nearest, a fortieth of its records apart. The first LOOKED records are looked at.
    """
    mined = build.receipt["mine"]
    corpus = max((name for name in build.corpora if name in mined), key=lambda name: int(mined[name]["candidates"]))
    frame = pl.scan_parquet(build.data(corpus)).select(COLUMNS).head(LOOKED).collect()
    near = pl.col("neg").list.eval(pl.element().struct.field("score")).list.mean()
    frame = frame.filter(pl.col("neg").list.len() > 0).with_columns(near=near).sort("near", descending=True)
    frame = frame.unique("text", keep="first", maintain_order=True)
    return _view(corpus, [frame.row((k + 1) * frame.height // 40, named=True) for k in range(min(n, frame.height))])


def _view(corpus: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(
        title=f"{corpus}: texts, positives and hard negatives",
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        expand=True,
    )
    table.add_column("", no_wrap=True)
    table.add_column("text", ratio=1, overflow="fold")
    for name in ("score", "calibrated", "rank"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("licence", no_wrap=True)
    for row in rows:
        table.add_row("text", _cut(row["text"]), "", "", "", "", style="bold")
        # The name is the text's own licence, the colour what the record with its negatives may be used for.
        licence = f"[{COLOURS[row['commercial']]}]{escape(row['licence_id'])}[/]"
        scores = _score(row["score_pos"]), _score(row["calibrated_pos"])
        table.add_row("positive", _cut(row["text_pos"]), *scores, "", licence, style="green")
        for i, neg in enumerate(row["neg"]):
            scores = _score(neg["score"]), _score(neg["calibrated"])
            rank = "" if neg["rank"] is None else str(neg["rank"])
            is_last = i == len(row["neg"]) - 1
            table.add_row(
                neg["origin"], _cut(neg["text"]), *scores, rank, escape(neg["licence_id"]), end_section=is_last
            )
        if not row["neg"]:
            table.add_row("", "(no negative is eligible under the rule)", "", "", "", "", style="dim", end_section=True)
    return table


def _samples(build: Build, corpus: str, n: int) -> list[dict[str, Any]]:
    return even_rows(build.data(corpus), COLUMNS, n).to_dicts()


def cut_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    """What a cut is like, corpus by corpus, before and after: fill, hardness, median rank of the first mined one."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("corpus", no_wrap=True, overflow="ellipsis")
    for name in ("records", "negatives", "fill", "hardness", "first rank"):
        table.add_column(name, justify="right", no_wrap=True, min_width=15 if name == "fill" else None)
    for corpus, new in after.items():
        old = before[corpus]
        negatives = [f"{sum(one['negatives'].values()):,}" for one in (old, new)]
        fill = [f"{one['fill']:.1%}" for one in (old, new)]
        hardness = ["-" if one["hardness"] is None else f"{one['hardness']:.3f}" for one in (old, new)]
        first = ["-" if one["median_first_rank"] is None else str(one["median_first_rank"]) for one in (old, new)]
        changes = (f"{a} → {b}" for a, b in (negatives, fill, hardness, first))
        table.add_row(corpus, f"{new['records']:,}", *changes)
    return table


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return escape(text if len(text) <= SHOWN else text[:SHOWN] + "…")
