"""The funnel as a table for a terminal: rows in, what each stage took, records out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.ledger import STAGES, Funnel, total

#: From this width on every reason of dedupe gets a column of its own, and rows are told beside records; under the
#: other there is no room for the bar.
WIDE, NARROW = 120, 100
EIGHTHS = " ▏▎▍▌▋▊▉█"


def funnel_table(funnels: Sequence[Funnel], title: str, width: int) -> Table:
    """One line per corpus and a total; the bar shows the share of converted records that is kept."""
    columns = _columns(funnels, width >= WIDE)
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("corpus", overflow="ellipsis", no_wrap=True, min_width=12)
    for name, _ in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept", justify="right", no_wrap=True)
    with_bar = width >= NARROW
    if with_bar:
        table.add_column("", no_wrap=True)
    for funnel in funnels:
        table.add_row(funnel.corpus, *_cells(funnel, columns, with_bar), end_section=funnel is funnels[-1])
    whole = total(funnels)
    table.add_row("all", *_cells(whole, columns, with_bar), style="bold")
    if whole.licences:
        table.caption, table.caption_justify = use_line(whole.licences), "left"
    return table


def use_line(licences: Mapping[str, int]) -> str:
    """How many records may be used commercially, in one line; keys as `CC0-1.0 (allowed)`.

    >>> use_line({"CC0-1.0 (allowed)": 1500, "MIT (unknown)": 3, "CC-BY-4.0 (allowed)": 1})
    'commercial use: allowed 1,501 · unknown 3'
    """
    counts = dict.fromkeys(("allowed", "unknown", "forbidden"), 0)
    for name, n in licences.items():
        use = name[name.rindex("(") + 1 : -1]
        counts[use] = counts.get(use, 0) + n
    return "commercial use: " + " · ".join(f"{use} {n:,}" for use, n in counts.items() if n)


Column = tuple[str, Callable[[Funnel], int]]


def _columns(funnels: Sequence[Funnel], wide: bool) -> list[Column]:
    columns: list[Column] = [("records", lambda f: f.converted)]
    if wide:
        columns = [("rows", lambda f: f.read), ("filtered", lambda f: f.filtered), *columns]
    if any(f.quarantined for f in funnels):
        columns.insert(-1, ("bad", lambda f: f.quarantined))
    short = {"decontaminate": "leaked", "dedupe": "duplicate"}
    for stage in (stage for stage in STAGES if any(f.at(stage) for f in funnels)):
        if stage == "dedupe" and wide:
            reasons = sorted({reason for f in funnels for reason in f.removed.get(stage, {})})
            columns += [(reason.removesuffix("_duplicate"), partial(_removed, stage, reason)) for reason in reasons]
        else:
            columns.append((short.get(stage, stage), partial(_removed, stage, None)))
    return columns


def _removed(stage: str, reason: str | None, funnel: Funnel) -> int:
    return funnel.at(stage) if reason is None else funnel.removed.get(stage, {}).get(reason, 0)


def _cells(funnel: Funnel, columns: Sequence[Column], with_bar: bool) -> list[str | Text]:
    share = funnel.kept / funnel.converted if funnel.converted else 0.0
    counts = [f"{count(funnel):,}" if count(funnel) else "·" for _, count in columns]
    return [*counts, f"{funnel.kept:,}", *([_bar(share)] if with_bar else [])]


def _bar(share: float, width: int = 8) -> Text:
    # Rounded down: a full bar means that nothing was removed.
    eighths = int(share * width * 8)
    full = "█" * (eighths // 8) + (EIGHTHS[eighths % 8] if eighths % 8 else "")
    return Text(f"{full:<{width}}", style="green on grey23") + Text(f" {share:6.1%}")
