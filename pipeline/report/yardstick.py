"""How good the negatives of a build are, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pipeline.card import YARDSTICK, yardstick_rows

_SHAPES = {"corpus": "{}", "fill": "{:.1%}", "hardness": "{:.2f}", "false": "{:.2%}"}


def yardstick_table(receipt: Mapping[str, Any]) -> Table:
    """A row per corpus; a dash where there is nothing to measure."""
    table = Table(title="negatives", title_justify="left", header_style="bold", pad_edge=False)
    for name in YARDSTICK:
        table.add_column(name, justify="left" if name == "corpus" else "right", no_wrap=True)
    for row in yardstick_rows(receipt):
        table.add_row(*("–" if v is None else _SHAPES.get(k, "{:,}").format(v) for k, v in row.items()))
    return table
