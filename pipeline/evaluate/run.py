"""One task through mteb."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
import mteb

from pipeline.evaluate.hub import explained
from pipeline.evaluate.model import BATCH, EvaluatedModel


def run_task(model: EvaluatedModel, task: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """mteb's result as it would save it, with the commit its data is of; and seconds, texts and tokens of the run.

    Raises what `explained` makes of whatever stops it: datasets, their loaders and mteb raise all there is.
    """
    before, began = dict(model.speed), time.perf_counter()
    name, path = task.metadata.name, task.metadata.dataset["path"]
    with _quiet():
        try:
            task.load_data()
            loaded = time.perf_counter()
            done = mteb.evaluate(
                model,
                task,
                cache=None,
                co2_tracker=False,
                encode_kwargs={"batch_size": BATCH, "show_progress_bar": False},
                show_progress_bar=False,
            )
        except Exception as error:
            told = explained(name, path, error)
        else:
            result = done.task_results[0].model_dump(mode="json")
            speed = {key: round(value - before[key], 3) for key, value in model.speed.items()}
            times = {"loading": round(loaded - began, 3), "all": round(time.perf_counter() - began, 3)}
            return result | {"commit": getattr(task, "commit", None)}, times | {
                f"encoded_{k}": v for k, v in speed.items()
            }
        finally:
            # Not its own unload_data: that takes away the metadata of tasks that were made here.
            task.dataset, task.data_loaded = None, False
    # Outside the except block, where `from None` would still leave the original in __context__.
    raise told


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries say of each other; what matters to a user comes as an error."""
    log = logging.getLogger("mteb")
    level, bars = log.level, datasets.are_progress_bars_disabled()
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        if not bars:
            datasets.enable_progress_bars()
