"""Small pictures as inline SVG: bars and histograms that need no script, no network and no font.

Colours are CSS classes of the page, so that light and dark share one picture. Every label is escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

#: A slice too thin to see is drawn this wide (of 100); the numbers beside it stay exact.
THINNEST = 0.6
WIDTH, HEIGHT, FLOOR = 360.0, 150.0, 128.0


@dataclass(frozen=True)
class Slice:
    """A part of a bar: its name, its CSS class, its count."""

    name: str
    css: str
    count: int


def stacked(slices: Sequence[Slice], whole: int, label: str) -> Markup:
    """One bar whose slices are shares of `whole`, which is its full width; hovering tells name and count.

    >>> print(stacked([Slice("kept", "kept", 3), Slice("near", "near", 1)], 4, "bq"))
    <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="bq: kept 3, near 1">...
    """
    drawn = [piece for piece in slices if piece.count]
    widths = [max(THINNEST, 100 * piece.count / whole) for piece in drawn]
    # Thin slices drawn wider may not push the last one out.
    scale = min(1.0, 100 / sum(widths)) if widths else 1.0
    parts, x = [], 0.0
    for piece, width in zip(drawn, widths, strict=True):
        parts.append(
            Markup('<rect class="{}" x="{:.2f}" width="{:.2f}" height="10"><title>{}</title></rect>').format(
                piece.css, x, width * scale, f"{piece.name}: {piece.count:,} ({piece.count / whole:.1%})"
            )
        )
        x += width * scale
    told = ", ".join(f"{piece.name} {piece.count:,}" for piece in drawn) or "nothing"
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(f"{label}: {told}", Markup("").join(parts))


def bar(count: int, most: int, css: str, label: str) -> Markup:
    """One bar, as long as `count` is of `most`."""
    width = max(THINNEST, 100 * count / most) if count else 0.0
    return Markup(
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="{}" width="{:.2f}" height="10"/></svg>'
    ).format(f"{label}: {count:,}", css, width)


def histogram(
    names: Sequence[str], series: Sequence[tuple[str, str, Mapping[str, int]]], label: str, *, every: int = 2
) -> Markup:
    """Columns over named bins, the series (name, CSS class, bin -> count) stacked; every n-th bin is labelled."""
    totals = [sum(counts.get(name, 0) for _, _, counts in series) for name in names]
    most = max(totals, default=0)
    if not most:
        return Markup('<p class="none">nothing to show</p>')
    step = WIDTH / len(names)
    parts: list[Markup] = []
    for i, name in enumerate(names):
        y = FLOOR
        for told, css, counts in series:
            if count := counts.get(name, 0):
                height = max(1.0, (FLOOR - 14) * count / most)
                y -= height
                parts.append(
                    Markup(
                        '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}</title></rect>'
                    ).format(css, i * step + 0.5, y, max(1.0, step - 1), height, f"{name}: {count:,} {told}")
                )
        if i % every == 0:
            parts.append(Markup('<text x="{:.1f}" y="{:.0f}">{}</text>').format((i + 0.5) * step, FLOOR + 14, name))
    peak = totals.index(most)
    # The number on the highest column stays inside the picture.
    x = min(max((peak + 0.5) * step, 24.0), WIDTH - 24)
    parts.append(Markup('<text class="peak" x="{:.1f}" y="10">{}</text>').format(x, f"{most:,}"))
    return Markup(
        '<svg class="histogram" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">'
        '<line x1="0" x2="{:.0f}" y1="{:.0f}" y2="{:.0f}"/>{}</svg>'
    ).format(WIDTH, HEIGHT, escape(label), WIDTH, FLOOR, FLOOR, Markup("").join(parts))
