"""What is trained on and what is held back: real slices cut in two, and the manifests that tell the pipeline of them.

Two evaluation sets are cut out of their own corpus, whole families of questions at a time, so that no held-back question
stands in what is left; two are files of their own. All four are declared as benchmarks. Beside that, every held-back file
is a `test` split of its corpus, as M3E trained on all splits: whoever takes both splits has leaked.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from benchmarks.measure import ROOT

#: In order of trust, as in the recipe `real`; without SQL, stand-ins of a benchmark, and second copies made for tests.
CORPORA = (
    "cmrc2018",
    "paws-x",
    "csl",
    "ocnli",
    "webqa",
    "CINLID",
    "lcqmc",
    "bq",
    "Chinese-SQuAD",
    "SimCLUE",
    "chatmed_consult",
    "miracl-corpus_standin",
    "dureader_robust_standin",
    "lawzhidao_standin",
    "baike2018qa_standin",
    "alpaca_gpt4_standin",
)
#: Share of the rows of a pair set that is held back, and the seed that draws the families.
HELD_SHARE, SEED = 0.25, 0
SUITE = "held"
REAL = ROOT / "tests" / "real"
CMRC, TRIAL = (f"cmrc2018/raw/squad-style-data/cmrc2018_{name}.json" for name in ("dev", "trial"))
SQUAD, XQUAD = "Chinese-SQuAD/raw/dev-v2.0-zh.part.json", "mlqa/raw-standin/xquad.zh.json"
LCQMC, BQ = "lcqmc/raw/LCQMC.valid.data", "bq/raw/dev.csv"
Pair = tuple[str, str, str]
Manifest = dict[str, Any]


def families(pairs: Sequence[Pair]) -> list[int]:
    """The family of each pair, a number: pairs that share a text, directly or over others, are of one.

    >>> families([("a", "b", "1"), ("c", "d", "0"), ("b", "e", "0")])
    [0, 1, 0]
    """
    above: dict[str, str] = {}

    def top(text: str) -> str:
        while (over := above.setdefault(text, text)) != text:
            above[text] = above[over]
            text = above[text]
        return text

    for one, other, _ in pairs:
        above[top(other)] = top(one)
    numbers: dict[str, int] = {}
    return [numbers.setdefault(top(one), len(numbers)) for one, _, _ in pairs]


def held_rows(pairs: Sequence[Pair], share: float = HELD_SHARE, seed: int = SEED) -> set[int]:
    """Places of the pairs that are held back: whole families in drawn order, as long as they fit into the share."""
    of = np.array(families(pairs))
    sizes = np.bincount(of)
    taken: set[int] = set()
    room = int(share * len(pairs))
    for family in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        if sizes[family] <= room:
            taken.add(family)
            room -= int(sizes[family])
    return set(np.flatnonzero(np.isin(of, list(taken))).tolist())


def read_lcqmc(path: Path) -> list[Pair]:
    with path.open(encoding="utf-8") as file:
        return [_three(line.rstrip("\n").split("\t")) for line in file]


def read_bq(path: Path) -> list[Pair]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [_three(row) for row in list(csv.reader(file))[1:]]


def _three(row: Sequence[str]) -> Pair:
    one, other, label = row
    return one, other, label


def write_slices(slices: Path, work: Path, corpora: Sequence[str] = CORPORA) -> Path:
    """Cut the pair sets into `work/files`, and write `work/manifests` with corpora, benchmarks and the recipe `hq`."""
    files, manifests = work / "files", work / "manifests"
    files.mkdir(parents=True, exist_ok=True)
    cut(read_lcqmc(slices / LCQMC), files / "lcqmc.{}.tsv", _write_tsv)
    cut(read_bq(slices / BQ), files / "bq.{}.csv", _write_csv)
    beside = {
        "lcqmc": (files, {"train": "lcqmc.train.tsv", "test": "lcqmc.test.tsv"}),
        "bq": (files, {"train": "bq.train.csv", "test": "bq.test.csv"}),
        "cmrc2018": (slices, {"train": CMRC, "test": TRIAL}),
        "Chinese-SQuAD": (slices, {"train": SQUAD, "test": XQUAD}),
    }
    for name in corpora:
        told = read_manifest(name)
        if name in beside:
            root, splits = beside[name]
            told |= {"source": {"kind": "local", "root": str(root)}, "splits": list(splits)}
            told["parts"][0]["files"] = splits
        else:
            told["source"]["root"] = str(slices / Path(told["source"]["root"]).name)
        # Counts are of the whole slices.
        del told["expect"]
        write_manifest(manifests, "corpora", told)
    for told in _benchmarks(slices, files):
        write_manifest(manifests, "benchmarks", told)
    recipe = {"decontaminate": {"benchmarks": [SUITE]}, "cap": {"positives_per_text": 5}}
    write_manifest(manifests, "recipes", {"name": "hq", "corpora": list(corpora), **recipe})
    (manifests / "licences.yaml").write_bytes((ROOT / "manifests" / "licences.yaml").read_bytes())
    return manifests


def read_manifest(corpus: str) -> Manifest:
    """The manifest of a real slice, as plain values."""
    told: Manifest = YAML().load(REAL / "corpora" / f"{corpus}.yaml")
    return told


def write_manifest(manifests: Path, kind: str, told: Manifest) -> None:
    """Write `<kind>/<name>.yaml`."""
    path = manifests / kind / f"{told['name']}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    YAML().dump(told, path)


def cut(pairs: Sequence[Pair], to: Path, write: Callable[[Path, Iterable[Pair]], None]) -> None:
    """Write the rows to keep and those held back, in their order."""
    held = held_rows(pairs)
    for split, wanted in (("train", False), ("test", True)):
        write(Path(str(to).format(split)), (row for i, row in enumerate(pairs) if (i in held) == wanted))


def _write_tsv(path: Path, rows: Iterable[Pair]) -> None:
    path.write_text("".join("\t".join(row) + "\n" for row in rows), "utf-8")


def _write_csv(path: Path, rows: Iterable[Pair]) -> None:
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([("sentence1", "sentence2", "label"), *rows])


def _benchmarks(slices: Path, files: Path) -> list[Manifest]:
    texts = [{"role": "query", "text": side} for side in ("sentence1", "sentence2")]
    judged = {"texts": texts, "pairs": [{"text": "sentence1", "other": "sentence2"}]}
    columns = {"sentence1": "string", "sentence2": "string", "label": "string"}
    tsv = {"files": {"test": "lcqmc.test.tsv"}, "layout": "tsv", "header": False, "columns": columns}
    quoted = {"layout": "csv", "encoding": "utf-8-sig", "quote": '"', "columns": columns}
    told = [
        _benchmark("lcqmc-held", files, tsv | judged),
        _benchmark("bq-held", files, {"files": {"test": "bq.test.csv"}} | quoted | judged),
    ]
    passages = {
        "texts": [{"role": "query", "text": "question"}, {"role": "positive", "text": "context"}],
        "pairs": [{"text": "question", "other": "context"}],
    }
    for name, file in (("cmrc-held", TRIAL), ("squad-held", XQUAD)):
        told.append(_benchmark(name, slices, {"files": {"test": file}, "layout": "squad"} | passages))
    return told


def _benchmark(name: str, root: Path, part: Manifest) -> Manifest:
    source = {"kind": "local", "root": str(root)}
    return {"name": name, "task": name, "suites": [SUITE], "source": source, "splits": ["test"], "parts": [part]}
