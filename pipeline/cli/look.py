"""Verbs that look at a build: explain, preview, report, sql."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import AsJson, app, err, out, say


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
    from pipeline.report.views import fate_view

    build = open_build(folder)
    for fate in fates(build, what) if what else examples(build, n):
        # The sentence as it is, for pipes and to be copied; below it what an eye wants.
        say(fate.sentence(), style="bold")
        out.print(fate_view(fate))


@app.command()
def preview(
    folder: Annotated[Path, typer.Argument(help="A build folder.")],
    corpus: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Pairs per corpus.")] = 5,
) -> None:
    """Pairs of a build, for the eye."""
    from pipeline.report.negatives import has_scores, negatives_view
    from pipeline.report.opened import open_build
    from pipeline.report.preview import preview as samples
    from pipeline.report.views import pairs_view

    build = open_build(folder)
    if has_scores(build):
        for view in negatives_view(build, n, corpus):
            out.print(view)
        return
    for name, frame in samples(build, corpus, n):
        out.print(pairs_view(name, build.about(name)["title"], frame.to_dicts()))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A build folder.")],
    show_all: Annotated[bool, typer.Option("--show-all", help="With texts that may not be passed on.")] = False,
    lang: Annotated[str, typer.Option(help="The language it opens in: en or zh.")] = "en",
    target: Annotated[Path | None, typer.Option("--out", help="Where the page goes; into the build's folder.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Make the report page of a build, and tell where it lies."""
    from pipeline.report.opened import open_build
    from pipeline.report.page import write_page

    page = write_page(open_build(folder), show_all=show_all, lang=lang, to=target).resolve().as_uri()
    say(page)
    if show:
        import webbrowser

        if not webbrowser.open(page):
            say("No browser could be started here; open the address above.", err, "yellow")


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
