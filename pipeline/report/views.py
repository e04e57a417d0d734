"""Records for the eye, in a terminal: what became of one, with its duplicate beside it, and the pairs of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.report.difference import Run, difference
from pipeline.report.explain import Fate
from pipeline.report.negatives import COLOURS
from pipeline.report.words import meaning

#: Characters of a text that are shown.
SHOWN = 300
#: How what differs looks, on the removed and on the kept side.
GONE, STAYS = "bold red", "bold green"


def fate_view(fate: Fate) -> Panel:
    """What became of a record, its reason in words, and the kept record beside it with what differs in colour."""
    parts: list[RenderableType] = []
    if fate.reason and (words := meaning(fate.reason)[0]):
        parts.append(Text(f"Why: {words}."))
    if fate.benchmark:
        parts.append(Text.assemble("Benchmark: ", (fate.benchmark, "bold")))
    for flag in fate.flags if fate.kept else ():
        told = meaning(flag)[0]
        parts.append(Text(f"Flag {flag}" + (f": {told}" if told else ""), "yellow"))
    if fate.sides:
        parts.append(Text.assemble("Similarity: text ", _bar(fate.sides[0]), ", text_pos ", _bar(fate.sides[1])))
    if fate.pair is None:
        parts.append(Text("Its text is no longer in the store: build again to see it.", "dim"))
    else:
        parts.append(Padding(_beside(fate, fate.pair), (1, 0, 0, 0)))
    state = Text(" kept " if fate.kept else f" removed by {fate.stage} ", "bold green" if fate.kept else "bold red")
    return Panel(
        Group(*parts), title=state, title_align="left", border_style="green" if fate.kept else "red", box=box.ROUNDED
    )


def pairs_view(name: str, title: str, rows: Sequence[dict[str, Any]]) -> Panel:
    """Kept records of one corpus: text, positive, shipped negatives, prompt, licence, id."""
    parts = [part for i, row in enumerate(rows) for part in _pair(row, first=i == 0)]
    head = Text.assemble(" ", (name, "bold"), f" {title} " if title != name else " ")
    return Panel(
        Group(*parts) if parts else Text("nothing was kept", "dim"), title=head, title_align="left", box=box.ROUNDED
    )


def _pair(row: dict[str, Any], *, first: bool) -> Iterator[RenderableType]:
    if not first:
        yield Text("")
    yield Text(_cut(row["text"]), "bold")
    yield _marked("→", "green", row["text_pos"])
    for negative in row["text_neg"]:
        yield _marked("≠", "red", negative)
    told = [row["record_id"], *([row["prompt"]] if row["prompt"] else [])]
    yield Text.assemble(("  " + "  ".join(told) + "  ", "dim"), (row["licence_id"], COLOURS[row["commercial"]]))


def _marked(sign: str, style: str, text: str) -> Table:
    """A text behind a sign, its lines in one column."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    grid.add_row(Text(sign, style), Text(_cut(text)))
    return grid


def _beside(fate: Fate, pair: tuple[str, str]) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", expand=True)
    if fate.other is None:
        grid.add_column("this record", ratio=1, overflow="fold")
        grid.add_row(Text(_cut(pair[0]) or "(empty)", "bold"))
        grid.add_row(Text(_cut(pair[1]) or "(empty)"))
        return grid
    corpus, *kept = fate.other
    grid.add_column(f"removed · {fate.corpus}", ratio=1, overflow="fold")
    grid.add_column(f"kept · {corpus}" + (", sides exchanged" if _swapped(fate) else ""), ratio=1, overflow="fold")
    for left, right in zip(pair, kept[::-1] if _swapped(fate) else kept, strict=True):
        ours, theirs = difference(left, right, SHOWN)
        grid.add_row(_drawn(ours, GONE), _drawn(theirs, STAYS))
        grid.add_row("", "")
    return grid


def _swapped(fate: Fate) -> bool:
    return fate.reason == "swapped_duplicate"


def _drawn(runs: Sequence[Run], style: str) -> Text:
    return Text.assemble(*((run.text, f"{style} underline" if run.differs else "") for run in runs))


def _bar(share: float, width: int = 10) -> Text:
    full = int(share * width)
    return Text.assemble(("━" * full, "green"), ("━" * (width - full), "dim"), f" {share:.3f}")


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
