"""The training flow: one task, which goes on from its last checkpoint when it is run again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from flows.parameters import TrainParameters
from pipeline.errors import CurationError
from pipeline.manifest.catalog import read_catalog
from pipeline.report.opened import open_build
from pipeline.train import Trained, base_model, train, train_config


@task(name="train", tags=["gpu"], cache_policy=NO_CACHE, persist_result=False)
def trained(parameters: TrainParameters) -> Trained:
    """Train; the checkpoints in the output folder are the cache."""
    log = get_run_logger()
    own = [Path(p) for p in os.environ.get("M3E_MANIFESTS", "").split(os.pathsep) if p]
    catalog = read_catalog([*own, *parameters.manifests])
    encoders = {name: (one, catalog.home("encoders", name)) for name, one in catalog.encoders.items()}
    given = parameters.model_dump(include={"recipe", "steps", "epochs", "mini_batch"})
    config = train_config({**given, "mix.batch": parameters.batch}, parameters.settings)

    def listen(step: int, steps: int, loss: float) -> None:
        log.info("step %s of %s: loss %.4f", f"{step:,}", f"{steps:,}", loss)

    base = base_model(parameters.model, encoders)
    return train(open_build(parameters.build), base, parameters.out.resolve(), config, listen)


@flow(name="train-m3e")
def train_m3e(parameters: TrainParameters) -> State[Any]:
    """Train an embedding model on a build and write its folder."""
    log = get_run_logger()
    try:
        done = trained(parameters)
    except CurationError as error:
        log.error("%s", error)
        return Failed(message=str(error))
    told = done.receipt
    if done.resumed is not None:
        log.info("went on from step %s", f"{done.resumed:,}")
    create_table_artifact(key="train-m3e-data", table=told["data"], description="Records given to the loss")
    create_table_artifact(key="train-m3e-licences", table=told["licence"]["data"], description="Licences of the data")
    curve = f"loss {told['curve']['first']:.4f} at first, {told['curve']['last']:.4f} in the end"
    use = f"commercial use {told['licence']['commercial']}"
    return Completed(message=f"{'trained' if done.changed else 'unchanged'} in {done.folder}: {curve}; {use}")
