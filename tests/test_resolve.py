"""Resolve against a slow, plain restatement of its rules, and its promises as invariants."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.licence import Rank, UseClass
from pipeline.manifest.settings import CapConfig
from pipeline.record import CONSISTENCY_SCHEMA, MARK_SCHEMA, TEXT_SCHEMA
from pipeline.resolve import ResolveConfig, ResolveInput, resolve

STRICTNESS = {"allowed": 0, "unknown": 1, "forbidden": 2}


@dataclass
class Row:
    record_id: str
    class_id: int
    text_key: int = 0
    quality: float | None = None
    sub_source: str = ""
    mark: str | None = None
    leak: str | None = None
    rank: int | None = None


@dataclass
class Given:
    """Corpora in recipe order: name -> (grade, use class per sub_source, rows); edges between classes."""

    corpora: dict[str, tuple[str, dict[str, str], list[Row]]]
    edges: list[tuple[int, int, float, bool]] = field(default_factory=list)


def run(
    given: Given,
    folder: Path,
    threshold: float = 0.8,
    cap: int | None = None,
    tombstones: frozenset[str] = frozenset(),
    usable: dict[str, bool] | None = None,
    top: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Write the inputs as files, resolve, and read the decisions back by record_id."""
    inputs = []
    for name, (grade, uses, rows) in given.corpora.items():
        home = folder / "in" / name
        home.mkdir(parents=True)
        text = pa.Table.from_pylist(
            [
                dict(
                    record_id=r.record_id,
                    corpus=name,
                    sub_source=r.sub_source,
                    split="train",
                    row=f"f#{i}",
                    text="t",
                    text_pos="p",
                    text_neg=[],
                    prompt="",
                    prompt_pos="",
                    score=None,
                    doc_group=0,
                    quality_score=r.quality,
                )
                for i, r in enumerate(rows)
            ],
            schema=TEXT_SCHEMA,
        )
        pq.write_table(text, home / "text-00000.parquet")
        for stage in ("mark", "leak"):
            told = [
                {
                    "reason": getattr(r, stage),
                    "against": "Task" if stage == "leak" else None,
                    "similarity": None,
                    "flags": [],
                }
                for r in rows
            ]
            pq.write_table(pa.Table.from_pylist(told, schema=MARK_SCHEMA), home / f"{stage}.parquet")
        ranked = [{"flags": [], "rank": r.rank, "score": (r.rank or 0) / 8} for r in rows]
        pq.write_table(pa.Table.from_pylist(ranked, schema=CONSISTENCY_SCHEMA), home / "rank.parquet")
        pl.DataFrame(
            {
                "class_id": [r.class_id for r in rows],
                "text_key": [r.text_key for r in rows],
                "pos_key": [0] * len(rows),
            },
            schema={"class_id": pl.UInt64, "text_key": pl.UInt64, "pos_key": pl.UInt64},
        ).write_parquet(home / "classes.parquet")
        ranks = {
            s: Rank(commercial=UseClass(u), redistribute=UseClass.ALLOWED, usable=(usable or {}).get(u, True))
            for s, u in uses.items()
        }
        inputs.append(
            ResolveInput(
                name,
                grade,
                ranks,
                [home / "text-00000.parquet"],
                {
                    "quality": [home / "mark.parquet"],
                    "decontaminate": [home / "leak.parquet"],
                    "consistency": [home / "rank.parquet"],
                },
                [home / "classes.parquet"],
            )
        )
    edges = folder / "edges.parquet"
    pl.DataFrame(
        given.edges,
        schema={"class_a": pl.UInt64, "class_b": pl.UInt64, "similarity": pl.Float32, "swapped": pl.Boolean},
        orient="row",
    ).write_parquet(edges)
    out = folder / "out"
    out.mkdir()
    receipt = resolve(
        inputs,
        edges,
        tombstones,
        out,
        ResolveConfig(threshold=threshold, cap=CapConfig(positives_per_text=cap) if cap else None, top=top),
    )
    decided: dict[str, dict[str, Any]] = {}
    for name, (_, _, rows) in given.corpora.items():
        found = pq.read_table(out / name / "decisions-00000.parquet").to_pylist()
        decided |= {r.record_id: d for r, d in zip(rows, found, strict=True)}
        assert receipt["corpora"][name]["kept"] == sum(d["keep"] for d in found)
        assert receipt["corpora"][name]["records"] == len(rows)
    return decided


