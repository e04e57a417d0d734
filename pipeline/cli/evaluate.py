"""The verb that measures a model: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Manifests, app, catalog_of, err, folders_of, names_of, out, say


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A folder, ORG/NAME on the Hub, or an encoder.")],
    suite: Annotated[str, typer.Option(help="cmteb, mteb-zh, code or local.")],
    tasks: Annotated[str, typer.Option(help="Run only these tasks: a,b.")] = "",
    to: Annotated[
        Path | None, typer.Option("--out", help="Where the scores go; evaluations/MODEL.SUITE if left out.")
    ] = None,
    local: Annotated[
        Path | None, typer.Option("--local", help="Tasks of the suite local: a YAML file, or a folder with tasks.yaml.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A folder of data sets, ORG/NAME each, read instead of the Hub.")
    ] = None,
    manifests: Manifests = None,
) -> None:
    """Score a model on a suite of tasks; run again, it goes on where it stopped."""
    from pipeline.evaluate import evaluate as run
    from pipeline.evaluate import model_name
    from pipeline.evaluate.config import evaluate_config
    from pipeline.evaluate.papers import score_table
    from pipeline.train.base import named_model

    config = evaluate_config(suite, names_of(tasks))
    catalog = catalog_of(folders_of(manifests))
    encoders = {name: (one, catalog.home("encoders", name)) for name, one in catalog.encoders.items()}
    base = named_model(model, encoders, model)
    target = to or Path("evaluations") / f"{model_name(base).replace('/', '.')}.{suite}"

    def listen(task: str, place: int, of: int, score: float | None) -> None:
        say(f"{place} of {of}: {task}" + ("" if score is None else f" {score:.4f}"), err, "dim")

    done = run(base, target, config, local, data, listen)
    out.print(score_table(done.results, out.width))
    if texts := done.speed.get("texts"):
        distinct, seconds = done.speed["distinct"], done.speed["seconds"]
        say(
            f"Encoded {texts:,} texts, {distinct:,} of them distinct, at {distinct / max(seconds, 1e-9):,.0f} a second."
        )
    for gap in done.gaps:
        say(f"gap: {gap}", err, "red")
    say(f"{'Evaluated' if done.changed else 'Nothing changed'}: {done.folder}")
