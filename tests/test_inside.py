"""Queries inside longer text and numbers seen before, against plain Python."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decontaminate.inside import Anchors, inside
from pipeline.decontaminate.seen import Seen
from pipeline.minhash import Keys

# Characters of one to four bytes, few of them, so that anchors repeat, nest and overlap.
texts = st.text(alphabet="aé的𠀀", min_size=1, max_size=14)


def keys_of(listed: list[str]) -> Keys:
    return Keys.of(pl.Series(listed, dtype=pl.String), np.arange(len(listed), dtype=np.uint64))


@settings(deadline=None)
@given(st.lists(texts, max_size=12), st.lists(texts, max_size=12), st.integers(1, 5))
def test_finds_what_a_search_for_each_string_finds(held: list[str], wanted: list[str], chars: int) -> None:
    queries = keys_of(wanted)
    anchors = Anchors.of(queries, np.arange(len(wanted)), chars)
    found = inside(keys_of(held), np.arange(len(held)), queries, anchors)
    expected = [(i, j) for i, a in enumerate(held) for j, b in enumerate(wanted) if len(b) >= chars and b in a]
    assert found.rows() == expected


def test_more_finds_than_the_first_room_holds() -> None:
    """Every place of a text may begin a query; what did not fit at first is not lost."""
    wanted = ["的" * n for n in range(4, 60)]
    queries = keys_of(wanted)
    anchors = Anchors.of(queries, np.arange(len(wanted)), 4)
    held = ["的" * 80] * 30
    found = inside(keys_of(held), np.arange(30), queries, anchors)
    assert found.height == 30 * len(wanted)


def test_only_the_asked_texts_are_searched() -> None:
    queries = keys_of(["故宫在哪"])
    anchors = Anchors.of(queries, np.arange(1), 4)
    assert inside(keys_of(["故宫在哪里", "请问故宫在哪"]), np.array([1]), queries, anchors).rows() == [(1, 0)]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=20))
def test_a_number_is_new_once(batches: list[list[int]]) -> None:
    seen, before = Seen(), set[int]()
    for batch in batches:
        expected = []
        for number in batch:
            expected.append(number not in before)
            before.add(number)
        assert seen.new(np.array(batch, np.uint64)).tolist() == expected
