"""Verbs that judge what others made, or two builds against each other: audit, diff."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import AsJson, Manifests, StoreAt, app, catalog_of, err, folders_of, names_of, out, say
from pipeline.errors import UsageError


@app.command()
def audit(
    file: Annotated[Path, typer.Argument(help="Pairs: csv, tsv, jsonl, a json array or parquet; gzip is fine.")],
    text: Annotated[str | None, typer.Option(help="The column of the text; else found by its name.")] = None,
    text_pos: Annotated[str | None, typer.Option("--text-pos", help="The column of the positive.")] = None,
    negatives: Annotated[
        list[str] | None, typer.Option("--negatives", help="A column of negatives; may be given several times.")
    ] = None,
    where: Annotated[str | None, typer.Option(help="Only rows that meet this SQL condition: \"label = '1'\".")] = None,
    build: Annotated[Path | None, typer.Option("--build", help="A build whose records are compared as well.")] = None,
    benchmarks: Annotated[str, typer.Option(help="Only these benchmarks or suites: a,b.")] = "",
    fetch: Annotated[bool, typer.Option("--fetch", help="Load benchmarks that are not on this disk.")] = False,
    page_at: Annotated[Path | None, typer.Option("--out", help="Write a page: report.html.")] = None,
    findings: Annotated[
        Path | None, typer.Option("--findings", help="Write every finding: a .csv, .jsonl or .parquet file.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where anything is found.")] = False,
    as_json: AsJson = False,
    store: StoreAt = Path(".m3e"),
    manifests: Manifests = None,
) -> None:
    """What is wrong with a file of pairs: benchmark text, duplicates, false negatives, malformed rows, personal data."""
    from pipeline.audit import Given
    from pipeline.audit import audit as look
    from pipeline.audit.show import audit_view, page, summary, told, write_findings
    from pipeline.disk import writable
    from pipeline.report.opened import open_build

    if findings is not None and findings.suffix not in (".csv", ".jsonl", ".parquet"):
        raise UsageError(str(findings), "findings are written as .csv, .jsonl or .parquet", "name it so")
    standing = None if build is None else open_build(build).folder
    given = Given(text, text_pos, tuple(negatives or ()), where)
    found = look(
        file,
        catalog_of(folders_of(manifests)),
        store,
        given,
        build=standing,
        benchmarks=names_of(benchmarks),
        fetch=fetch,
    )
    if page_at is not None:
        with writable(page_at.parent, "the page of the audit"):
            page_at.parent.mkdir(parents=True, exist_ok=True)
            page_at.write_text(page(found), "utf-8")
    if findings is not None:
        with writable(findings.parent, "the findings"):
            write_findings(found, findings)
    if as_json:
        sys.stdout.write(json.dumps(told(found), ensure_ascii=False, indent=1) + "\n")
    else:
        out.print(audit_view(found))
        for path in (page_at, findings):
            if path is not None:
                say(f"Written: {path}")
    if strict and found.counts:
        say(f"{summary(found)} (--strict)", err, "red")
        raise SystemExit(1)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="BUILD_A", help="The older build.")],
    second: Annotated[Path, typer.Argument(metavar="BUILD_B", help="The newer build.")],
    changelog: Annotated[bool, typer.Option("--changelog", help="As an entry of a changelog, in Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """What differs between two builds: records in, out and moved, their terms, benchmark text, settings, sources."""
    from pipeline.report.changes import changelog as entry
    from pipeline.report.changes import diff_view
    from pipeline.report.diff import diff as compare
    from pipeline.report.diff import open_two

    told = compare(*open_two(first, second))
    if as_json:
        sys.stdout.write(json.dumps(told.told(), ensure_ascii=False, indent=1, default=str) + "\n")
    elif changelog:
        sys.stdout.write(entry(told))
    else:
        out.print(diff_view(told))
