"""Batches by a budget of tokens."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.encode.batches import by_budget


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100))
def test_every_row_once_in_batches_that_fit(lengths: list[int], budget: int) -> None:
    tokens = np.array(lengths, np.int64)
    batches = by_budget(tokens, budget)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    widths = [int(tokens[batch].max()) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch, width in zip(batches, widths, strict=True):
        assert len(batch) == 1 or len(batch) * width <= budget
    # None but the last could have taken in another row.
    for batch, width in list(zip(batches, widths, strict=True))[:-1]:
        assert (len(batch) + 1) * max(width, 1) > budget
