"""One evaluation: from a model and a suite to a folder of scores."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.disk import writable
from pipeline.errors import CurationError, NetworkError, StoreError, UsageError
from pipeline.evaluate.papers import draw
from pipeline.evaluate.published import SOURCE, published
from pipeline.evaluate.suites import tasks_of
from pipeline.folder import readable_json
from pipeline.manifest.encoder import HubModel
from pipeline.manifest.settings import EvaluateConfig
from pipeline.receipt import versions
from pipeline.store import write_durably
from pipeline.train.base import Base
from pipeline.weights import EncoderIdentity, identify

#: Hears (task, its place, how many, its main score, or None when it begins).
Heard = Callable[[str, int, int, float | None], None]
#: Written first: which model and suite a folder is of. Written last: what came of it.
SETTINGS, RESULTS = "settings.json", "results.json"
NEEDED = ("datasets", "mteb", "sentence_transformers", "torch")
#: What a task of retrieval tells beside its main score: what the seed told.
DETAILS = tuple(f"{metric}_at_{k}" for metric in ("map", "mrr", "ndcg") for k in (1, 10))


@dataclass(frozen=True)
class Evaluated:
    """Where the scores lie and what `results.json` says; `gaps` are the tasks that could not be run, and why.

    speed: texts, distinct texts, tokens and seconds of what was encoded now; empty where nothing was.
    """

    folder: Path
    results: dict[str, Any]
    gaps: list[CurationError]
    changed: bool
    speed: dict[str, float]


def evaluate(
    base: Base,
    out: Path,
    config: EvaluateConfig,
    local: Path | None = None,
    data: Path | None = None,
    listen: Heard = lambda *_: None,
) -> Evaluated:
    """Run the tasks of a suite on a model by mteb's own measures, and write what they score to `out`.

    A task that is done is not run again, unless its data or its revision changed: so an evaluation goes on where it was
    stopped, and tasks may be added. A task whose data cannot be had is a gap, and the others go on; where the Hub cannot
    be reached at all, the evaluation ends, keeping what is done.

    local: what `local_tasks` reads; data: as in `tasks_of`.

    Files: `settings.json`; `tasks/<task>.json`, mteb's own result; `results.json`, the same for the same model and data;
    `scores.svg`; `run.json`, the times.

    Raises UsageError for a suite or task there is not, and where the extra `eval` is missing or `out` holds another
    evaluation; SourceError or NetworkError where the model or all data cannot be had; StoreError where `out` holds
    something else.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise UsageError("m3e evaluate", f"{', '.join(missing)} is not installed", "pip install 'm3e-pipeline[eval]'")
    identity = identify(base.manifest, base.home)
    asked = {"model": model_name(base), "identity": identity.address(), "suite": config.suite}
    _check_folder(out, asked)
    tasks = tasks_of(config.suite, config.tasks, local, data)
    with writable(out, "evaluation"):
        (out / "tasks").mkdir(parents=True, exist_ok=True)
        _write(out / SETTINGS, readable_json(asked))
        gaps, speed = _run(base, identity, tasks, out, listen)
        results = _results(base, identity, config, out, tasks_of(config.suite, (), local, data), gaps)
        changed = _write(out / RESULTS, readable_json(results)) or bool(speed.get("texts"))
        if changed and results["scores"]:
            write_durably(out / "scores.svg", draw(results))
    if gaps and not results["scores"]:
        raise gaps[0]
    return Evaluated(out, results, gaps, changed, speed)


def model_name(base: Base) -> str:
    """The model as others may call it, ORG/NAME: never by a path of this machine.

    >>> from pipeline.train import base_model
    >>> model_name(base_model("moka-ai/m3e-base", {}))
    'moka-ai/m3e-base'
    """
    if isinstance(base.manifest.source, HubModel):
        return base.manifest.source.model
    return f"local/{base.manifest.name if base.has_terms else os.path.basename(base.told.rstrip('/'))}"


