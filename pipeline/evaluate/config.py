"""Settings of an evaluation out of words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from pipeline.errors import UsageError
from pipeline.manifest.settings import EvaluateConfig, Suite


def evaluate_config(suite: str, tasks: Sequence[str] = ()) -> EvaluateConfig:
    """Raises UsageError for a suite there is not.

    >>> evaluate_config("cmteb", ["LCQMC"]).tasks
    ('LCQMC',)
    """
    if suite not in get_args(Suite):
        raise UsageError(f"--suite {suite}", "there is no such suite", f"give one of {', '.join(get_args(Suite))}")
    return EvaluateConfig.model_validate({"suite": suite, "tasks": tuple(tasks)})
