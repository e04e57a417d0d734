"""Verbs that make builds: plan, build, negatives."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import (
    AsJson,
    Manifests,
    Only,
    Sample,
    StoreAt,
    app,
    catalog_of,
    err,
    folders_of,
    names_of,
    out,
    say,
)

#: What a build folder holds, in the order a newcomer would open it.
CONTENTS = (
    ("report.html", "the build at a glance, for a browser"),
    ("data", "the records, one folder per corpus"),
    ("ledger", "every removed record and why"),
    ("README.md", "the dataset card"),
)


@app.command()
def plan(
    recipe: str,
    only: Only = "",
    sample: Sample = None,
    to: Annotated[Path, typer.Option("--out", help="Where build folders go.")] = Path("build"),
    store: StoreAt = Path(".m3e"),
    manifests: Manifests = None,
    as_json: AsJson = False,
) -> None:
    """What a build would run and what is there already, without running anything."""
    from pipeline.report.plan import plan as plan_of
    from pipeline.report.plan import plan_table

    catalog = catalog_of(folders_of(manifests))
    told = plan_of(catalog, catalog.recipe(recipe), store, names_of(only), sample, to)
    if as_json:
        sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    else:
        out.print(plan_table(told))


@app.command()
def build(
    recipe: str,
    only: Only = "",
    sample: Sample = None,
    to: Annotated[Path, typer.Option("--out", help="Where build folders go.")] = Path("build"),
    store: StoreAt = Path(".m3e"),
    manifests: Manifests = None,
    strict: Annotated[bool, typer.Option(help="Fail when any corpus is missing.")] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="Take only what the lock holds.")] = False,
    against: Annotated[
        Path | None, typer.Option("--against", help="A build that stands: drop what duplicates its records.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Steps at a time.")] = 2,
    base: Annotated[
        Path | None, typer.Option(help="A finished build to mine and score; else the recipe's base is built first.")
    ] = None,
) -> None:
    """Build a recipe: prints the funnel and the folder DIR/RECIPE."""
    catalog = catalog_of(folders_of(manifests))
    chosen = catalog.recipe(recipe)
    from pipeline.make import make
    from pipeline.report.funnel import funnel_table
    from pipeline.report.progress import Progress
    from pipeline.runner import Threads

    @contextmanager
    def running(steps: Mapping[str, int]) -> Iterator[tuple[Threads, Progress]]:
        with Progress(err, steps) as progress:
            runner = Threads(workers, progress.listen)
            try:
                yield runner, progress
            finally:
                runner.close()

    made = make(
        catalog,
        chosen,
        store,
        to,
        running,
        only=names_of(only),
        sample=sample,
        frozen=frozen,
        strict=strict,
        base=base,
        against=against,
        warn=lambda doubt: say(f"warning: {doubt}", err, "yellow"),
    )
    if (outcome := made.outcome) is not None:
        out.print(funnel_table(list(outcome.funnels.values()), outcome.context.recipe.title or recipe, out.width))
        for warning in outcome.warnings:
            say(f"warning: {warning}", err, "yellow")
        for gap in outcome.gaps:
            say(f"gap: {gap.corpus} failed in {gap.stage}: {gap.cause}. Cure: {gap.cure}", err, "red")
    if made.scored is not None:
        _show_scored(made.folder)
    say(f"{'Built' if made.changed else 'Nothing changed'}: {made.folder}")
    for name, told in CONTENTS:
        say(f"  {made.folder / name}: {told}", style="dim")


@app.command()
def negatives(
    folder: Annotated[Path, typer.Argument(help="A build with scores.")],
    rule: Annotated[list[str], typer.Option("--rule", help="A setting of the rule to change: p=0.9; repeatable.")],
    to: Annotated[Path | None, typer.Option("--out", help="Where the new build goes; beside the old one.")] = None,
    manifests: Manifests = None,
) -> None:
    """Cut the hard negatives of a build anew by another rule, from the candidates it keeps."""
    from pipeline.recut import papers_of, recut
    from pipeline.report.negatives import cut_table
    from pipeline.report.opened import Build, open_build
    from pipeline.report.page import write_page

    build = open_build(folder)
    known = catalog_of(folders_of(manifests)).corpora
    unknown = [name for name in build.corpora if name not in known]
    papers = None if unknown else papers_of(build, [known[name] for name in build.corpora])
    cut = recut(build, rule, to, papers, None if unknown else lambda made: write_page(Build(made)))
    if unknown:
        told = f"no manifest tells of {', '.join(unknown)} (--manifests), so it has no card and no report page"
        say(f"warning: {told}", err, "yellow")
    out.print(cut_table(cut.before, cut.after))
    say(f"{'Cut' if cut.changed else 'Nothing changed'}: {cut.folder}")


def _show_scored(folder: Path) -> None:
    from pipeline.report.negatives import showcase
    from pipeline.report.opened import open_build
    from pipeline.report.yardstick import yardstick_table

    made = open_build(folder)
    out.print(yardstick_table(made.receipt))
    out.print(showcase(made))  # a look; `m3e preview` shows all corpora
