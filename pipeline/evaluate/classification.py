"""The six classification tasks of the seed's MTEB-zh, as tasks of mteb.

Names, splits, columns, samples per label and numbers of experiments are those of uniem's mteb-zh/mteb_zh/tasks.py. Three
repositories are loading scripts, which `datasets` no longer runs: the Hub's own parquet conversion of them is read. For
TNews and IFlyTek uniem read clue/clue; here the copies of C-MTEB at a fixed commit are read, of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mteb.abstasks.classification import AbsTaskClassification

from pipeline.evaluate.hub import fetched
from pipeline.evaluate.metadata import metadata

CONVERSION = "refs/convert/parquet"


@dataclass(frozen=True)
class Source:
    """Where a task's rows lie: a data set of the Hub, its splits as patterns of parquet files, and its text column.

    `revision` that is no commit moves; what it stood for is told with the score.
    """

    repo: str
    revision: str
    files: dict[str, str]
    split: str
    text: str = "text"
    experiments: int = 10
    note: str = field(default="")


def _parts(folder: str, split: str) -> dict[str, str]:
    return {name: f"{folder}/{name}/*.parquet" for name in ("train", split)}


_UNSEEN = "No commit is fixed and the layout was not seen: the paths are the Hub's rule for a parquet conversion."
SOURCES = {
    "TNews": Source(
        "C-MTEB/TNews-classification",
        "317f262bf1e6126357bbe89e875451e4b0938fe4",
        {"train": "data/train-*.parquet", "validation": "data/validation-*.parquet"},
        "validation",
        experiments=5,
        note="uniem read the validation split of clue/clue tnews: 10,000 texts as well, not compared.",
    ),
    "JDIphone": Source(
        "kuroneko5943/jd21", CONVERSION, _parts("iPhone", "validation"), "validation", "sentence", note=_UNSEEN
    ),
    "GubaEastmony": Source("Fearao/guba_eastmoney", CONVERSION, _parts("default", "test"), "test", note=_UNSEEN),
    "TYQSentiment": Source(
        "tyqiangz/multilingual-sentiments",
        CONVERSION,
        _parts("chinese", "validation"),
        "validation",
        note="No commit is fixed; 3,000 texts.",
    ),
    "StockComSentiment": Source(
        "kuroneko5943/stock11",
        CONVERSION,
        _parts("communication", "validation"),
        "validation",
        "sentence",
        note=_UNSEEN,
    ),
    "IFlyTek": Source(
        "C-MTEB/IFlyTek-classification",
        "421605374b29664c5fc098418fe20ada9bd55f8a",
        {"train": "data/train-*.parquet", "validation": "data/validation-*.parquet"},
        "validation",
        experiments=3,
        note="uniem read the validation split of clue/clue iflytek: 2,599 texts as well, not compared.",
    ),
}


class SeedClassification(AbsTaskClassification):
    """A logistic regression on 32 vectors of each label, `n_experiments` times; accuracy on the split's texts.

    `commit` is what the revision stood for when the rows were read; None for rows of a folder on this machine.
    """

    samples_per_label = 32
    commit: str | None = None

    def __init__(self, name: str) -> None:
        source = SOURCES[name]
        told = f"{name} of MTEB-zh (uniem). {source.note}".strip()
        self.metadata = metadata(name, "Classification", source.repo, source.revision, [source.split], told)
        self.n_experiments = source.experiments
        super().__init__()

    def load_data(self, num_proc: int | None = None, *, timer: Any = None, **_: Any) -> None:
        """Raises what `datasets` raises; see `pipeline.evaluate.hub`."""
        from datasets import load_dataset

        if self.data_loaded:
            return
        source = SOURCES[self.metadata.name]
        folder, self.commit = fetched(self.metadata.dataset["path"], source.revision, source.files.values())
        read = load_dataset("parquet", data_files={split: f"{folder}/{name}" for split, name in source.files.items()})
        self.dataset = read.rename_column(source.text, "text") if source.text != "text" else read
        self.data_loaded = True
