"""Build flows: one per shipped recipe, flow name = deployment name = `build-<recipe>`.

Thin: parameters in, the pipeline's own step graph through `flows.runner.Tasks`, artifacts and a final state out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import Flow, flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.parameters import BuildParameters
from flows.runner import Log, Tasks
from pipeline.build import Outcome
from pipeline.card import yardstick_rows
from pipeline.errors import CurationError
from pipeline.folder import PAGE
from pipeline.ledger import STAGES, Funnel, total
from pipeline.make import Made, make
from pipeline.manifest.catalog import read_catalog
from pipeline.report.opened import open_build


def run_build(recipe: str, parameters: BuildParameters) -> State[Any]:
    """Build a recipe as part of a flow run and give its final state: Completed, CompletedWithGaps or Failed."""
    log = get_run_logger()
    try:
        made = _made(recipe, parameters)
    except CurationError as error:
        log.error("%s", error)
        return Failed(message=str(error))
    written = f"{'written to' if made.changed else 'unchanged in'} {made.folder}"
    if made.scored is not None:
        create_table_artifact(
            key=f"{recipe}-yardstick",
            table=yardstick_rows(open_build(made.folder).receipt),
            description=f"Negatives of {recipe}",
        )
    create_link_artifact(
        key=f"{recipe}-report",
        link=(made.folder / PAGE).resolve().as_uri(),
        link_text="report.html",
        description=f"Report page of {recipe}, on the machine that built it",
    )
    if (outcome := made.outcome) is None:
        return Completed(message=f"{recipe} {written}")
    create_table_artifact(
        key=f"{recipe}-funnel", table=_funnel(list(outcome.funnels.values())), description=f"Funnel of {recipe}"
    )
    create_table_artifact(key=f"{recipe}-licences", table=_licences(outcome), description=f"Licence mix of {recipe}")
    create_markdown_artifact(key=f"{recipe}-gaps", markdown=_gaps(outcome), description=f"Gaps of {recipe}")
    whole = total(outcome.funnels.values())
    told = f"{whole.kept:,} of {whole.converted:,} records kept, {written}"
    log.info("%s", told)
    for warning in outcome.warnings:
        log.warning("%s", warning)
    if outcome.gaps:
        names = ", ".join(gap.corpus for gap in outcome.gaps)
        return Completed(name="CompletedWithGaps", message=f"{told}; without {names}: see the artifact {recipe}-gaps")
    return Completed(message=told)


def _made(recipe: str, parameters: BuildParameters) -> Made:
    own = [Path(p) for p in os.environ.get("M3E_MANIFESTS", "").split(os.pathsep) if p]
    catalog = read_catalog([*own, *parameters.manifests])

    @contextmanager
    def running(_: Mapping[str, int]) -> Iterator[tuple[Tasks, Log]]:
        with _task_runner(parameters) as task_runner:
            yield Tasks(task_runner), Log()

    spread = None
    if parameters.runner == "dask":
        from flows.spread import Workers

        spread = Workers()
    return make(
        catalog,
        catalog.recipe(recipe),
        parameters.store.resolve(),
        parameters.out.resolve(),
        running,
        only=tuple(parameters.only),
        sample=parameters.sample,
        strict=parameters.strict,
        base=parameters.base,
        spread=spread,
        warn=lambda doubt: get_run_logger().warning("%s", doubt),
    )


def _funnel(funnels: list[Funnel]) -> list[dict[str, Any]]:
    return [
        {"corpus": f.corpus, "rows": f.read, "filtered": f.filtered, "bad": f.quarantined, "records": f.converted}
        | {stage: f.at(stage) for stage in STAGES}
        | {"kept": f.kept}
        for f in [*funnels, total(funnels)]
    ]


def _licences(outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {"corpus": name, "licence": licence, "records": records}
        for name in outcome.corpora
        for licence, records in outcome.entries["assemble", name].receipt["licences"].items()
    ]


def _gaps(outcome: Outcome) -> str:
    if not outcome.gaps:
        return "No corpus is missing."
    rows = "\n".join(f"| {g.corpus} | {g.stage} | {g.cause} | {g.cure} |" for g in outcome.gaps)
    return f"| corpus | failed in | because | cure |\n|---|---|---|---|\n{rows}"


def _task_runner(parameters: BuildParameters) -> TaskRunner[Any]:
    if parameters.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=parameters.workers)
    from prefect_dask.task_runners import DaskTaskRunner

    if parameters.dask_address:
        return DaskTaskRunner(address=parameters.dask_address)
    # One process per step: numba and polars bring threads of their own.
    return DaskTaskRunner(
        cluster_kwargs={"n_workers": parameters.workers, "threads_per_worker": 1, "dashboard_address": None}
    )


def build_flow(recipe: str) -> Flow[[BuildParameters], State[Any]]:
    """The flow `build-<recipe>`."""

    def run(parameters: BuildParameters = BuildParameters()) -> State[Any]:  # noqa: B008 - the UI's form shows this default
        return run_build(recipe, parameters)

    run.__doc__ = f"Build the recipe {recipe} and write its folder."
    return flow(name=f"build-{recipe}")(run)


build_m3e_hq = build_flow("m3e-hq")
build_m3e_commercial = build_flow("m3e-commercial")
build_m3e_hq_with_score = build_flow("m3e-hq-with-score")
build_demo = build_flow("demo")
build_demo_with_score = build_flow("demo-with-score")
