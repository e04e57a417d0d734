"""The one parameter model of the build flows: validated, and readable as a form in Prefect's UI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class BuildParameters(BaseModel):
    """What a build run may be told; the recipe itself is the deployment's name."""

    model_config = ConfigDict(extra="forbid")

    only: Annotated[list[str], Field(description="Build only these corpora of the recipe; empty builds all.")] = []
    sample: Annotated[int | None, Field(ge=1, description="Only the first N records of each corpus.")] = None
    out: Annotated[Path, Field(description="Where build folders go.")] = Path("build")
    store: Annotated[Path, Field(description="Where finished steps are kept.")] = Path(".m3e")
    manifests: Annotated[list[Path], Field(description="Folders of own manifests beside the shipped ones.")] = []
    base: Annotated[
        Path | None, Field(description="A finished build to mine and score; none builds the recipe's base first.")
    ] = None
    strict: Annotated[bool, Field(description="Fail when any corpus is missing instead of leaving a gap.")] = False
    runner: Annotated[
        Literal["threads", "dask"], Field(description="Run steps on threads of this process, or on a Dask cluster.")
    ] = "threads"
    workers: Annotated[int, Field(ge=1, description="Steps at a time.")] = 2
    dask_address: Annotated[str | None, Field(description="Scheduler to use; none starts a local cluster.")] = None


class TrainParameters(BaseModel):
    """What a training run may be told."""

    model_config = ConfigDict(extra="forbid")

    build: Annotated[Path, Field(description="The build to train on.")]
    model: Annotated[str, Field(description="The model to begin with: a folder, ORG/NAME on the Hub, or an encoder.")]
    out: Annotated[Path, Field(description="Where the trained model goes; a run that was cut off goes on there.")]
    recipe: Annotated[
        Literal["contrastive", "ntuple", "cosent"], Field(description="Pairs, mined negatives, or scores.")
    ] = "contrastive"
    steps: Annotated[int | None, Field(ge=1, description="Batches to train on; none goes by epochs.")] = None
    epochs: Annotated[int, Field(ge=1, description="How often the data is seen.")] = 1
    batch: Annotated[int, Field(ge=1, description="Records per step.")] = 256
    mini_batch: Annotated[
        int | None, Field(ge=1, description="Texts at a time, for batches beyond the memory of the GPU.")
    ] = None
    settings: Annotated[list[str], Field(description="Any other setting: lr=3e-5.")] = []
    manifests: Annotated[list[Path], Field(description="Folders of own manifests beside the shipped ones.")] = []
