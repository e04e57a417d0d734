"""The command line: `m3e VERB`. Thin: it reads arguments, calls one function, shows the result, and turns errors into exit codes.

Everything heavy is imported inside the verb that needs it, so that help, check and corpora answer at once.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.errors import CurationError, UsageError

if TYPE_CHECKING:
    from pipeline.manifest.catalog import Catalog

app = typer.Typer(
    name="m3e",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Curate text pairs for embedding models: manifests in, a documented dataset out.",
)
# Not on a terminal (a log, a pipe) there is no width to fit into.
WIDTH = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160
out, err = Console(width=WIDTH), Console(stderr=True)

#: What a build folder holds, in the order a newcomer would open it.
CONTENTS = (
    ("report.html", "the build at a glance, for a browser"),
    ("data", "the records, one folder per corpus"),
    ("ledger", "every removed record and why"),
    ("README.md", "the dataset card"),
)

Manifests = Annotated[
    list[Path] | None,
    typer.Option(
        "--manifests",
        help="Folder of own manifests beside the shipped ones; may be given several times. Also M3E_MANIFESTS.",
    ),
]
Only = Annotated[str, typer.Option(help="Build only these corpora: a,b.")]
Sample = Annotated[int | None, typer.Option(min=1, help="Only the first N records of each corpus.")]
StoreAt = Annotated[Path, typer.Option("--store", help="Where finished steps are kept.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Only report on these files.")] = None,
    manifests: Manifests = None,
) -> None:
    """Check every manifest; all problems at once, exit 1 if there is any."""
    from pipeline.errors import ManifestError

    wanted = {path.resolve() for path in files or ()}
    for path in sorted(wanted):
        if not path.is_file():
            raise UsageError(str(path), "there is no such file", "give the path of a manifest")
    folders = [*_folders(manifests), *sorted({path.parent.parent for path in wanted})]
    try:
        catalog = _catalog(list(dict.fromkeys(folders)))
    except ManifestError as error:
        told = [p for p in error.problems if not wanted or Path(p.file).resolve() in wanted]
        if told:
            raise ManifestError(told) from None
        _say(f"{len(wanted)} file(s) in order.")
        return
    from datetime import date

    from pipeline.report.licences import stale_problems

    for told_of in stale_problems(catalog, date.today()):
        _say(f"warning: {told_of}", err, "yellow")
    kinds = ("corpora", "benchmarks", "encoders", "recipes")
    _say(f"In order: {', '.join(f'{len(getattr(catalog, kind))} {kind}' for kind in kinds)}.")


@app.command()
def corpora(manifests: Manifests = None, as_json: AsJson = False) -> None:
    """The table of corpora: rows, domain, prompt, licence, use class, source."""
    from pipeline.report.corpora import corpus_rows, corpus_table

    rows = corpus_rows(_catalog(_folders(manifests)))
    if as_json:
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return
    out.print(corpus_table(rows))
    _say(f"{len(rows)} corpora; {sum(row['seed']['rows'] for row in rows if row['seed']):,} rows in the seed's table.")


@app.command()
def licences(
    names: Annotated[list[str] | None, typer.Argument(help="Only these corpora, told in full.")] = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Everything in full, with the quotes.")] = False,
    manifests: Manifests = None,
    as_json: AsJson = False,
) -> None:
    """What each corpus may be used for, where that was read, and what speaks against it."""
    from datetime import date

    from pipeline.report.licences import licence_page, licence_rows, licence_table

    rows = licence_rows(_catalog(_folders(manifests)), names or [], date.today())
    if as_json:
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return
    out.print(licence_page(rows) if names or verbose else licence_table(rows))
    stale = sum(days is not None for row in rows for days in row["stale_days"])
    if stale:
        _say(f"warning: {stale} piece(s) of evidence are over a year old; read them again.", err, "yellow")
    _say("A record of what was read, not legal advice. Quotes: m3e licences CORPUS. The model: docs/licences.md.")


@app.command()
def lock(
    names: Annotated[list[str] | None, typer.Argument(help="Corpora and benchmarks; none locks all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Look at every source, not only the first to be had.")] = False,
    store: StoreAt = Path(".m3e"),
    manifests: Manifests = None,
) -> None:
    """Write what the sources hold now (commits, sizes, sha256) into the lock; exit 1 where none could be reached."""
    from pipeline.lock import lock as look
    from pipeline.report.progress import Progress
    from pipeline.store import Store

    reached: dict[str, bool] = {}
    with Progress(err) as progress:
        for looked in look(_catalog(_folders(manifests)), names or [], Store(store), every=every, listen=progress.hear):
            is_seen = looked.source.unreached is None
            reached[looked.name] = reached.get(looked.name, False) or is_seen
            _say(looked.sentence, style=None if is_seen else "yellow")
    lost = sorted(name for name, is_seen in reached.items() if not is_seen)
    _say(f"Locked {len(reached) - len(lost)} of {len(reached)}.")
    if lost:
        raise SystemExit(1)


@app.command()
def plan(
    recipe: str,
    only: Only = "",
    sample: Sample = None,
    store: StoreAt = Path(".m3e"),
    manifests: Manifests = None,
    as_json: AsJson = False,
) -> None:
    """What a build would run and what is there already, without running anything."""
    from pipeline.report.plan import plan as plan_of
    from pipeline.report.plan import plan_table

    catalog = _catalog(_folders(manifests))
    told = plan_of(catalog, catalog.recipe(recipe), store, _names(only), sample)
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
    catalog = _catalog(_folders(manifests))
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
        only=_names(only),
        sample=sample,
        frozen=frozen,
        strict=strict,
        base=base,
        against=against,
    )
    if (outcome := made.outcome) is not None:
        out.print(funnel_table(list(outcome.funnels.values()), outcome.context.recipe.title or recipe, out.width))
        for warning in outcome.warnings:
            _say(f"warning: {warning}", err, "yellow")
        for gap in outcome.gaps:
            _say(f"gap: {gap.corpus} failed in {gap.stage}: {gap.cause}. Cure: {gap.cure}", err, "red")
    if made.scored is not None:
        _show_scored(made.folder)
    _say(f"{'Built' if made.changed else 'Nothing changed'}: {made.folder}")
    for name, told in CONTENTS:
        _say(f"  {made.folder / name}: {told}", style="dim")


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
        _say(fate.sentence())
        for label, told in (("it reads", fate.pair), ("kept is ", fate.other[1:] if fate.other else None)):
            if told:
                line = f"  {label}: {_cut(told[0], 80) or '(empty)'} → {_cut(told[1], 120) or '(empty)'}".replace(
                    "\n", " "
                )
                _say(line, style="dim")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A build folder.")]) -> None:
    """Where the report page of a build lies, to open in a browser."""
    from pipeline.report.opened import open_build
    from pipeline.report.page import page_of

    _say(page_of(open_build(folder)).resolve().as_uri())


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
            table.add_row(*(escape(_cut(text)) for text in told))
        out.print(table)


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
    from pipeline.report.opened import open_build

    build = open_build(folder)
    known = _catalog(_folders(manifests)).corpora
    unknown = [name for name in build.corpora if name not in known]
    papers = None if unknown else papers_of(build, [known[name] for name in build.corpora])
    cut = recut(build, rule, to, papers)
    if unknown:
        told = f"no manifest tells of {', '.join(unknown)} (--manifests), so it has no card and no report page"
        _say(f"warning: {told}", err, "yellow")
    out.print(cut_table(cut.before, cut.after))
    _say(f"{'Cut' if cut.changed else 'Nothing changed'}: {cut.folder}")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A build folder.")],
    to: Annotated[str, typer.Option(help="st-pair, st-triplet, st-ntuple, st-scored, uniem or flag.")],
    target: Annotated[Path | None, typer.Option("--out", help="Where the export goes; beside the build.")] = None,
    corpus: Annotated[list[str] | None, typer.Option(help="Only this corpus; may be given several times.")] = None,
    commercial: Annotated[bool, typer.Option("--commercial", help="Only what may be used commercially.")] = False,
) -> None:
    """Write a build in the columns that a trainer expects."""
    from pipeline.export import export as write
    from pipeline.report.opened import open_build

    made = write(open_build(folder), to, target, corpora=corpus or (), commercial=commercial)
    for name, told in made.told["corpora"].items():
        shapes = "; ".join(f"{one['rows']:,} rows in {shape}" for shape, one in told["rows"].items())
        left = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in told["left_out"].items() if n)
        _say(f"{name}: {told['records']:,} records, {shapes or 'no rows'}" + (f"; left out: {left}" if left else ""))
    _say(f"Exported: {made.folder}")


def _show_scored(folder: Path) -> None:
    from pipeline.report.negatives import negatives_view
    from pipeline.report.opened import open_build
    from pipeline.report.yardstick import yardstick_table

    made = open_build(folder)
    out.print(yardstick_table(made.receipt))
    # One text of each of three corpora: a look, `m3e preview` shows more.
    for table in negatives_view(made, 1)[:3]:
        out.print(table)


def main() -> None:
    """Entry point: exit 0 done, 1 the work failed (the message says what to do), 2 wrong usage."""
    try:
        app(standalone_mode=True)
    except CurationError as error:
        _say(str(error), err, "red")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        _say("Interrupted; finished steps are kept, run the same command again.", err, "red")
        raise SystemExit(1) from None


def _say(text: str, to: Console = out, style: str | None = None) -> None:
    """One line as it is: nothing in it is markup, and it is not wrapped, so that paths can be copied."""
    to.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _folders(given: list[Path] | None) -> list[Path]:
    own = os.environ.get("M3E_MANIFESTS", "")
    return [*(Path(p) for p in own.split(os.pathsep) if p), *(given or [])]


def _catalog(folders: list[Path]) -> Catalog:
    from pipeline.manifest.catalog import read_catalog

    return read_catalog(folders)


def _names(only: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in only.split(",") if name.strip()))


def _cut(text: str, chars: int = 300) -> str:
    return text if len(text) <= chars else text[:chars] + "…"
