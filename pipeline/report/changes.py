"""A diff of two builds for the terminal, and in the data voice of the changelog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.report.diff import Change, Diff

#: Differences of settings, sources and licences that are listed before `and N more`.
LISTED = 12


def diff_view(told: Diff) -> Group:
    """One line per corpus that differs, then what else does."""
    first, second = (build.folder for build in told.builds)
    table = Table(title=f"{first} → {second}", title_justify="left", header_style="bold", pad_edge=False)
    names = ("corpus", "kept", "", "in", "out", "moved", "rewritten", "other terms", "another reason", "why out")
    for name in names:
        table.add_column(name, justify="left" if name in ("corpus", "why out") else "right", overflow="fold")
    differing = [change for change in told.changes if not change.is_none]
    for change in differing:
        table.add_row(*_cells(change))
    whole = summed(told.changes)
    table.add_section()
    table.add_row(*_cells(whole))
    same = len(told.changes) - len(differing)
    lines = [f"{same} of {len(told.changes)} corpora are the same"] if same else []
    lines += [*_listed("setting", told.settings), *_listed("source", told.sources), *_listed("version", told.versions)]
    lines += [f"licence mix: {name}: {a:,} → {b:,}" for name, (a, b) in told.licences.items()]
    lines += [f"benchmark text removed: {name}: {a:,} → {b:,}" for name, (a, b) in told.leaks.items()]
    return Group(table, Text("\n".join(lines), "dim"))


def summed(changes: Iterable[Change]) -> Change:
    """All corpora as one, named `all`."""
    whole = Change("all")
    for one in changes:
        whole.converted = (whole.converted[0] + one.converted[0], whole.converted[1] + one.converted[1])
        whole.kept = (whole.kept[0] + one.kept[0], whole.kept[1] + one.kept[1])
        for name in ("entered", "dropped", "moved", "judged", "terms"):
            getattr(whole, name).update(getattr(one, name))
        whole.rewritten += one.rewritten
    return whole


def changelog(told: Diff) -> str:
    """The entry under `### Data`: what someone who trained on the first build has to know of the second."""
    whole = summed(told.changes)
    recipe = told.builds[1].receipt["recipe"]["name"]
    before, after = whole.kept
    lines = [f"- `{recipe}`: {after:,} records, {_signed(after - before)} against {before:,}{_in_and_out(whole)}."]
    named = {change.corpus for change in told.changes if change.kept[0]}, {c.corpus for c in told.changes if c.kept[1]}
    for word, names in (("New corpora", named[1] - named[0]), ("Gone", named[0] - named[1])):
        if names:
            lines.append(f"- {word}: {', '.join(f'`{name}`' for name in sorted(names))}.")
    for change in sorted(told.changes, key=lambda c: (-abs(c.kept[1] - c.kept[0]), c.corpus)):
        if not change.is_none and all(change.kept):
            lines.append(f"- `{change.corpus}`: {change.kept[0]:,} → {change.kept[1]:,} records{_in_and_out(change)}.")
    if told.licences:
        mix = "; ".join(f"{name} {a:,} → {b:,}" for name, (a, b) in told.licences.items())
        lines.append(f"- Licence mix: {mix}.")
    if whole.terms:
        lines.append(f"- Other terms for records that stay: {_counts(whole.terms)}.")
    if told.leaks:
        leaks = "; ".join(f"{name} {a:,} → {b:,}" for name, (a, b) in told.leaks.items())
        lines.append(f"- Records removed for benchmark text: {leaks}.")
    if told.settings:
        changed = "; ".join(f"`{key}` {a!r} → {b!r}" for key, (a, b) in list(told.settings.items())[:LISTED])
        lines.append(f"- Settings: {changed}.")
    if len(lines) == 1 and whole.is_none:
        lines = [f"- `{recipe}`: no record changed."]
    return "### Data\n\n" + "\n".join(lines) + "\n"


def _cells(change: Change) -> list[str]:
    before, after = change.kept
    counts = (
        sum(change.entered.values()),
        sum(change.dropped.values()),
        sum(change.moved.values()),
        change.rewritten,
        sum(change.terms.values()),
        sum(change.judged.values()),
    )
    told = [f"{n:,}" if n else "·" for n in counts]
    return [change.corpus, f"{after:,}", _signed(after - before), *told, _counts(change.dropped)]


def _in_and_out(change: Change) -> str:
    told = []
    if change.entered:
        told.append(f"{sum(change.entered.values()):,} in")
    if change.dropped:
        told.append(f"{sum(change.dropped.values()):,} out ({_counts(change.dropped)})")
    if change.moved:
        told.append(f"{sum(change.moved.values()):,} of them kept by others now ({_counts(change.moved)})")
    if change.rewritten:
        told.append(f"{change.rewritten:,} rewritten")
    return f": {', '.join(told)}" if told else ""


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {n:,}" for name, n in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _signed(number: int) -> str:
    return f"{number:+,}" if number else "±0"


def _listed(word: str, differing: Mapping[str, tuple[Any, Any]]) -> list[str]:
    lines = [f"{word} {key}: {a} → {b}" for key, (a, b) in list(differing.items())[:LISTED]]
    more = len(differing) - len(lines)
    return [*lines, f"and {more} more"] if more else lines