def _run(
    base: Base, identity: EncoderIdentity, tasks: list[Any], out: Path, listen: Heard
) -> tuple[list[CurationError], dict[str, float]]:
    """Run what is not there yet; returns the gaps, and what was encoded."""
    todo = [task for task in tasks if _done(out, task) is None]
    gaps: list[CurationError] = []
    if not todo:
        return gaps, {}
    from pipeline.evaluate.model import open_model
    from pipeline.evaluate.run import run_task

    model = open_model(base, identity, model_name(base))
    times: dict[str, Any] = _read(out / "run.json") or {}
    for place, task in enumerate(todo, 1):
        name = task.metadata.name
        listen(name, place, len(todo), None)
        try:
            told, times[name] = run_task(model, task)
        except NetworkError:
            raise
        except CurationError as error:
            gaps.append(error)
            continue
        write_durably(_place(out, name), readable_json(told))
        write_durably(out / "run.json", readable_json(times))
        listen(name, place, len(todo), _score(told))
    return gaps, model.speed


def _results(
    base: Base,
    identity: EncoderIdentity,
    config: EvaluateConfig,
    out: Path,
    tasks: list[Any],
    gaps: list[CurationError],
) -> dict[str, Any]:
    from pipeline.evaluate.model import trained_on

    beside, seen = published(config.suite), trained_on(base, model_name(base))
    scores = []
    for task in tasks:
        if (told := _done(out, task)) is None:
            continue
        parts = [part for of_split in told["scores"].values() for part in of_split]
        scores.append(
            {
                "task": told["task_name"],
                "type": task.metadata.type,
                "metric": task.metadata.main_score,
                "score": _score(told),
                "splits": {split: _mean(row["main_score"] for row in rows) for split, rows in told["scores"].items()},
                "details": {name: _mean(p[name] for p in parts) for name in DETAILS if name in parts[0]},
                "revision": told.get("commit") or told["dataset_revision"],
                "trained_on": told["task_name"] in seen,
            }
        )
    return {
        "model": {"name": model_name(base), **identity.told()},
        "suite": config.suite,
        "scores": scores,
        "means": _means(scores, beside),
        "published": {task: told for task, told in beside.items() if any(task == row["task"] for row in scores)},
        "published_source": SOURCE if beside else None,
        "gaps": [{"task": gap.place, "cause": gap.cause, "cure": gap.cure} for gap in gaps],
        "missing": [t.metadata.name for t in tasks if all(t.metadata.name != row["task"] for row in scores)],
        "versions": {**versions(), **_libraries()},
    }


def _means(scores: list[dict[str, Any]], beside: Mapping[str, Any]) -> dict[str, Any]:
    """The mean main score of every type with two tasks or more, with the published means over the same tasks."""
    means = {}
    for kind in dict.fromkeys(row["type"] for row in scores):
        rows = [row for row in scores if row["type"] == kind]
        others = [beside.get(row["task"], {}).get(row["metric"], {}) for row in rows]
        everywhere = [name for name in others[0] if all(name in other for other in others)]
        if len(rows) > 1:
            means[kind] = {
                "tasks": len(rows),
                "score": _mean(row["score"] for row in rows),
                "published": {name: _mean(other[name] for other in others) for name in everywhere},
            }
    return means


def _mean(values: Any) -> float:
    told = list(values)
    return round(math.fsum(told) / len(told), 6)


def _score(told: Mapping[str, Any]) -> float:
    """As mteb has it: the mean over splits and parts of the task."""
    return _mean(row["main_score"] for rows in told["scores"].values() for row in rows)


def _place(out: Path, task: str) -> Path:
    return out / "tasks" / f"{task}.json"


def _done(out: Path, task: Any) -> dict[str, Any] | None:
    """The result of a task that was run on the data it would be run on now."""
    told = _read(_place(out, task.metadata.name))
    return told if told is not None and told["dataset_revision"] == task.metadata.revision else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise StoreError(str(path), "it is no JSON", "delete it: the task is run again") from None
    return told


def _write(path: Path, content: bytes) -> bool:
    if path.is_file() and path.read_bytes() == content:
        return False
    write_durably(path, content)
    return True


def _check_folder(out: Path, asked: dict[str, Any]) -> None:
    if out.exists() and not out.is_dir():
        raise StoreError(str(out), "it is a file", "choose another --out")
    if not out.exists() or not any(out.iterdir()):
        return
    if (before := _read(out / SETTINGS)) is None:
        cause = f"it holds files but no {SETTINGS}, so it is no evaluation of ours"
        raise StoreError(str(out), cause, "choose another --out, or empty that folder")
    now = json.loads(readable_json(asked))
    if differ := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        cause = f"it holds an evaluation that differs in {', '.join(differ)}"
        raise UsageError(str(out), cause, "choose another --out")


def _libraries() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("mteb", "sentence-transformers", "torch", "transformers")}
