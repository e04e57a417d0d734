"""Calibration: curves against their definitions, worked out pair by pair in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.score.calibrate import MIN_JUDGED, Curve, curve_of, isotonic_curve, quantile_curve

LEVEL = st.integers(-10, 10).map(lambda n: n / 10)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(LEVEL, st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=25))
def test_isotonic_is_the_best_rising_fit(pairs: list[tuple[float, float]]) -> None:
    """By the max-min formula: the fit at s is the highest, over starts up to s, of the lowest mean from there past s."""
    curve = isotonic_curve(np.array([s for s, _ in pairs]), np.array([y for _, y in pairs]))
    for s in {s for s, _ in pairs}:
        means = []
        for low in {x for x, _ in pairs if x <= s}:
            spans = ([y for x, y in pairs if low <= x <= high] for high in {x for x, _ in pairs if x >= s})
            means.append(min(sum(span) / len(span) for span in spans))
        assert float(np.interp(s, curve.x, curve.y)) == pytest.approx(max(means), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.lists(LEVEL, min_size=1, max_size=30), st.lists(LEVEL, min_size=2, max_size=30), st.lists(LEVEL, max_size=9))
def test_the_quantile_curve_rises_from_0_to_1(positives: list[float], random: list[float], asked: list[float]) -> None:
    curve = quantile_curve(np.array(positives), np.array(sorted(random)))
    told = curve(np.array([-9.0, *sorted(asked), 9.0], np.float32), 0.01)
    assert (np.diff(told) >= 0).all() and told[0] >= 0 and told[-1] <= 1
    assert (
        curve(np.array([-9.0, 9.0], np.float32), 0.5).tolist() == [0, 1]
        or len({*positives}) == 1
        or len({*random}) == 1
    )


def test_the_quantile_curve_is_half_of_either_share() -> None:
    draw = np.random.default_rng(0)
    positives, random = draw.normal(0.8, 0.05, 20_000), draw.normal(0.3, 0.1, 20_000)
    curve = quantile_curve(positives, np.quantile(random, np.linspace(0, 1, 101)))
    for s in (0.1, 0.3, 0.45, 0.55, 0.75, 0.8, 0.9):
        share = (np.mean(random <= s) + np.mean(positives <= s)) / 2
        assert float(np.interp(s, curve.x, curve.y)) == pytest.approx(share, abs=0.005)
    # A random pair, a hard negative, a positive.
    assert curve(np.array([0.3, 0.62, 0.8], np.float32), 0.05).tolist() == pytest.approx([0.25, 0.5, 0.75])


def test_too_few_labels_do_not_make_a_curve() -> None:
    draw = np.random.default_rng(0)
    positives, random = draw.random(100).astype(np.float32), np.linspace(0, 1, 101)
    for matches, method in ((MIN_JUDGED, "isotonic"), (MIN_JUDGED - 1, "quantile")):
        gold = np.array([1.0] * matches + [0.0] * 200)
        judged = draw.random(len(gold)).astype(np.float32)
        assert curve_of(judged, gold, positives, random).method == method
    nothing = np.zeros(0, np.float32)
    assert curve_of(nothing, np.zeros(0), nothing, random).method == "none"


def test_without_points_nothing_is_calibrated() -> None:
    assert np.isnan(Curve("none", np.zeros(0), np.zeros(0))(np.ones(2, np.float32), 0.1)).all()
