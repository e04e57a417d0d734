"""The pipeline's runner on Prefect: every step becomes one task run, one corpus and one stage each."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.task_runners import TaskRunner
from prefect.tasks import Task

from pipeline.context import Context
from pipeline.encoding import Encoded
from pipeline.errors import SourceError
from pipeline.fetch import Moved
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.corpus import Corpus
from pipeline.runner import Pending
from pipeline.scoring import ScoringContext
from pipeline.source import Fetched
from pipeline.store import Entry

#: Seconds before each new try of a download; a third of jitter on top, so that many corpora do not knock at once.
RETRY_DELAYS = [5, 20, 60, 180]


def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Only the network is asked again: a wrong column does not mend itself."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SourceError) and error.transient


@task(
    retries=len(RETRY_DELAYS),
    retry_delay_seconds=list(RETRY_DELAYS),
    retry_jitter_factor=0.3,
    retry_condition_fn=_is_transient,
    # The store is the cache: it knows by content what is done, also for builds that never saw Prefect.
    cache_policy=NO_CACHE,
    persist_result=False,
)
def step(stage: str, corpus: str, call: Callable[..., Any], *inputs: Any) -> Any:
    """Carry out one step of the graph; its state reads Cached when the store already held the output."""
    log = get_run_logger()
    result = call(*inputs)
    if isinstance(result, Fetched):
        log.info("%s: %d file(s), %s bytes", corpus, len(result.files), f"{sum(f.bytes for f in result.files):,}")
        return result
    if not isinstance(result, Entry):
        return result
    if result.cached:
        return Completed(name="Cached", message=f"{stage} of {corpus} was in the store", data=result)
    log.info("%s of %s: %s", stage, corpus, _told(result.receipt))
    return result


#: An encoder tells of its work at most so often.
PAUSE_S = 30


class Log:
    """Hears of what happens inside steps and logs it in the task run at work."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def hear(self, moved: Moved) -> None:
        """One line per loaded file."""
        if moved.state == "whole":
            size = f"{moved.bytes:,}"
            get_run_logger().info("%s: %s, %s bytes in %.1f s", moved.corpus, moved.name, size, moved.seconds)

    def encoded(self, corpus: str, progress: Encoded) -> None:
        """A line now and then."""
        if time.monotonic() - self._told < PAUSE_S:
            return
        self._told = time.monotonic()
        told = "%s: %s of %s texts, %.0f texts and %.0f tokens a second, %.0f s left"
        done = (f"{progress.texts:,}", f"{progress.of:,}", progress.texts_per_second, progress.tokens_per_second)
        get_run_logger().info(told, corpus, *done, progress.left)


class Tasks:
    """Submits steps as task runs to a started task runner; downloads and GPU steps carry the tags of their limits."""

    def __init__(self, task_runner: TaskRunner[Any]) -> None:
        self._task_runner = task_runner

    def submit(self, stage: str, corpus: str, call: Callable[..., Any], *inputs: Any) -> Pending:
        tags = {"fetch": ["download"], "encode": ["gpu"]}.get(stage, [])
        named = step.with_options(name=stage, task_run_name=f"{stage} {corpus}", tags=tags)
        # What holds no future is bound to the call, out of reach of Prefect's walk through every model of the inputs.
        told = list(inputs)
        while told and _is_plain(told[0]):
            call = partial(call, told.pop(0))
        given = {"stage": stage, "corpus": corpus, "call": call, "inputs": tuple(told)}
        pending: Pending = self._task_runner.submit(named, given)
        return pending


def _is_plain(value: Any) -> bool:
    manifest = Context | ScoringContext | Corpus | Benchmark
    return isinstance(value, manifest) or (isinstance(value, list) and all(isinstance(one, manifest) for one in value))


def _told(receipt: dict[str, Any]) -> str:
    """The plain numbers of a receipt, for a log line."""
    totals = receipt.get("totals", receipt)
    return ", ".join(f"{key} {value:,}" for key, value in totals.items() if isinstance(value, int))
