"""Random licence graphs through the real resolve and assemble, then through mining: nothing comes out freer than a part.

A graph is a handful of corpora with parts under random terms, records in classes of exact copies with edges between
them, shipped negatives, labelled rows, use classes that are not wanted, tombstones. Many graphs go through the stages at
once, in classes and texts of their own: the stages cost by the call, not by the row.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.assemble import AssembleInput, assemble
from pipeline.licence import Policy, Rank, RowTerms, Terms, UseClass, Uses, scored_uses
from pipeline.licence.scored import miner_use, scored_use
from pipeline.record import LABELLED_SCHEMA, MARK_SCHEMA, TEXT_SCHEMA
from pipeline.resolve import ResolveConfig, ResolveInput, resolve

CORPORA, PARTS, GRAPHS, BATCHES = ("a", "b", "c"), ("", "x"), 25, 40
USES = tuple(UseClass)
AXES = ("commercial", "redistribute")


def key(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode())


@dataclass
class Graphs:
    """What the stages read, corpus by corpus, and what the test knows of it."""

    terms: dict[tuple[str, str], Uses]
    usable: dict[tuple[str, str], bool]
    text: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {c: [] for c in CORPORA})
    classes: dict[str, list[dict[str, int]]] = field(default_factory=lambda: {c: [] for c in CORPORA})
    labelled: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {c: [] for c in CORPORA})
    edges: list[tuple[int, int, float, bool]] = field(default_factory=list)
    tombstones: set[str] = field(default_factory=set)
    near: dict[int, set[int]] = field(default_factory=dict)


def grown(chance: random.Random) -> Graphs:
    """GRAPHS graphs under one set of terms."""
    parts = [(c, p) for c in CORPORA for p in PARTS]
    graphs = Graphs(
        {part: Uses(chance.choice(USES), chance.choice(USES)) for part in parts},
        {part: chance.random() < 0.8 for part in parts},
    )
    number = 0
    for graph in range(GRAPHS):
        base = graph * 8
        for _ in range(chance.randrange(2, 9)):
            corpus, part, of = chance.choice(CORPORA), chance.choice(PARTS), base + chance.randrange(4)
            number += 1
            record_id = f"{chance.getrandbits(128):032x}"
            # A negative names its part, its home and itself, in letters: the match key drops punctuation.
            negatives = [f"neg{corpus}part{part}n{number}i{i}" for i in range(chance.randrange(3))]
            held = dict(corpus=corpus, sub_source=part, split="train", row=f"f#{number}", score=None)
            graphs.text[corpus].append(
                dict(
                    record_id=record_id, text=f"t{of}", text_pos=f"p{of}", text_neg=negatives, prompt="", prompt_pos=""
                )
                | held
                | dict(doc_group=0, quality_score=None)
            )
            graphs.classes[corpus].append(
                dict(class_id=of, text_key=key(f"t{of}"), pos_key=key(f"p{of}"), text_group=of, pos_group=of)
            )
            if chance.random() < 0.3:
                graphs.labelled[corpus].append(
                    held | dict(record_id=f"{chance.getrandbits(128):032x}", text=f"l{number}", other="o", label=False)
                )
            if chance.random() < 0.05:
                graphs.tombstones.add(chance.choice([record_id, f"{key(f't{of}'):016x}", *map(_hash, negatives)]))
        for a in range(base, base + 4):
            for b in range(a + 1, base + 4):
                if chance.random() < 0.2:
                    graphs.edges.append((a, b, chance.choice([0.7, 0.8, 0.95, 1.0]), False))
    return graphs


def _hash(text: str) -> str:
    return f"{key(text):016x}"


def through(graphs: Graphs, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Write, resolve, assemble; the finished rows per corpus, labelled ones under `labelled <corpus>`."""
    inputs, paths = [], {}
    for corpus in CORPORA:
        home = folder / corpus
        home.mkdir()
        rows = graphs.text[corpus]
        pq.write_table(pa.Table.from_pylist(rows, schema=TEXT_SCHEMA), home / "text.parquet")
        pq.write_table(pa.Table.from_pylist(graphs.labelled[corpus], schema=LABELLED_SCHEMA), home / "labelled.parquet")
        names = ("class_id", "text_key", "pos_key", "text_group", "pos_group")
        pl.DataFrame(graphs.classes[corpus], schema=dict.fromkeys(names, pl.UInt64)).write_parquet(
            home / "classes.parquet"
        )
        for name, n in (("marks", len(rows)), ("labelled-marks", len(graphs.labelled[corpus]))):
            none = [dict(reason=None, against=None, similarity=None, flags=[])] * n
            pq.write_table(pa.Table.from_pylist(none, schema=MARK_SCHEMA), home / f"{name}.parquet")
        pl.DataFrame(schema={"record_row": pl.UInt32, "neg": pl.UInt32}).write_parquet(home / "negatives.parquet")
        paths[corpus] = {p.stem: [p] for p in home.iterdir()}
        ranks = {
            part: Rank(**graphs.terms[corpus, part]._asdict(), usable=graphs.usable[corpus, part]) for part in PARTS
        }
        mine = paths[corpus]
        inputs.append(ResolveInput(corpus, "优", ranks, mine["text"], {"quality": mine["marks"]}, mine["classes"]))
    schema = {"class_a": pl.UInt64, "class_b": pl.UInt64, "similarity": pl.Float32, "swapped": pl.Boolean}
    pl.DataFrame(graphs.edges, schema=schema, orient="row").write_parquet(folder / "edges.parquet")
    tombstones = frozenset(graphs.tombstones)
    resolve(inputs, folder / "edges.parquet", tombstones, folder / "decided", ResolveConfig(threshold=0.8))
    found = {}
    for corpus in CORPORA:
        mine = paths[corpus]
        given_input = AssembleInput(
            corpus,
            mine["text"],
            sorted((folder / "decided" / corpus).glob("*.parquet")),
            mine["classes"],
            [mine["marks"]],
            mine["negatives"],
            mine["labelled"],
            mine["labelled-marks"],
        )
        terms = {
            part: RowTerms(
                licence_id=f"LicenseRef-{corpus}{part}",
                commercial=graphs.terms[corpus, part].commercial.value,
                redistribute=graphs.terms[corpus, part].redistribute.value,
                usable=graphs.usable[corpus, part],
            )
            for part in PARTS
        }
        out = folder / "out" / corpus
        out.mkdir(parents=True)
        assemble(given_input, [p for c in CORPORA for p in paths[c]["classes"]], terms, out, tombstones)
        found[corpus] = pl.read_parquet(out / "train-*.parquet").to_dicts()
        found[f"labelled {corpus}"] = pl.read_parquet(out / "labelled-*.parquet").to_dicts()
    return found


