"""Verbs that keep a machine in order: gc, heal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.table import Table

from pipeline.cli.console import StoreAt, app, out, say

if TYPE_CHECKING:
    from pipeline.gc import Item


@app.command()
def gc(
    store: StoreAt = Path(".m3e"),
    build: Annotated[
        list[Path] | None,
        typer.Option("--build", help="A build, or a folder of builds, on another disk than the store; repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; else only show what would go.")] = False,
) -> None:
    """What the store holds for no build; with --yes it is removed. Builds stay whole."""
    from pipeline.gc import collect, survey
    from pipeline.report.opened import open_build
    from pipeline.store import Store

    folders = [path for given in build or [Path("build")] for path in (given, *sorted(given.glob("*")))]
    builds = [open_build(folder) for folder in folders if (folder / "build.json").is_file()]
    for given in build or []:
        if not any(one.folder in (given, *given.glob("*")) for one in builds):
            open_build(given)  # raises: there is none
    found = collect(Store(store), builds) if yes else survey(Store(store), builds)
    out.print(_table(found.used, found.unused))
    if found.untold:
        say(f"{found.untold} used outputs of an older version do not tell what they were made from; that goes.")
    if yes:
        say(f"Removed {len(found.unused):,} items, {decimal(found.bytes)}.")
    elif found.unused:
        say(f"{decimal(found.bytes)} would be freed. Nothing was removed; run again with --yes.")
    else:
        say("Nothing to remove.")


def _table(used: tuple[Item, ...], unused: tuple[Item, ...]) -> Table:
    table = Table(title="Store", title_justify="left", header_style="bold")
    table.add_column("")
    for name in ("used", "size", "unused", "size"):
        table.add_column(name, justify="right")
    for kind in sorted({item.kind for item in (*used, *unused)}):
        cells = []
        for items in (used, unused):
            sizes = [item.bytes for item in items if item.kind == kind]
            cells += [f"{len(sizes):,}", decimal(sum(sizes))] if sizes else ["", ""]
        table.add_row(kind, *cells)
    return table


@app.command()
def heal(
    api: Annotated[str | None, typer.Option(help="Prefect's server; else PREFECT_API_URL, else the local one.")] = None,
    here: Annotated[bool, typer.Option("--here", help="Every worker runs on this machine.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
) -> None:
    """Call runs Crashed whose process went away with the machine; run them again afterwards."""
    from pipeline.heal import heal as healed

    runs = healed(api, here=here, dry_run=dry_run)
    for run in runs:
        say(run.sentence)
    gone = sum(run.verdict == "gone" for run in runs)
    say(f"{gone} of {len(runs)} runs under way {'would become' if dry_run else 'became'} Crashed.")
