"""The flow `publish`: a build or a model to the Hub, or, by default, only what that would do.

The token is the worker's HF_TOKEN: no parameter, result or artifact holds it, and what fails is told by our own errors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import CurationError
from pipeline.manifest.catalog import read_catalog
from pipeline.publish import Target, look, push, release_of
from pipeline.report.operations import operations


class PublishParameters(BaseModel):
    """What a push may be told."""

    model_config = ConfigDict(extra="forbid")

    repo: Annotated[str, Field(description="The repository on the Hub: ORGANISATION/NAME.")]
    build: Annotated[Path | None, Field(description="The build folder.")] = None
    model: Annotated[Path | None, Field(description="A model's folder, instead of a build.")] = None
    visibility: Annotated[
        Literal["private", "public"] | None, Field(description="Empty: as it is; a new one is made private.")
    ] = None
    pull_request: Annotated[bool, Field(description="As a pull request.")] = False
    tag: Annotated[str | None, Field(description="Name this version; a tag is never moved.")] = None
    edition: Annotated[Literal["100k", "1m"] | None, Field(description="Only a cut that keeps the mixture.")] = None
    dry_run: Annotated[bool, Field(description="Only show what would be done.")] = True
    store: Annotated[Path, Field(description="Where finished steps are kept.")] = Path(".m3e")
    manifests: Annotated[list[Path], Field(description="Folders of own manifests beside the shipped ones.")] = []


@flow(name="publish", persist_result=False)
def publish(parameters: PublishParameters) -> State[Any]:
    """Push a build or a model to the Hub as one commit; a dry run unless told otherwise."""
    log = get_run_logger()
    try:
        return _published(parameters)
    except CurationError as error:
        told = str(error)
    log.error("%s", told)
    return Failed(message=told)


def _published(parameters: PublishParameters) -> State[Any]:
    log = get_run_logger()
    own = [Path(p) for p in os.environ.get("M3E_MANIFESTS", "").split(os.pathsep) if p]
    private = None if parameters.visibility is None else parameters.visibility == "private"
    target = Target(parameters.repo, private, parameters.pull_request, parameters.tag)
    release = release_of(
        parameters.build,
        parameters.model,
        parameters.repo,
        parameters.edition,
        parameters.store.resolve(),
        lambda: read_catalog([*own, *parameters.manifests]),
    )
    plan, _ = look(release, target)
    rows = operations(release, plan)
    create_table_artifact(key="publish-operations", table=rows, description=f"{release.title} to {parameters.repo}")
    create_markdown_artifact(key="publish-card", markdown=_text(release.files["README.md"].source))
    for note in release.notes:
        log.warning("%s", note)
    if parameters.dry_run:
        return Completed(name="DryRun", message=f"nothing was sent; {rows[-1]['bytes']:,} bytes would be")
    pushed = push(release, target, log.info)
    return Completed(name=pushed.state.capitalize(), message=pushed.sentence)


def _text(source: Path | bytes) -> str:
    return (source if isinstance(source, bytes) else source.read_bytes()).decode()