def plainly(given: Given, threshold: float) -> dict[str, str]:
    """The rule as the design words it: walk survivors in priority order, keep unless near a kept one. id -> fate."""
    everyone = [
        ((STRICTNESS[uses[r.sub_source]], 0, 0 if grade == "优" else 1, place, r.record_id), r)
        for place, (grade, uses, rows) in enumerate(given.corpora.values())
        for r in rows
    ]
    near = {frozenset((a, b)): s for a, b, s, _ in given.edges if s >= threshold}
    kept: dict[int, str] = {}
    fate: dict[str, str] = {}
    for _, r in sorted(everyone, key=lambda pair: pair[0]):
        if r.mark or r.leak:
            fate[r.record_id] = "marked"
        elif r.class_id in kept or any(frozenset((r.class_id, c)) in near for c in kept):
            fate[r.record_id] = "duplicate"
        else:
            kept[r.class_id] = r.record_id
            fate[r.record_id] = "kept"
    return fate


def some_id(n: int) -> str:
    return f"{(n * 0x9E3779B97F4A7C15) % 2**128:032x}"


@st.composite
def situations(draw: st.DrawFn) -> Given:
    classes = draw(st.integers(1, 8))
    number = iter(range(10_000))
    corpora = {}
    for name in draw(st.permutations(["a", "b", "c"]))[: draw(st.integers(1, 3))]:
        rows = [
            Row(
                some_id(next(number)),
                draw(st.integers(0, classes - 1)),
                sub_source=draw(st.sampled_from(["", "x"])),
                mark=draw(st.sampled_from([None, None, None, "too_short"])),
                leak=draw(st.sampled_from([None, None, None, "benchmark_query"])),
            )
            for _ in range(draw(st.integers(0, 7)))
        ]
        uses = {"": draw(st.sampled_from(sorted(STRICTNESS))), "x": draw(st.sampled_from(sorted(STRICTNESS)))}
        corpora[name] = (draw(st.sampled_from("优良")), uses, rows)
    pairs = [(a, b) for a in range(classes) for b in range(a + 1, classes)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=10)) if pairs else []
    return Given(
        corpora,
        [(a, b, draw(st.sampled_from([0.6, 0.75, 0.8, 0.9, 1.0])), draw(st.booleans())) for a, b in sorted(chosen)],
    )


@settings(max_examples=120, deadline=None)
@given(situations())
def test_decisions_are_those_of_the_plain_rule(given: Given) -> None:
    with tempfile.TemporaryDirectory() as folder:
        decided = run(given, Path(folder))
    expected = plainly(given, 0.8)
    found = {
        i: "kept" if d["keep"] else "duplicate" if d["stage"] == "dedupe" else "marked" for i, d in decided.items()
    }
    assert found == expected
    class_of = {r.record_id: r.class_id for _, _, rows in given.corpora.values() for r in rows}
    near = {frozenset((a, b)): s for a, b, s, _ in given.edges}
    for record_id, d in decided.items():
        if d["stage"] == "dedupe":
            assert decided[d["duplicate_of"]]["keep"]
            both = frozenset((class_of[record_id], class_of[d["duplicate_of"]]))
            assert d["similarity"] == pytest.approx(1.0 if len(both) == 1 else near[both])
            assert d["similarity"] >= 0.8 - 1e-6
        else:
            assert d["duplicate_of"] is None


