"""Claim: dedupe takes copies out of real corpora and leaves distinct questions; and it finds what is planted among them.

The real slices go through convert, dedupe and resolve as a recipe of all of them would, all of one use class. Then a draw
of their records, with edits of a part of them, is held against the oracle of string sets.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import polars as pl

from benchmarks import text
from benchmarks.duplicates import BAR_PRECISION, BAR_RECALL, judged
from benchmarks.measure import Table
from pipeline.dedupe import DedupeInput, dedupe
from pipeline.licence import Rank, UseClass
from pipeline.manifest.settings import DedupeConfig
from pipeline.resolve import ResolveConfig, ResolveInput, resolve
from tests.string_oracle import plant_edits

#: Records held against the oracle, edits among them.
PAIRS = 20_000
#: One record in so many is edited.
EDITED = 5
BAR = 0.99
QUESTIONS = ("cmrc2018", "Chinese-SQuAD")


def run(pairs: int = PAIRS) -> Table:
    """Per corpus: records, those that go, and distinct texts with a record that stays."""
    if not text.real_slices():
        table = Table("survival: real corpora", ("corpus",))
        table.notes.append("the real slices do not lie beside this checkout; nothing was measured")
        return table.show()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpora = list(text.converted(folder / "store", "real"))
        table = _survival(corpora, folder)
        rows = [
            row
            for corpus, shards in corpora
            if corpus.near and not corpus.code_sides
            for shard in shards
            for row in pl.read_parquet(shard, columns=["text", "text_pos"]).iter_rows()
        ]
    random.Random(1).shuffle(rows)
    rows = rows[: pairs * EDITED // (EDITED + 1)]
    rows += plant_edits(rows[::EDITED], seed=2)
    config = DedupeConfig()
    for at, there, recall, precision in judged(rows, config, (config.floor, config.threshold)):
        bar = at == config.threshold
        table.add(
            f"{len(rows):,} drawn and edited, from {at:g}",
            f"{there:,}",
            "",
            f"recall {recall:.4f}",
            f"precision {precision:.4f}",
            bar=f"{BAR_RECALL:g} / {BAR_PRECISION:.2f}" if bar else "",
            holds=recall >= BAR_RECALL and precision >= BAR_PRECISION if bar else None,
        )
    return table.show()


def _survival(corpora: list[tuple[text.Corpus, list[Path]]], folder: Path) -> Table:
    config, rank = DedupeConfig(), Rank(commercial=UseClass.ALLOWED, redistribute=UseClass.ALLOWED)
    (folder / "dedupe").mkdir()
    (folder / "resolve").mkdir()
    given = [DedupeInput(c.name, shards, c.symmetric, c.near, frozenset(c.code_sides)) for c, shards in corpora]
    dedupe(given, folder / "dedupe", config)
    inputs = []
    for corpus, shards in corpora:
        classes = sorted((folder / "dedupe" / "classes" / corpus.name).glob("classes-*.parquet"))
        subs = pl.concat([pl.read_parquet(shard, columns=["sub_source"]) for shard in shards])["sub_source"].unique()
        inputs.append(ResolveInput(corpus.name, corpus.grade, dict.fromkeys(subs.to_list(), rank), shards, {}, classes))
    settings = ResolveConfig(threshold=config.threshold)
    crowds = folder / "dedupe" / "crowds.parquet"
    resolve(inputs, folder / "dedupe" / "edges.parquet", frozenset(), folder / "resolve", settings, crowds)
    table = Table("survival: real corpora", ("corpus", "records", "go", "distinct texts", "of them stay"))
    for one in inputs:
        keys = pl.concat([pl.read_parquet(path, columns=["text_key"]) for path in one.classes])["text_key"]
        kept = pl.concat(
            [
                pl.read_parquet(path, columns=["keep"])
                for path in sorted((folder / "resolve" / one.corpus).glob("*.parquet"))
            ]
        )["keep"]
        distinct, staying = keys.n_unique(), keys.filter(kept).n_unique()
        share = staying / max(distinct, 1)
        bar = one.corpus in QUESTIONS
        table.add(
            one.corpus,
            f"{len(keys):,}",
            f"{1 - kept.sum() / max(len(keys), 1):.2%}",
            f"{distinct:,}",
            f"{share:.2%}",
            bar=f"{BAR:.0%}" if bar else "",
            holds=share >= BAR if bar else None,
        )
    return table
