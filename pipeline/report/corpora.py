"""The table of corpora: what there is, how much, under which terms, from where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from pipeline.manifest.catalog import Catalog
from pipeline.manifest.corpus import Corpus, GdriveSource, HttpSource, HubSource, LocalSource

COLOURS = {"allowed": "green", "unknown": "yellow", "forbidden": "red"}


def corpus_rows(catalog: Catalog) -> list[dict[str, Any]]:
    """One plain object per corpus, in name order, for programs."""
    return [_row(corpus) for _, corpus in sorted(catalog.corpora.items())]


def corpus_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The same for people; rows are the seed's where it has the corpus, else the expected ones."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("corpus", "rows", "domain", "prompt", "licence", "commercial", "redistribute", "source"):
        table.add_column(name, justify="right" if name == "rows" else "left", no_wrap=name != "source")
    for row in rows:
        count = row["seed"]["rows"] if row["seed"] else (row["expect"] or {}).get("rows")
        use = [f"[{COLOURS[row[key]]}]{row[key]}[/]" for key in ("commercial", "redistribute")]
        name = row["name"] if row["enabled"] else f"{row['name']} (off)"
        rows_told = f"{count:,}" if count else "?"
        table.add_row(
            name, rows_told, row["domain"], row["prompt"], row["licence"], *use, f"{row['kind']} {row['source']}"
        )
    return table


def _row(corpus: Corpus) -> dict[str, Any]:
    hub = corpus.source if isinstance(corpus.source, HubSource) else None
    return {
        **corpus.model_dump(mode="json", include={"name", "title", "domain", "task", "prompt", "grade", "symmetric"}),
        **corpus.model_dump(mode="json", include={"enabled", "splits", "expect"}),
        "seed": {"rows": corpus.seed.rows} if corpus.seed else None,
        "licence": corpus.licence.spdx,
        "commercial": corpus.licence.commercial.value,
        "redistribute": corpus.licence.redistribute.value,
        "kind": corpus.source.kind,
        "source": _place(corpus),
        "locked": hub is not None and hub.revision is not None,
    }


def _place(corpus: Corpus) -> str:
    """Where a corpus comes from, in a word."""
    source = corpus.source
    if isinstance(source, HubSource):
        return source.repo
    if isinstance(source, LocalSource):
        return source.root
    if isinstance(source, HttpSource):
        return source.base
    if isinstance(source, GdriveSource):
        return ", ".join(source.ids)
    return source.url
