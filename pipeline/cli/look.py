"""Verbs that look at a build: explain, preview, report, sql."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipeline.cli.console import AsJson, app, cut, err, out, say


@app.command()
def explain(
    what: Annotated[str, typer.Argument(help="A record id (32 hex digits) or a text; none shows examples.")] = "",
    folder: Annotated[Path, typer.Option("--build", help="A build folder.")] = Path("build"),
    n: Annotated[int, typer.Option("-n", min=1, help="How many examples, one per reason.")] = 3,
) -> None:
    """Where a record went and why; what it duplicates."""
    from pipeline.report.explain import examples
    from pipeline.report.explain import explain as fates
    from pipeline.report.opened import open_build

    build = open_build(folder)
    for fate in fates(build, what) if what else examples(build, n):
        say(fate.sentence())
        for label, told in (("it reads", fate.pair), ("kept is ", fate.other[1:] if fate.other else None)):
            if told:
                line = f"  {label}: {cut(told[0], 80) or '(empty)'} → {cut(told[1], 120) or '(empty)'}".replace(
                    "\n", " "
                )
                say(line, style="dim")


@app.command()
def preview(
    folder: Annotated[Path, typer.Argument(help="A build folder.")],
    corpus: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Pairs per corpus.")] = 5,
) -> None:
    """Pairs of a build, for the eye."""
    from rich.markup import escape

    from pipeline.report.negatives import has_scores, negatives_view
    from pipeline.report.opened import open_build
    from pipeline.report.preview import preview as samples

    build = open_build(folder)
    if has_scores(build):
        for view in negatives_view(build, n, corpus):
            out.print(view)
        return
    for name, frame in samples(build, corpus, n):
        with_neg = bool(frame["text_neg"].list.len().sum())
        prompts = ", ".join(sorted(set(frame["prompt"]) - {""}))
        table = Table(
            title=f"{name}  {prompts}", title_justify="left", show_lines=True, header_style="bold", expand=True
        )
        for column in ("text", "text_pos", *(["text_neg"] if with_neg else [])):
            table.add_column(column, ratio=2, overflow="fold")
        for row in frame.iter_rows(named=True):
            told = [row["text"], row["text_pos"], *([" / ".join(row["text_neg"])] if with_neg else [])]
            table.add_row(*(escape(cut(text)) for text in told))
        out.print(table)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A build folder.")]) -> None:
    """Where the report page of a build lies, to open in a browser."""
    from pipeline.report.opened import open_build
    from pipeline.report.page import page_of

    say(page_of(open_build(folder)).resolve().as_uri())


@app.command()
def sql(
    folder: Annotated[Path, typer.Argument(help="A build folder.")],
    statement: Annotated[str, typer.Argument(help="One SELECT; none shows what there is to ask.")] = "",
    n: Annotated[int, typer.Option("-n", min=1, help="Rows of the table that is shown.")] = 40,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets: all rows, comma separated.")] = False,
) -> None:
    """Ask a build in SQL: data, labelled, ledger, evidence, edges, quarantine."""
    from pipeline.report.answers import answer_table, tables_table, write_csv, write_json
    from pipeline.report.opened import open_build
    from pipeline.report.sql import answer, tables

    build = open_build(folder)
    if not statement:
        out.print(tables_table(tables(build)))
        return
    with answer(build, statement) as told:
        if as_json or as_csv:
            (write_json if as_json else write_csv)(told, sys.stdout)
            return
        shown = list(islice(told.rows, n))
        out.print(answer_table(told.columns, shown))
        if next(told.rows, None) is not None:
            say(f"There are more rows than {n}: -n shows more, --csv and --json give all.", err, "dim")
