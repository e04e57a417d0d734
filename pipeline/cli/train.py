"""The verb that makes a model of a build: train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import Manifests, app, catalog_of, err, folders_of, say


@app.command()
def train(
    folder: Annotated[Path, typer.Argument(help="A build folder.")],
    model: Annotated[str, typer.Option(help="The model to begin with: a folder, ORG/NAME on the Hub, or an encoder.")],
    to: Annotated[Path, typer.Option("--out", help="Where the trained model goes.")],
    recipe: Annotated[str, typer.Option(help="contrastive, ntuple or cosent.")] = "contrastive",
    steps: Annotated[int | None, typer.Option(min=1, help="Batches to train on; else by --epochs.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often the data is seen.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Records per step, over all GPUs.")] = 256,
    mini_batch: Annotated[
        int | None, typer.Option(min=1, help="Texts at a time, for batches beyond the memory.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Any other setting: lr=3e-5; repeatable.")] = None,
    manifests: Manifests = None,
) -> None:
    """Train an embedding model on a build; run again after a kill, it goes on."""
    from pipeline.report.opened import open_build
    from pipeline.train import base_model, train_config
    from pipeline.train import train as run

    given = {"recipe": recipe, "steps": steps, "epochs": epochs, "mix.batch": batch, "mini_batch": mini_batch}
    config = train_config(given, settings or [])
    catalog = catalog_of(folders_of(manifests))
    encoders = {name: (one, catalog.home("encoders", name)) for name, one in catalog.encoders.items()}

    def listen(step: int, of: int, loss: float) -> None:
        say(f"step {step:,} of {of:,}: loss {loss:.4f}", err)

    done = run(open_build(folder), base_model(model, encoders), to, config, listen)
    if not (told := done.receipt):  # one of several processes: the first speaks
        return
    if done.resumed is not None:
        say(f"Went on from step {done.resumed:,}.")
    curve, licence = told["curve"], told["licence"]
    say(f"Loss {curve['first']:.4f} at first, {curve['last']:.4f} in the end, {told['steps']:,} steps.")
    say(f"Commercial use: {'; '.join([licence['commercial'], *licence['reasons']])}.")
    say(f"{'Trained' if done.changed else 'Nothing changed'}: {done.folder}")
