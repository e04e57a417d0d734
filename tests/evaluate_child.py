"""A child process on the Hub's double, whose address the libraries read when they are imported: `m3e` and mteb itself.

Runs are lists of words: `["m3e", ...]`; `["mteb", MODEL, TASK...]`, the main scores that mteb gives a model of
sentence-transformers; `["read", FILE]`, the score of a result; `["offline"]`, from which on the Hub is not asked, as
with HF_HUB_OFFLINE.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from command import m3e


def scores_of_mteb(model: str, names: list[str]) -> dict[str, float]:
    import mteb
    from sentence_transformers import SentenceTransformer

    told = mteb.evaluate(
        SentenceTransformer(model, device="cpu"),
        [task for task in mteb.get_benchmark("MTEB(cmn, v1)").tasks if task.metadata.name in names],
        cache=None,
        co2_tracker=False,
        show_progress_bar=False,
    )
    return {result.task_name: result.get_score() for result in told.task_results}


def run(words: list[str]) -> Any:
    if words[0] == "mteb":
        return scores_of_mteb(words[1], words[2:])
    if words[0] == "read":
        from mteb import TaskResult

        return TaskResult.from_disk(Path(words[1])).get_score()
    if words[0] == "offline":
        import datasets
        import huggingface_hub

        huggingface_hub.constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
        return None
    done = m3e(*words[1:])
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}


if __name__ == "__main__":
    torch.set_num_threads(1)
    Path(sys.argv[2]).write_text(json.dumps([run(words) for words in json.loads(sys.argv[1])]), "utf-8")
