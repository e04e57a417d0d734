"""Verbs that hand a build on: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import app, say


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
