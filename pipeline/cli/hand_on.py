"""Verbs that hand a build on: export, publish."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Manifests, StoreAt, app, catalog_of, err, folders_of, out, say
from pipeline.errors import UsageError


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
        say(f"{name}: {told['records']:,} records, {shapes or 'no rows'}" + (f"; left out: {left}" if left else ""))
    say(f"Exported: {made.folder}")


@app.command()
def publish(
    folder: Annotated[Path | None, typer.Argument(metavar="[BUILD]", help="A build folder.")] = None,
    repo: Annotated[str, typer.Option(help="The repository on the Hub: ORGANISATION/NAME.")] = "",
    model: Annotated[Path | None, typer.Option(help="A model's folder, instead of a build.")] = None,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Left out: as it is; a new one is made private.")
    ] = None,
    as_request: Annotated[bool, typer.Option("--pr", help="As a pull request.")] = False,
    tag: Annotated[str | None, typer.Option(help="Name this version; a tag is never moved.")] = None,
    edition: Annotated[str | None, typer.Option(help="Only a cut that keeps the mixture: 100k or 1m rows.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    store: StoreAt = Path(".m3e"),
    manifests: Manifests = None,
) -> None:
    """Push a build, or a model, to the Hub as one commit; HF_TOKEN must be set."""
    from pipeline.publish import Target, look, push, release_of
    from pipeline.report.operations import operations_table

    if not repo:
        raise UsageError("m3e publish", "where to is missing", "give --repo ORGANISATION/NAME")
    target = Target(repo, private, as_request, tag)
    folders = folders_of(manifests)
    release = release_of(folder, model, repo, edition, store, lambda: catalog_of(folders))
    plan, remote = look(release, target)
    out.print(operations_table(release, plan, remote, repo))
    for note in release.notes:
        say(note, err, "yellow")
    if dry_run:
        say("Nothing was sent (--dry-run).")
        return
    pushed = push(release, target, lambda line: say(line, err, "dim"))
    say(pushed.sentence)
