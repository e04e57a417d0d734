"""Evaluate: a model in, its scores on a suite of tasks out, by the measures of mteb.

mteb, torch and datasets are imported inside functions of the modules that need them, so that a mistake on the command
line is told at once.

    stage            one evaluation: its folder, what is done and what is not
    suites           which tasks a suite has
    classification   the seed's six tasks of classification    t2ranking   its T2Ranking 1W, 10W, 50W
    local            tasks out of files on this machine        local_mteb  the same for mteb
    metadata, hub    what mteb wants to know of a task; where its rows come from
    model, search    our encoders as mteb sees a model; the nearest passages in bounded memory
    run              one task through mteb
    published        scores that the seed published            papers      table and chart
"""

from __future__ import annotations

from pipeline.evaluate.stage import Evaluated, Heard, evaluate, model_name

__all__ = ["Evaluated", "Heard", "evaluate", "model_name"]
