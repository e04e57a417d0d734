"""Verbs that read manifests and sources: corpora, licences, check, lock."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import AsJson, Manifests, StoreAt, app, catalog_of, err, folders_of, out, say
from pipeline.errors import UsageError


@app.command()
def corpora(manifests: Manifests = None, as_json: AsJson = False) -> None:
    """The table of corpora: rows, domain, prompt, licence, use class, source."""
    from pipeline.report.corpora import corpus_rows, corpus_table

    rows = corpus_rows(catalog_of(folders_of(manifests)))
    if as_json:
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return
    out.print(corpus_table(rows))
    say(f"{len(rows)} corpora; {sum(row['seed']['rows'] for row in rows if row['seed']):,} rows in the seed's table.")


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

    rows = licence_rows(catalog_of(folders_of(manifests)), names or [], date.today())
    if as_json:
        sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
        return
    out.print(licence_page(rows) if names or verbose else licence_table(rows))
    stale = sum(days is not None for row in rows for days in row["stale_days"])
    if stale:
        say(f"warning: {stale} piece(s) of evidence are over a year old; read them again.", err, "yellow")
    say("A record of what was read, not legal advice. Quotes: m3e licences CORPUS. The model: docs/licences.md.")


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
    folders = [*folders_of(manifests), *sorted({path.parent.parent for path in wanted})]
    try:
        catalog = catalog_of(list(dict.fromkeys(folders)))
    except ManifestError as error:
        told = [p for p in error.problems if not wanted or Path(p.file).resolve() in wanted]
        if told:
            raise ManifestError(told) from None
        say(f"{len(wanted)} file(s) in order.")
        return
    from datetime import date

    from pipeline.report.licences import stale_problems

    for told_of in stale_problems(catalog, date.today()):
        say(f"warning: {told_of}", err, "yellow")
    kinds = ("corpora", "benchmarks", "encoders", "recipes")
    say(f"In order: {', '.join(f'{len(getattr(catalog, kind))} {kind}' for kind in kinds)}.")


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
        for looked in look(
            catalog_of(folders_of(manifests)), names or [], Store(store), every=every, listen=progress.hear
        ):
            is_seen = looked.source.unreached is None
            reached[looked.name] = reached.get(looked.name, False) or is_seen
            say(looked.sentence, style=None if is_seen else "yellow")
    lost = sorted(name for name, is_seen in reached.items() if not is_seen)
    say(f"Locked {len(reached) - len(lost)} of {len(reached)}.")
    if lost:
        raise SystemExit(1)
