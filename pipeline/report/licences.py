"""The table of licences: what every corpus and sub-source may be used for, and where that was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipeline.errors import UsageError
from pipeline.licence import Evidence, Policy, Terms, stale_evidence, under
from pipeline.manifest.catalog import Catalog
from pipeline.report.corpora import COLOURS


def licence_rows(catalog: Catalog, names: Sequence[str] = (), today: date | None = None) -> list[dict[str, Any]]:
    """One plain object per licence block: those of the corpora (all, or the named ones) and of their sub-sources.

    `commercial` is what the manifest says, `by_default` what is left of it under a recipe that accepts no generator's
    terms. `stale_days`, where `today` is given: per piece of evidence its age in days once it is over a year, else null.

    Raises UsageError for a name that no corpus has.
    """
    if unknown := sorted(set(names) - catalog.corpora.keys()):
        raise UsageError("licences", f"there is no corpus {', '.join(unknown)}", "run: m3e licences")
    wanted = sorted(names or catalog.corpora)
    return [row for name in wanted for row in _rows(catalog, name, today)]


def stale_problems(catalog: Catalog, today: date) -> Iterator[str]:
    """A sentence for every piece of evidence over a year old, with the line of the day it was read."""
    for name, corpus in sorted(catalog.corpora.items()):
        blocks: list[tuple[tuple[str | int, ...], Terms]] = [(("licence",), corpus.licence)]
        blocks += [(("licence", "sub_sources", sub), terms) for sub, terms in corpus.licence.sub_sources.items()]
        for key, terms in blocks:
            for number, days in stale_evidence(terms, today):
                told = f"was read {days} days ago; read it again and give the new day"
                yield str(catalog.documents[f"corpora/{name}"].problem((*key, "evidence", number, "read"), told))


def licence_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The same for people: what binds under the licence, what speaks against it under the evidence. Fits 120 columns."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    table.add_column("corpus", no_wrap=True, max_width=20)
    table.add_column("licence", overflow="fold", max_width=27)
    for name in ("commercial", "pass on", "sure"):
        table.add_column(name, no_wrap=True)
    table.add_column("read in", overflow="fold", ratio=1)
    last = None
    for row in rows:
        name = f"  · {row['sub_source']}" if row["corpus"] == last and row["sub_source"] else row["corpus"]
        last = row["corpus"]
        uses = [f"[{COLOURS[use]}]{use}[/]" for use in row["by_default"].values()]
        table.add_row(escape(name), _licence(row), *uses, row["confidence"], _read_in(row))
    return table


def licence_page(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """Every block in full, quotes included: for a few corpora, or for the whole record on paper."""
    parts: list[RenderableType] = []
    for row in rows:
        head = row["corpus"] + (f" / {row['sub_source']}" if row["sub_source"] else "")
        parts.append(Text(head, style="bold"))
        told = Table.grid(padding=(0, 2))
        told.add_column(style="dim", no_wrap=True)
        told.add_column(overflow="fold")
        for label, value in _lines(row):
            told.add_row(label, value)
        for number, evidence in enumerate(row["evidence"]):
            told.add_row("evidence", Text(_place(evidence) + f", read {evidence['read']}") + _stale(row, number))
            told.add_row("", Text(f"“{evidence['quote']}”", style="italic"))
        parts += [Padding(told, (0, 0, 1, 2))]
    return Group(*parts)


def place_told(evidence: Evidence) -> str:
    """Where a term was read, short enough for a table: seven digits of the commit, forty characters of an address.

    >>> place_told(Evidence(repo="a/b", commit="0" * 40, file="LICENSE", read="2026-01-01", quote="MIT"))
    'a/b 0000000 LICENSE'
    """
    commit = (evidence.commit or "")[:7]
    address = (evidence.url or "").removeprefix("https://")
    address = address if len(address) <= 40 else address[:39] + "…"
    return " ".join(part for part in (evidence.repo, commit, address, evidence.document, evidence.file) if part)


def _rows(catalog: Catalog, name: str, today: date | None) -> Iterator[dict[str, Any]]:
    corpus = catalog.corpora[name]
    blocks: list[tuple[str, Terms]] = [("", corpus.licence), *corpus.licence.sub_sources.items()]
    for sub_source, terms in blocks:
        plain = under(terms, Policy())
        stale = dict(stale_evidence(terms, today)) if today else {}
        yield {
            "corpus": name,
            "sub_source": sub_source,
            "enabled": corpus.enabled,
            **terms.model_dump(mode="json", exclude={"sub_sources"}),
            "by_default": {"commercial": plain.commercial.value, "redistribute": plain.redistribute.value},
            "stale_days": [stale.get(i) for i in range(len(terms.evidence))],
        }


def _licence(row: dict[str, Any]) -> Text:
    """The licence; below it whatever else binds: rights underneath, share-alike, a generator's terms, personal data."""
    told = Text(row["spdx"].removeprefix("LicenseRef-"))
    made = row["generator"]
    more = [
        *([f"over {', '.join(i.removeprefix('LicenseRef-') for i in row['underlying'])}"] if row["underlying"] else []),
        *(["share alike"] if row["share_alike"] else []),
        *([f"by {made['model']}: {made['terms']}"] if made else []),
        *(["personal data"] if row["personal_data"] in ("present", "pseudonymous") else []),
    ]
    return told.append("".join(f"\n{line}" for line in more), style="dim")


def _read_in(row: dict[str, Any]) -> Text:
    told = Text()
    for number, evidence in enumerate(row["evidence"]):
        told.append("\n" if told else "")
        told.append(f"{place_told(Evidence.model_validate(evidence))} {evidence['read']}")
        told.append_text(_stale(row, number))
    if not row["evidence"]:
        told.append("own text" if row["basis"] == "own" else "nothing seen", style="dim")
    if row["conflict"]:
        told.append(f"\nbut: {row['conflict']}", style="yellow")
    return told


def _stale(row: dict[str, Any], number: int) -> Text:
    days = row["stale_days"][number]
    return Text(f" ({days} days old)", style="yellow") if days else Text()


def _lines(row: dict[str, Any]) -> Iterator[tuple[str, RenderableType]]:
    yield "licence", Text(row["spdx"])
    if row["underlying"]:
        yield "underlying text", Text(", ".join(row["underlying"]))
    for label, use in zip(("commercial use", "passing on"), row["by_default"].values(), strict=True):
        yield label, f"[{COLOURS[use]}]{use}[/]"
    yield "share alike", "yes" if row["share_alike"] else "no"
    if row["attribution"]:
        yield "to be named", Text(row["attribution"])
    if row["generator"]:
        made = row["generator"]
        yield "written by", Text(f"{made['model']} ({made['provider']}; terms: {made['terms']})")
    yield "personal data", row["personal_data"]
    yield "confidence", row["confidence"]
    if row["basis"] == "own":
        yield "basis", "own text"
    for label, key in (("conflict", "conflict"), ("note", "note")):
        if row[key]:
            yield label, Text(row[key], style="yellow" if key == "conflict" else "")


def _place(evidence: dict[str, Any]) -> str:
    repo = f"{evidence['repo']}@{evidence['commit']}" if evidence["repo"] else None
    return ", ".join(p for p in (repo, evidence["url"], evidence["document"], evidence["file"]) if p)
