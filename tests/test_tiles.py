"""What a first pass leaves out, against float64; the kernel itself where Triton is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from pipeline.encode import nearest, tiles  # noqa: E402
from tests.plain_tops import plain_tops  # noqa: E402

HERE = Path(__file__).parent


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float16)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_nothing_better_is_left_out(data: st.DataObject) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n, m, d = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 200)), data.draw(st.sampled_from([4, 33]))
    levels, size = data.draw(st.sampled_from([2, 1000])), data.draw(st.integers(1, 12))
    q, c = (unit(draw.integers(-levels, levels + 1, (k, d)).astype(float)) for k in (n, m))
    banned = np.unique(np.stack([draw.integers(0, n, 20), draw.integers(0, m, 20)]), axis=1)
    free = np.ones((n, m), bool)
    free[tuple(banned)] = False
    bars, reach = [], None
    if data.draw(st.booleans()):
        view = [unit(draw.standard_normal((k, 5))) for k in (m, n)]
        second = (view[1].astype(float) @ view[0].astype(float).T).astype(np.float32)
        # A cosine that some row has, and the least that is lower.
        limits = second[np.arange(n), draw.integers(0, m, n)] - draw.choice([0, 1e-9], n)
        free &= second <= limits[:, None]
        bars = [tiles.Bar(*map(torch.from_numpy, (*view, limits)), 4 * 13 * 2.0**-24)]
    if data.draw(st.booleans()):
        reach = draw.uniform(-0.5, 1, n).astype(np.float32)
    truth = q.astype(float) @ c.astype(float).T
    error = 4 * (d + 8) * 2.0**-24
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", data.draw(st.sampled_from([4, 16, 128])))
        patch.setattr(tiles, "_ANEW", data.draw(st.sampled_from([1.0, 0.3])))
        patch.setattr(tiles, "_GATHERED", 3 * d)
        up_to = None if reach is None else torch.from_numpy(reach)
        found = tiles.by_tiles(
            plain_tops, *map(torch.from_numpy, (q, c)), size, tuple(map(torch.from_numpy, banned)), bars, up_to
        )
        every = tiles._ANEW == 1 and not bars
    settled = found.settled.numpy()
    assert settled.all() or not every
    worst = found.worst.numpy()
    for i in np.flatnonzero(settled):
        mine = found.query.numpy() == i
        at, score = found.at.numpy()[mine], found.score.numpy()[mine]
        assert len(set(at.tolist())) == len(at) and free[i, at].all()
        assert (score > truth[i, at] - error).all() and (score < truth[i, at] + error + 2.0**-8).all()
        over = np.zeros(m, bool) if reach is None else truth[i] > reach[i] + 0.01
        left = free[i] & ~over
        left[at] = False
        near = left if reach is None else left & (truth[i] <= reach[i] - 0.01)
        assert (truth[i, near] <= worst[i] + error).all()
        if reach is None:
            assert len(at) >= min(size, free[i].sum()) and found.above[i] == 0
        else:
            assert (free[i] & over).sum() <= found.above[i] + (truth[i, at] > reach[i]).sum()
            assert found.above[i] <= (free[i] & (truth[i] > reach[i] - error)).sum()


class Rows:
    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def take(self, ids: np.ndarray) -> np.ndarray:
        return self.rows[ids].astype(np.float32)


@pytest.fixture(scope="module")
def sides() -> tuple[np.ndarray, np.ndarray]:
    """Sixty queries and 20,000 rows; the first ten queries have 300 near rows each, side by side."""
    draw = np.random.default_rng(5)
    q, c = draw.standard_normal((60, 32)), draw.standard_normal((20_000, 32))
    for i in range(10):
        c[300 * i : 300 * (i + 1)] = q[i] + 0.3 * draw.standard_normal((300, 32))
    return unit(q), unit(c)


@pytest.mark.parametrize("at_once", [1 << 27, 2000])
def test_lists_are_those_of_a_plain_search_and_crowded_queries_take_it(sides, at_once, monkeypatch) -> None:
    monkeypatch.setattr(nearest, "_KEYS", at_once)
    q, c = sides
    draw = np.random.default_rng(6)
    offsets = np.arange(0, 301, 5)
    items = draw.integers(0, len(c), 300)
    truth = q.astype(np.float64) @ c.astype(np.float64).T
    items[::5] = truth.argmax(1)
    rows = nearest.Nearest(Rows(c), np.arange(len(c)), 32, "cpu", tops=plain_tops)
    found = rows.best(q.astype(np.float32), 8, offsets, items)
    for i in range(60):
        free = np.setdiff1d(np.argsort(-truth[i]), items[offsets[i] : offsets[i + 1]], assume_unique=True)
        free = free[np.argsort(-truth[i, free], kind="stable")]
        assert set(found.at[i].tolist()) == set(free[:8].tolist())
        assert truth[i, free[8]] <= found.worst[i] <= truth[i, free[7]] + 2.0**-15
    # Three tiles hold all that is near to a crowded query, and they do not show eight of them.
    assert rows.met == 60 and 10 <= rows.unsettled < 20


def test_few_rows_or_rows_elsewhere_take_the_plain_way(sides) -> None:
    q, c = sides
    none = np.zeros(0, np.int64)
    few = nearest.Nearest(Rows(c[:2_000]), np.arange(2_000), 32, "cpu", tops=plain_tops)
    elsewhere = nearest.Nearest(Rows(c), np.arange(len(c)), 32, "cpu", resident=False, tops=plain_tops)
    both = nearest.Nearest(Rows(c), np.arange(len(c)), 32, "cpu", tops=plain_tops)
    bar = nearest.Barred(elsewhere, q.astype(np.float32), np.full(len(q), 2.0), 0.0)
    for rows, barred in ((few, ()), (elsewhere, ()), (both, (bar,))):
        found = rows.best(q.astype(np.float32), 8, np.zeros(61, np.int64), none, barred)
        truth = q.astype(np.float64) @ c[: len(rows)].astype(np.float64).T
        best = np.take_along_axis(truth, np.sort(np.argsort(-truth, axis=1)[:, :8], axis=1), 1)
        assert np.array_equal(np.take_along_axis(truth, np.sort(found.at, axis=1), 1), best)
        assert rows.met == 0
    assert tiles.kernel_on("cpu", 32) is None


@pytest.mark.parametrize("what", ["scores", "rows", "none"])
def test_a_first_pass_that_is_wrong_is_noticed(what: str) -> None:
    draw = torch.Generator().manual_seed(1)
    q, c = (torch.nn.functional.normalize(torch.randn(n, 48, generator=draw), dim=1).half() for n in (9, 300))
    scores = (q.double() @ c.double().T).float()
    top, second = plain_tops(q, c)
    assert tiles.disagreement((top, second), scores) is None
    if what == "scores":
        top[3, 1] += 1 << 12
    elif what == "rows":
        second[3, 1] ^= 1
    else:
        second[3, 2] = tiles.NONE
    assert tiles.disagreement((top, second), scores) is not None


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed: it comes with CUDA's torch"
)
@pytest.mark.parametrize(("what", "lines"), [("run", 1), ("compile", 6)])
def test_the_kernel(what: str, lines: int, tmp_path: Path) -> None:
    """Triton's interpreter gives what float64 gives; its compiler gives tensor cores and spills nothing."""
    environment = os.environ | {"TRITON_INTERPRET": str(int(what == "run")), "TRITON_CACHE_DIR": str(tmp_path)}
    path = os.pathsep.join([str(HERE.parent), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, str(HERE / "tile_child.py"), what],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == lines
