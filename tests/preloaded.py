"""Runs scripts in forks of a process that has polars, numba and our rooms loaded, which takes longer than most scripts do.

It reads jobs from its standard input, a line of JSON each, and answers with the exit code. What a library reads when it
is imported (huggingface_hub: HF_ENDPOINT, the command line: COLUMNS) is read in the fork, in the job's own environment.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import Any

ROOMS = ("make", "convert", "quality", "dedupe", "decontaminate", "resolve", "report.page")
LIBRARIES = ("numba.np.arraymath", "pandas", "scipy.sparse.csgraph", "typer.main", "rich.progress", "rich.table")


def load() -> None:
    for name in (*LIBRARIES, *(f"pipeline.{room}" for room in ROOMS)):
        import_module(name)
    early = {"huggingface_hub", "datasets", "torch", "prefect", "pipeline.cli"} & sys.modules.keys()
    assert not early, f"{early} would be loaded in every fork, with this process's environment"


def next_job() -> dict[str, Any] | None:
    """In a fork: the job it is for. In the first process: None, when nobody asks any more."""
    for line in iter(sys.stdin.readline, ""):
        if (pid := os.fork()) == 0:
            told: dict[str, Any] = json.loads(line)
            return told
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()
    return None


def become(job: dict[str, Any]) -> None:
    """This process as a fresh one would find itself: environment, folder, standard streams, arguments."""
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    for descriptor, place, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, job["out"], os.O_WRONLY | os.O_APPEND),
        (2, job["err"], os.O_WRONLY | os.O_APPEND),
    ):
        opened = os.open(place, flags)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
    sys.path[:0] = ["", *filter(None, job["env"].get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["-c", *job["words"]]


if __name__ == "__main__":
    load()
    if (job := next_job()) is not None:
        become(job)
        exec(compile(job["script"], "<string>", "exec"), {"__name__": "__main__"})
