"""What mteb wants to know of a task that is not its own."""

from __future__ import annotations

from typing import Any

from mteb.abstasks.task_metadata import TaskMetadata

#: Main score of each type that we make tasks of.
METRICS = {
    "Classification": "accuracy",
    "PairClassification": "max_ap",
    "Retrieval": "ndcg_at_10",
    "STS": "cosine_spearman",
}
CATEGORIES = {"Classification": "t2c"}


def metadata(name: str, kind: str, path: str, revision: str, splits: list[str], told: str, **more: Any) -> Any:
    """Metadata of a task of Chinese text. `revision`: a commit or ref of the Hub, or a checksum of local files.

    >>> metadata("mine", "STS", "mine.jsonl", "0" * 64, ["test"], "made here").main_score
    'cosine_spearman'
    """
    unknown = dict.fromkeys(
        ("date", "domains", "task_subtypes", "license", "annotations_creators", "dialect", "sample_creation")
    )
    return TaskMetadata(
        name=name,
        type=kind,
        description=told,
        dataset={"path": path, "revision": revision},
        category=CATEGORIES.get(kind, "t2t"),
        modalities=["text"],
        eval_splits=splits,
        eval_langs=more.pop("languages", ["cmn-Hans"]),
        main_score=METRICS[kind],
        reference=more.pop("reference", None),
        bibtex_citation="",
        **unknown,
    )
