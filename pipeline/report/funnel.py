"""The funnel as a table for a terminal: rows in, what each stage took, records out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from pipeline.ledger import STAGES, Funnel, total


def funnel_table(funnels: Sequence[Funnel], title: str) -> Table:
    """One line per corpus and a total; the bar shows the share of converted records that is kept."""
    stages = [stage for stage in STAGES if any(f.at(stage) for f in funnels)]
    reasons = sorted({r for f in funnels for r in f.removed.get("dedupe", {})})
    table = Table(title=title, title_justify="left", header_style="bold", pad_edge=False)
    table.add_column("corpus", no_wrap=True)
    for name in ("rows", "filtered", "bad", "records"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages:
        for name in [r.removesuffix("_duplicate") for r in reasons] if stage == "dedupe" else [stage]:
            table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for funnel in [*funnels, total(funnels)]:
        cells: list[str | Text] = [funnel.corpus, _n(funnel.read), _n(funnel.filtered), _n(funnel.quarantined), _n(funnel.converted)]
        for stage in stages:
            taken = funnel.removed.get(stage, {})
            cells += [_n(taken.get(r, 0)) for r in reasons] if stage == "dedupe" else [_n(sum(taken.values()))]
        share = funnel.kept / funnel.converted if funnel.converted else 0.0
        cells += [_n(funnel.kept), _bar(share)]
        is_last = funnel is not funnels[-1] and funnel.corpus == "all"
        table.add_row(*cells, style="bold" if is_last else None, end_section=bool(funnels) and funnel is funnels[-1])
    return table


def _n(count: int) -> str:
    return f"{count:,}" if count else "·"


def _bar(share: float, width: int = 10) -> Text:
    full = round(share * width)
    return Text("█" * full + "░" * (width - full), style="green") + Text(f" {share:6.1%}")
