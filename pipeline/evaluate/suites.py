"""Which tasks a suite has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.evaluate.local import local_tasks

#: Suites that are benchmarks of mteb, by its own names.
BENCHMARKS = {"cmteb": "MTEB(cmn, v1)", "code": "CoIR"}


def tasks_of(suite: str, wanted: Sequence[str] = (), local: Path | None = None, data: Path | None = None) -> list[Any]:
    """The tasks of a suite in its order, or those of them that are wanted.

    suite: `cmteb` (31 tasks), `mteb-zh` (the seed's: six of classification, T2Ranking 1W, 10W and 50W), `code` (CoIR:
    10 tasks of code retrieval) or `local`, described by `local`. data: a folder of data sets as ORG/NAME, each as it
    lies on the Hub, which is read instead of the Hub where it holds one.

    Raises UsageError for names that the suite has not, and what `local_tasks` raises.
    """
    from pipeline.evaluate.hub import relocated

    found = [relocated(task, data) for task in _all(suite, local)] if suite != "local" else _all(suite, local)
    names = [task.metadata.name for task in found]
    if unknown := [name for name in wanted if name not in names]:
        raise UsageError("--tasks", f"{suite} has no task {unknown[0]}", f"give some of {', '.join(names)}")
    return [task for task in found if not wanted or task.metadata.name in wanted]


def _all(suite: str, local: Path | None) -> list[Any]:
    if suite == "local":
        if local is None:
            raise UsageError(
                "m3e evaluate", "the suite local needs tasks", "give --local tasks.yaml, or a folder with one"
            )
        return local_tasks(local)
    if suite in BENCHMARKS:
        from mteb import get_benchmark

        return list(get_benchmark(BENCHMARKS[suite]).tasks)
    from pipeline.evaluate.classification import SOURCES, SeedClassification
    from pipeline.evaluate.t2ranking import SIZES, T2Ranking

    return [*map(SeedClassification, SOURCES), *map(T2Ranking, SIZES)]