def rank(row: dict[str, Any]) -> tuple[int, int]:
    return (UseClass(row["commercial"]).rank, UseClass(row["redistribute"]).rank)


def check_rows(graphs: Graphs, found: dict[str, list[dict[str, Any]]]) -> None:
    """Columns are the part's own; nothing unwanted or struck is left; negatives are of the very same part."""
    for row in (row for rows in found.values() for row in rows):
        part = (row["corpus"], row["sub_source"])
        assert (row["commercial"], row["redistribute"]) == graphs.terms[part]
        assert row["licence_id"] == f"LicenseRef-{part[0]}{part[1]}"
        assert graphs.usable[part]
        assert row["record_id"] not in graphs.tombstones
        for negative in row.get("text_neg", []):
            assert negative.startswith(f"neg{part[0]}part{part[1]}n")
            assert _hash(negative) not in graphs.tombstones


def check_copies(graphs: Graphs, found: dict[str, list[dict[str, Any]]]) -> None:
    """Of exact copies that may stay the freest does, and it lists the corpora of the others."""
    kept = {row["record_id"]: row for c in CORPORA for row in found[c]}
    of_class: dict[int, list[dict[str, Any]]] = {}
    for corpus in CORPORA:
        for row, told in zip(graphs.text[corpus], graphs.classes[corpus], strict=True):
            of_class.setdefault(told["class_id"], []).append(row)
    near = {frozenset((a, b)) for a, b, similarity, _ in graphs.edges if similarity >= 0.8}
    for class_id, rows in of_class.items():
        stay = [row for row in rows if row["record_id"] in kept]
        assert len(stay) <= 1
        for row in stay:
            mine = kept[row["record_id"]]
            alive = [
                dict(zip(AXES, graphs.terms[r["corpus"], r["sub_source"]], strict=True))
                for r in rows
                if graphs.usable[r["corpus"], r["sub_source"]]
                and r["record_id"] not in graphs.tombstones
                and not {_hash(r["text"]), _hash(r["text_pos"])} & graphs.tombstones
            ]
            assert rank(mine) == min(map(rank, alive))
            exact = {r["corpus"] for r in rows} - {row["corpus"]}
            about = {n for pair in near if class_id in pair for n in pair} | {class_id}
            widest = {r["corpus"] for n in about for r in of_class.get(n, [])} - {row["corpus"]}
            assert exact <= set(mine["also_in"]) <= widest
            assert mine["also_in"] == sorted(set(mine["also_in"]))


def check_mining(found: dict[str, list[dict[str, Any]]], chance: random.Random) -> None:
    """Negatives mined from the kept records: no scored record is freer than its strictest part, in columns as singly."""
    kept = [row for c in CORPORA for row in found[c]]
    if not kept:
        return
    miner = Terms(spdx="X", commercial=chance.choice(USES[1:]), redistribute=chance.choice(USES[1:]), confidence="low")
    policy = Policy(accept_miner_terms=chance.random() < 0.5)
    mined = [[chance.choice([*kept, None]) for _ in range(chance.randrange(4))] for _ in kept]
    for axis in AXES:
        frame = pl.DataFrame(
            {"own": [row[axis] for row in kept], "negs": [[n and n[axis] for n in negs] for negs in mined]},
            schema={"own": pl.String, "negs": pl.List(pl.String)},
        )
        use = scored_use(pl.col("own"), pl.col("negs"), miner_use(miner, policy, axis))
        for row, negs, got in zip(kept, mined, frame.select(use=use)["use"], strict=True):
            told = [Uses(*(UseClass(n[a]) for a in AXES)) if n else None for n in negs]
            own = Uses(*(UseClass(row[a]) for a in AXES))
            assert got == getattr(scored_uses(own, told, miner, policy), axis)
            parts = [row[axis], *(n[axis] if n else "unknown" for n in negs)]
            parts += [] if policy.accept_miner_terms else [getattr(miner, axis).value]
            assert UseClass(got).rank == max(UseClass(p).rank for p in parts)


@settings(max_examples=BATCHES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**64 - 1))
def test_a_thousand_licence_graphs_give_nothing_freer_than_its_parts(seed: int) -> None:
    chance = random.Random(seed)
    graphs = grown(chance)
    with tempfile.TemporaryDirectory() as folder:
        found = through(graphs, Path(folder))
    check_rows(graphs, found)
    check_copies(graphs, found)
    check_mining(found, chance)


def test_the_batches_make_a_thousand() -> None:
    assert GRAPHS * BATCHES >= 1000
