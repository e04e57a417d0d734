"""What people see of an evaluation: the table of a terminal, and the chart."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

#: Under this width only those models of the published table that the seed itself made are shown.
WIDE = 120
FEW = ("m3e-small", "m3e-base")


def score_table(results: Mapping[str, Any], width: int) -> Table:
    """One line per task, the means of types below; beside them what others published, where the suite has that.

    A star marks tasks whose data the model was trained on.
    """
    others = _others(results)
    shown = [name for name in others if width >= WIDE or name in FEW]
    model = str(results["model"]["name"])
    title = f"{model} on {results['suite']}"
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("task", "type", "metric"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("score", *shown):
        table.add_column(name, justify="right", no_wrap=True)
    rows = results["scores"]
    for row in rows:
        beside = results["published"].get(row["task"], {}).get(row["metric"], {})
        task = Text(row["task"] + (" *" if row["trained_on"] else ""))
        scores = [row["score"], *(beside.get(other) for other in shown)]
        cells = _cells(scores)
        table.add_row(task, row["type"], row["metric"], *cells, end_section=row is rows[-1])
    for kind, mean in results["means"].items():
        told = f"mean of {mean['tasks']}"
        table.add_row(Text(kind), told, "", *_cells([mean["score"], *(mean["published"].get(o) for o in shown)]))
    notes = []
    if any(row["trained_on"] for row in rows):
        notes.append("* the model was trained on data of this task, or of its source")
    if others:
        notes.append(f"other columns: {results['published_source']}")
    if notes:
        table.caption, table.caption_justify = "\n".join(notes), "left"
    return table


def _cells(scores: list[float | None]) -> list[Text]:
    best = max(score for score in scores if score is not None)
    return [
        Text("" if score is None else f"{score:.4f}", style="bold" if score == best and len(scores) > 1 else "")
        for score in scores
    ]


def _others(results: Mapping[str, Any]) -> list[str]:
    told = (by_model for metrics in results["published"].values() for by_model in metrics.values())
    return list(dict.fromkeys(name for by_model in told for name in by_model))


def draw(results: Mapping[str, Any]) -> bytes:
    """Main scores as bars, published ones as ticks, as SVG."""
    import altair as alt

    model = str(results["model"]["name"])
    bars = [{"task": row["task"], "score": row["score"], "model": model} for row in results["scores"]]
    ticks = [
        {"task": row["task"], "score": score, "model": name}
        for row in results["scores"]
        for name, score in results["published"].get(row["task"], {}).get(row["metric"], {}).items()
    ]
    y = alt.Y("task:N", sort=None, title=None)
    chart: Any = alt.Chart({"values": bars}).mark_bar(opacity=0.75).encode(x=_x(alt), y=y)
    if ticks:
        colour = alt.Color("model:N", sort=None, title="published")
        marks = alt.Chart({"values": ticks}).mark_tick(thickness=3, size=14)
        chart = chart + marks.encode(x=_x(alt), y=y, color=colour)
    out = io.StringIO()
    chart.properties(width=560, title=f"{model} on {results['suite']}").save(out, format="svg")
    return out.getvalue().encode()


def _x(alt: Any) -> Any:
    return alt.X("score:Q", title="main score", scale=alt.Scale(domainMax=1))