def test_the_freest_copy_is_kept_then_the_better_then_the_earlier() -> None:
    rows = [Row(some_id(i), 0) for i in range(4)]
    given = Given(
        {
            "first": ("优", {"": "forbidden"}, [rows[0]]),
            "second": ("良", {"": "allowed"}, [rows[1]]),
            "third": ("优", {"": "allowed"}, [rows[2]]),
            "fourth": ("优", {"": "allowed"}, [rows[3]]),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        decided = run(given, Path(folder))
    assert [decided[r.record_id]["keep"] for r in rows] == [False, False, True, False]
    assert {d["duplicate_of"] for d in decided.values() if not d["keep"]} == {rows[2].record_id}
    assert {d["reason"] for d in decided.values() if not d["keep"]} == {"exact_duplicate"}


def test_a_kept_record_lists_the_other_corpora_that_held_a_copy(tmp_path: Path) -> None:
    a, near, dead, own, alone = (Row(some_id(i), c) for i, c in enumerate([0, 1, 0, 0, 2]))
    unwanted, other = Row(some_id(5), 0, sub_source="x"), Row(some_id(6), 3)
    dead.mark = "too_short"
    given = Given(
        {
            "z": ("优", {"": "allowed"}, [a, own, alone]),
            "near": ("优", {"": "forbidden"}, [near, other]),
            "dead": ("优", {"": "forbidden"}, [dead]),
            "barred": ("优", {"": "forbidden", "x": "unknown"}, [unwanted]),
        },
        [(0, 1, 0.9, False), (1, 3, 0.5, False)],
    )
    decided = run(given, tmp_path, usable={"unknown": False, "x": False})
    assert decided[a.record_id]["keep"]
    assert decided[a.record_id]["also_in"] == ["barred", "dead", "near"]
    told = {r.record_id: decided[r.record_id]["also_in"] for r in (near, dead, own, alone, unwanted, other)}
    assert set(map(tuple, told.values())) == {()}


def test_the_copies_of_a_record_over_the_cap_are_listed_nowhere(tmp_path: Path) -> None:
    best, over, copy = (
        Row(some_id(1), 0, text_key=7, quality=2.0),
        Row(some_id(2), 1, text_key=7),
        Row(some_id(3), 1, text_key=7),
    )
    decided = run(
        Given({"a": ("优", {"": "allowed"}, [best, over]), "b": ("优", {"": "unknown"}, [copy])}), tmp_path, cap=1
    )
    assert [decided[r.record_id]["also_in"] for r in (best, over, copy)] == [[], [], []]


def test_a_chain_keeps_its_far_end_and_a_marked_record_shields_nothing(tmp_path: Path) -> None:
    a, b, c, d, e = (Row(f"{i:016x}{0:016x}", i) for i in range(5))
    d.mark = "too_short"
    given = Given(
        {"x": ("优", {"": "allowed"}, [a, b, c, d, e])}, [(0, 1, 0.9, False), (1, 2, 0.9, False), (3, 4, 0.95, False)]
    )
    decided = run(given, tmp_path)
    assert [decided[r.record_id]["keep"] for r in (a, b, c, d, e)] == [True, False, True, False, True]
    assert decided[b.record_id]["reason"] == "near_duplicate"
    clusters = [decided[r.record_id]["cluster"] for r in (a, b, c, d, e)]
    assert len(set(clusters[:3])) == 1 and clusters[3] == clusters[4] != clusters[0]


def test_swapped_pairs_and_equal_pairs_of_another_kind_are_told_apart(tmp_path: Path) -> None:
    rows = [Row(f"{i:032x}", i) for i in range(3)]
    decided = run(Given({"x": ("优", {"": "allowed"}, rows)}, [(0, 1, 1.0, True), (0, 2, 1.0, False)]), tmp_path)
    assert [decided[r.record_id]["reason"] for r in rows] == [None, "swapped_duplicate", "exact_duplicate"]


def test_the_threshold_is_a_query(tmp_path: Path) -> None:
    rows = [Row(f"{i:032x}", i) for i in range(2)]
    given = Given({"x": ("优", {"": "allowed"}, rows)}, [(0, 1, 0.7, False)])
    for threshold, kept in ((0.8, 2), (0.7, 1), (0.6, 1)):
        decided = run(given, tmp_path / str(threshold), threshold=threshold)
        assert sum(d["keep"] for d in decided.values()) == kept


def test_the_cap_keeps_the_best_and_their_duplicates_go_with_the_rest(tmp_path: Path) -> None:
    scores = [1.0, 5.0, None, 3.0]
    rows = [Row(f"{i:032x}", i, text_key=7, quality=q) for i, q in enumerate(scores)]
    other = Row(f"{9:032x}", 9, text_key=8)
    shadow = Row(f"{10:032x}", 2, text_key=7)  # an exact copy of the one without a score
    decided = run(Given({"x": ("优", {"": "allowed"}, [*rows, other, shadow])}), tmp_path, cap=2)
    assert [decided[r.record_id]["keep"] for r in (*rows, other, shadow)] == [False, True, False, True, True, False]
    assert decided[rows[0].record_id]["reason"] == "positives_per_text"
    assert decided[shadow.record_id]["reason"] == "keeper_over_cap"
    assert decided[shadow.record_id]["duplicate_of"] is None


def test_tombstones_go_first_by_id_and_by_key(tmp_path: Path) -> None:
    rows = [Row(f"{i:032x}", i, text_key=i + 100) for i in range(3)]
    rows[0].mark = "too_short"
    decided = run(
        Given({"x": ("优", {"": "allowed"}, rows)}), tmp_path, tombstones=frozenset({rows[0].record_id, f"{101:016x}"})
    )
    assert [decided[r.record_id]["stage"] for r in rows] == ["tombstone", "tombstone", None]


def test_a_recipe_by_use_class_drops_other_sub_sources_and_keeps_a_usable_copy(tmp_path: Path) -> None:
    rows = [Row(f"{0:032x}", 0, sub_source="x"), Row(f"{1:032x}", 0)]
    given = Given({"c": ("优", {"": "unknown", "x": "allowed"}, rows)})
    decided = run(given, tmp_path, usable={"unknown": False})
    assert [decided[r.record_id]["keep"] for r in rows] == [True, False]
    assert decided[rows[1].record_id]["reason"] == "use_class"


def test_a_contaminated_record_names_its_benchmark(tmp_path: Path) -> None:
    row = Row(f"{0:032x}", 0, leak="benchmark_query")
    decided = run(Given({"c": ("优", {"": "allowed"}, [row])}), tmp_path)
    assert (decided[row.record_id]["stage"], decided[row.record_id]["benchmark"]) == ("decontaminate", "Task")


def test_a_positive_that_ranks_too_far_down_goes(tmp_path: Path) -> None:
    """`top` is a query over stored ranks: the same marks, another verdict. What other stages remove comes first."""
    rows = [
        Row(some_id(0), 0, rank=20),
        Row(some_id(1), 1, rank=21),
        Row(some_id(2), 2, rank=None),
        Row(some_id(3), 3, rank=90, mark="too_short"),
        # A copy of what goes takes its place.
        Row(some_id(4), 1, rank=3),
    ]
    given = Given({"a": ("优", {"": "allowed"}, rows)})
    for top, gone in ((None, []), (20, [1]), (2, [0, 1, 4])):
        (tmp_path / str(top)).mkdir()
        decided = run(given, tmp_path / str(top), top=top)
        by_rank = [n for n in range(5) if decided[some_id(n)]["stage"] == "consistency"]
        assert by_rank == gone
        for n in gone:
            told = decided[some_id(n)]
            assert (told["reason"], told["similarity"]) == ("rank", (rows[n].rank or 0) / 8)
            assert told["duplicate_of"] is told["benchmark"] is None
        assert decided[some_id(3)]["stage"] == "quality"
        assert decided[some_id(2)]["keep"] and decided[some_id(4)]["keep"] == (top == 20)
