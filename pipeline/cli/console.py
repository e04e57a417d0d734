"""What every verb shares: the app, the consoles, the options, and how a line is said."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

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


def say(text: str, to: Console = out, style: str | None = None) -> None:
    """One line as it is: nothing in it is markup, and it is not wrapped, so that paths can be copied."""
    to.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def folders_of(given: list[Path] | None) -> list[Path]:
    own = os.environ.get("M3E_MANIFESTS", "")
    return [*(Path(p) for p in own.split(os.pathsep) if p), *(given or [])]


def catalog_of(folders: list[Path]) -> Catalog:
    from pipeline.manifest.catalog import read_catalog

    return read_catalog(folders)


def names_of(only: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in only.split(",") if name.strip()))
