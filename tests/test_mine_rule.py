"""The rule against plain Python, and draws that depend on the record alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest.settings import RuleConfig
from pipeline.mine.rule import MINED, Found, Given, limits, select


def problem(draw: np.random.Generator, n: int, texts: int):
    found = []
    for _ in range(texts):
        k = int(draw.integers(0, 12))
        scores = np.sort(draw.uniform(-1, 1, k).astype(np.float32))[::-1]
        ranks = np.cumsum(draw.integers(1, 3, k))
        found.append(
            [(int(i), float(s), int(r)) for i, s, r in zip(draw.permutation(40)[:k], scores, ranks, strict=True)]
        )
    given_lists = [
        [
            (int(i), float(np.float32(draw.uniform())), int(draw.integers(0, 2)))
            for i in draw.permutation(40)[: draw.integers(0, 4)]
        ]
        for _ in range(n)
    ]
    text = draw.integers(0, texts + 1, n).astype(np.uint32) * 3  # one text has no candidates
    score_pos = draw.uniform(0, 1, n).astype(np.float32)
    seeds = draw.integers(0, 2**63, n).astype(np.uint64)
    return text, score_pos, seeds, given_lists, found


def columns(text, given_lists, found):
    flat = [x for row in found for x in row]
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in found])]).astype(np.int64)
    of = Found(
        np.arange(len(found), dtype=np.uint32) * 3,
        offsets,
        np.array([i for i, _, _ in flat], np.uint32),
        np.array([s for _, s, _ in flat], np.float32),
        np.array([r for _, _, r in flat], np.int32),
    )
    flat = [x for row in given_lists for x in row]
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in given_lists])]).astype(np.int64)
    return Given(
        offsets,
        np.array([i for i, _, _ in flat], np.uint32),
        np.array([s for _, s, _ in flat], np.float32),
        np.array([o for _, _, o in flat], np.uint8),
    ), of


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 9),
    st.floats(0.1, 1),
    st.one_of(st.none(), st.floats(0, 0.5)),
    st.integers(1, 6),
    st.one_of(st.none(), st.integers(6, 20)),
    st.sampled_from(["top", "random"]),
)
def test_select_is_the_rule_in_plain_python(seed, negatives, p, margin, first, last, sample) -> None:
    rule = RuleConfig(negatives=negatives, p=p, margin=margin, first=first, last=last, sample=sample)
    text, score_pos, seeds, given_lists, found = problem(np.random.default_rng(seed), 7, 5)
    mu = 0.25
    chosen = select(text, score_pos, seeds, *columns(text, given_lists, found), rule, mu)
    for i in range(len(text)):
        row = slice(chosen.offsets[i], chosen.offsets[i + 1])
        limit = mu + p * (float(score_pos[i]) - mu)
        limit = limit if margin is None else min(limit, float(score_pos[i]) - margin)
        taken = given_lists[i][:negatives]
        known = {x for x, _, _ in given_lists[i]}
        here = found[text[i] // 3] if text[i] // 3 < len(found) else []
        eligible = [f for f in here if f[1] <= limit and f[0] not in known and first <= f[2] <= (last or 10**9)]
        room = negatives - len(taken)
        ids, ranks, origins = chosen.ids[row].tolist(), chosen.ranks[row].tolist(), chosen.origins[row].tolist()
        assert ids[: len(taken)] == [x for x, _, _ in taken]
        assert origins == [o for _, _, o in taken] + [MINED] * min(room, len(eligible))
        if sample == "top":
            assert ids[len(taken) :] == [x for x, _, _ in eligible[:room]]
        assert set(zip(ids[len(taken) :], ranks[len(taken) :], strict=True)) <= {(x, r) for x, _, r in eligible}
        assert ranks[len(taken) :] == sorted(ranks[len(taken) :])


def test_draws_belong_to_the_record_and_the_seed() -> None:
    text, score_pos, seeds, _, _ = problem(np.random.default_rng(3), 40, 1)
    text[:] = 0
    found = [[(i, 0.01 * (30 - i), i + 1) for i in range(30)]]
    rule = RuleConfig(negatives=4, p=1.0, sample="random")
    score_pos[:] = 0.9

    def draws(order: np.ndarray, rule: RuleConfig) -> list[tuple[int, ...]]:
        given_lists = [[] for _ in order]
        got = select(text[order], score_pos[order], seeds[order], *columns(text, given_lists, found), rule, 0.0)
        return [tuple(got.ids[a:b].tolist()) for a, b in zip(got.offsets, got.offsets[1:], strict=False)]

    order = np.random.default_rng(5).permutation(40)
    straight = draws(np.arange(40), rule)
    assert [straight[i] for i in order] == draws(order, rule)
    assert straight != draws(np.arange(40), rule.model_copy(update={"seed": 1}))
    assert len(set(straight)) > 30
    used = np.bincount(np.array(straight).ravel(), minlength=30)
    assert used.max() < 16 and (used > 0).sum() > 25  # every rank has its chance


def test_the_limit_is_centred() -> None:
    assert limits(np.array([0.95], np.float32), RuleConfig(p=0.8), 0.83)[0] < 0.93
    assert limits(np.array([0.95], np.float32), RuleConfig(p=1.0, margin=0.1), 0.83)[0] < 0.8501
