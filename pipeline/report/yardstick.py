"""How good the negatives of a build are, in numbers: one row per corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

#: Column -> its meaning, in the order of the table.
COLUMNS = {
    "corpus": "",
    "records": "records of the build",
    "negatives": "all of them: shipped, labelled and mined",
    "fill": "share of the negatives asked for that are there",
    "hardness": "0: as far as a random pair, 1: as near as the positive",
    "first rank": "median rank of the first mined negative among all that may be one",
    "false": "share of negatives that are known matches, where all matches but one were hidden from the search",
    "judged": "negatives on which that share rests",
}


def yardstick_rows(receipt: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per corpus of a build with scores, as numbers; None where there is nothing to measure."""
    rows = []
    for corpus, score in receipt["score"].items():
        hidden = receipt["mine"][corpus].get("false_negatives") or {}
        told = (
            corpus,
            score["records"],
            sum(score["negatives"].values()),
            score["fill"],
            score["hardness"],
            score["median_first_rank"],
            hidden.get("rate"),
            hidden.get("negatives"),
        )
        rows.append(dict(zip(COLUMNS, told, strict=True)))
    return rows


def yardstick_table(receipt: Mapping[str, Any]) -> Table:
    """The same for a terminal."""
    table = Table(title="negatives", title_justify="left", header_style="bold", pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "corpus" else "right", no_wrap=True)
    shapes = {"fill": "{:.1%}", "hardness": "{:.2f}", "false": "{:.2%}"}
    for row in yardstick_rows(receipt):
        table.add_row(
            *("–" if v is None else shapes.get(k, "{:,}" if k != "corpus" else "{}").format(v) for k, v in row.items())
        )
    return table
