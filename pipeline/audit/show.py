"""The result of an audit for a terminal, for a browser and for programs."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.audit.stage import SHOWN, Audit, Excerpt
from pipeline.errors import UsageError
from pipeline.rendering import environment

#: Findings of each kind that a terminal shows, and that JSON holds; a page shows SHOWN.
ON_TERMINAL, IN_JSON = 2, 1000
#: Kinds of findings by what they are about, in the order they are shown.
AREAS = {
    "malformed": "malformed rows",
    "benchmark_": "benchmark text",
    "corpus_overlap": "benchmark text",
    "exact_duplicate": "duplicates",
    "near_duplicate": "duplicates",
    "swapped_duplicate": "duplicates",
    "tombstone": "asked to be taken out",
    "negative_is_": "false negatives",
    "phone": "personal data",
    "id_card": "personal data",
    "email": "personal data",
    "bank_card": "personal data",
}


def area(kind: str) -> str:
    """What a finding is about; whatever no other area claims is a rule of quality.

    >>> area("benchmark_query"), area("markup")
    ('benchmark text', 'quality')
    """
    return next((name for start, name in AREAS.items() if kind.startswith(start)), "quality")


def summary(audit: Audit) -> str:
    """The result in one sentence."""
    rows = audit.rows["read"]
    if not audit.counts:
        return f"{rows:,} rows, {audit.rows['records']:,} pairs: nothing was found."
    grave = sum(n for kind, n in audit.counts.items() if audit.grave[kind])
    return (
        f"{rows:,} rows, {audit.rows['records']:,} pairs: {sum(audit.counts.values()):,} findings in "
        f"{audit.rows_hit:,} rows, {grave:,} of kinds that a build would remove."
    )


def compared(audit: Audit) -> list[str]:
    """What the file was held against, and what it was not."""
    lines = [audit.sides.sentence()]
    lines.append(f"benchmarks compared: {', '.join(audit.tasks) or 'none'}")
    if audit.missing:
        names = ", ".join(one.task for one in audit.missing[:8]) + (", ..." if len(audit.missing) > 8 else "")
        lines.append(f"not compared: {len(audit.missing)} ({names}): {audit.missing[0].why}")
    lines.append(f"build compared: {audit.build or 'none (--build)'}")
    lines += [
        f"repeats {n:,} records of licence {licence}: commercial use {use}, redistribution {again}"
        for licence, use, again, n in audit.licences
    ]
    return lines


def audit_view(audit: Audit) -> Group:
    """Kinds, counts and the first rows of each for the terminal."""
    table = Table(title=f"audit of {audit.file.name}", title_justify="left", header_style="bold", pad_edge=False)
    for name in ("about", "kind", "found", "for example"):
        table.add_column(name, justify="right" if name == "found" else "left", overflow="fold")
    last = ""
    for kind, n in _ordered(audit):
        lines = _of(audit, kind, ON_TERMINAL)
        about, style = area(kind), "red" if audit.grave[kind] else "yellow"
        table.add_row(
            about if about != last else "", Text(kind, style), f"{n:,}", Text("\n".join(map(_sentence, lines)))
        )
        last = about
    text = Text("\n".join(compared(audit)), "dim")
    return Group(*([table] if audit.counts else []), text, Text(summary(audit), "bold"))


def told(audit: Audit) -> dict[str, Any]:
    """Everything for programs, at most IN_JSON findings of each kind; `counts` is exact."""
    return {
        "file": str(audit.file),
        "sides": {name: list(v) if isinstance(v, tuple) else v for name, v in vars(audit.sides).items()},
        "rows": audit.rows,
        "rows_hit": audit.rows_hit,
        "counts": audit.counts,
        "findings": [line for kind, _ in _ordered(audit) for line in _of(audit, kind, IN_JSON)],
        "benchmarks": list(audit.tasks),
        "not_compared": [vars(one) for one in audit.missing],
        "build": str(audit.build) if audit.build else None,
        "licences": [
            dict(zip(("licence_id", "commercial", "redistribute", "rows"), one, strict=True)) for one in audit.licences
        ],
    }


def page(audit: Audit) -> str:
    """One HTML page without scripts, which needs no network."""
    kinds = [
        {"kind": kind, "about": area(kind), "n": n, "grave": audit.grave[kind], "lines": _of(audit, kind, SHOWN)}
        for kind, n in _ordered(audit)
    ]
    most = max(audit.counts.values(), default=1)
    return (
        _environment()
        .get_template("audit.html.jinja")
        .render(
            audit=audit,
            kinds=kinds,
            most=most,
            summary=summary(audit),
            compared=compared(audit),
            texts=partial(_texts, audit),
        )
    )


def write_findings(audit: Audit, path: Path) -> None:
    """All findings that were kept, as csv, jsonl or parquet by the name of the file."""
    match path.suffix:
        case ".csv":
            audit.findings.write_csv(path)
        case ".jsonl":
            audit.findings.write_ndjson(path)
        case ".parquet":
            audit.findings.write_parquet(path)
        case other:
            raise UsageError(str(path), f"findings cannot be written as '{other}'", "name it .csv, .jsonl or .parquet")


def _ordered(audit: Audit) -> list[tuple[str, int]]:
    places = list(dict.fromkeys(AREAS.values()))
    names = {**{name: at for at, name in enumerate(places)}, "quality": len(places)}
    return sorted(audit.counts.items(), key=lambda one: (names[area(one[0])], -one[1], one[0]))


def _of(audit: Audit, kind: str, most: int) -> list[dict[str, Any]]:
    return audit.findings.filter(pl.col("kind") == kind).head(most).to_dicts()


def _texts(audit: Audit, line: dict[str, Any]) -> dict[str, Any]:
    """What a page shows below a finding: the row, the negative it speaks of, and the row it names."""
    row: Excerpt | None = audit.excerpts.get(line["row"])
    _, _, place = line["side"].partition("negative ")
    is_there = row is not None and place and len(row.text_neg) >= int(place)
    _, _, named = line["other"].partition("row ")
    other = audit.excerpts.get(int(named)) if named and int(named) != line["row"] else None
    return {"row": row, "negative": row.text_neg[int(place) - 1] if row and is_there else None, "other": other}


def _sentence(line: dict[str, Any]) -> str:
    side = f", {line['side']}" if line["side"] else ""
    close = "" if line["similarity"] is None else f", similarity {line['similarity']:.3f}"
    return f"row {line['row']:,}{side}: {line['told']}{close}"


@cache
def _environment() -> jinja2.Environment:
    return environment(html=True, sentence=_sentence)
