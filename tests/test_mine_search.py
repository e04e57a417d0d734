"""Search against float64 brute force: ties, bans, limits and blocks of any size."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.finished import ngrams
from pipeline.encode import nearest, tiles
from pipeline.mine import search, taking
from pipeline.mine.csr import Csr
from pipeline.mine.search import Search, Veto, Wanted
from pipeline.mine.side import Side

TORCH = importlib.util.find_spec("torch") is not None
if TORCH:
    from tests.plain_tops import plain_tops


class Matrix:
    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def take(self, ids: np.ndarray) -> np.ndarray:
        return self.rows[ids].astype(np.float32)


def side(rows: np.ndarray, *, hold: bool, device: str | None = None) -> Side:
    return Side(Matrix(rows), np.arange(len(rows)), rows.shape[1], hold=hold, device=device)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)).astype(np.float16)


def brute(q, c, banned, keep, eligible, limits, second=None):
    """(place, score, rank) of each query's list, one query at a time."""
    out = []
    for i in range(len(q)):
        scores = (c.astype(np.float64) @ q[i].astype(np.float64)).astype(np.float32)
        free = [j for j in range(len(c)) if j not in banned[i]]
        if second is not None:
            sq, sc, most = second
            free = [j for j in free if np.float32(sc[j].astype(np.float64) @ sq[i].astype(np.float64)) <= most[i]]
        free.sort(key=lambda j: (-scores[j], j))
        told = set(range(min(keep, len(free))))
        for limit in limits[i]:
            told |= set([r for r, j in enumerate(free) if scores[j] <= limit][:eligible])
        out.append([(free[r], float(scores[free[r]]), r + 1) for r in sorted(told)])
    return out


def listed(found, n):
    lists = [[] for _ in range(n)]
    rows = np.repeat(np.arange(n), np.diff(found.offsets))
    for i, at, score, rank in zip(rows, found.at, found.scores, found.ranks, strict=True):
        lists[i].append((int(at), float(score), int(rank)))
    return lists


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_equal_to_brute_force_whatever_the_ties(data: st.DataObject) -> None:
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n, m, d = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 300)), data.draw(st.sampled_from([4, 8, 65]))
    # Few distinct coordinates: scores tie all the time.
    levels = data.draw(st.sampled_from([2, 3, 1000]))
    q, c = (unit(draw.integers(-levels, levels + 1, (k, d)).astype(float)) for k in (n, m))
    shuffled = data.draw(st.booleans())
    if data.draw(st.booleans()):
        # In an order all the same: the first block tells nothing of the others.
        c = c[np.argsort((1 - 2 * data.draw(st.integers(0, 1))) * (c @ q[0]).astype(float))]
    banned = [set(draw.integers(0, max(m, 1), data.draw(st.integers(0, 6))).tolist()) & set(range(m)) for _ in range(n)]
    limits = [sorted({float(np.float32(x)) for x in draw.uniform(-0.5, 1, draw.integers(0, 7))}) for _ in range(n)]
    keep, eligible = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 8))
    second = None
    vetoes: list[Veto] = []
    device = data.draw(st.sampled_from([None, "cpu"])) if TORCH else None
    by_tiles = device is not None and data.draw(st.booleans())
    if data.draw(st.booleans()):
        view = [unit(draw.standard_normal((k, 6))) for k in (n, m)]
        most = draw.uniform(-0.2, 0.8, n)
        if m and data.draw(st.booleans()):
            # As near to a limit as a cosine can be.
            cosines = (view[0].astype(np.float64) @ view[1].astype(np.float64).T).astype(np.float32)
            most = cosines[np.arange(n), draw.integers(0, m, n)] - draw.choice([0, 1e-9], n)
        second = (*view, most)
        vetoes = [Veto(side(second[0], hold=False), side(second[1], hold=True, device=device), second[2])]
    hold = data.draw(st.booleans())
    counts = [len(x) for x in limits]
    wanted = Wanted(
        keep,
        eligible,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array([x for y in limits for x in y]),
    )
    bans = Csr.of(
        np.array([i for i in range(n) for _ in banned[i]], np.int64),
        np.array([j for b in banned for j in b], np.int64),
        n,
    )
    with pytest.MonkeyPatch.context() as patch:
        columns = data.draw(st.sampled_from([7, 64, 4096]))
        patch.setattr(search, "COLUMNS", columns)
        if data.draw(st.booleans()):
            patch.setattr(search, "SLACK", 2)
            patch.setattr(taking, "ROOM", 2)
        patch.setattr(nearest, "COLUMNS", columns)
        patch.setattr(tiles, "TILE", data.draw(st.sampled_from([4, 128])))
        if by_tiles:
            patch.setattr(tiles, "kernel_on", lambda *_: plain_tops)
            patch.setattr(nearest, "_FEW", 0)
            patch.setattr(tiles, "_ANEW", data.draw(st.sampled_from([0.2, 1])))
        look = Search(side(c, hold=hold, device=device), wanted, vetoes, shuffled=shuffled)
        found = look(side(q, hold=False), np.arange(n), bans)
    assert listed(found, n) == brute(q, c, banned, keep, eligible, limits, second)


@pytest.fixture(scope="module")
def alike():
    """Vectors of texts, many alike, with several limits a text, bans, and what numpy finds."""
    draw = np.random.default_rng(3)
    stems = ["".join(chr(0x4E00 + c) for c in draw.integers(0, 60, 5)) for _ in range(400)]
    c = ngrams(
        [f"{a}{stem}{b}" for stem in stems for a, b in (("", "吗"), ("请问", ""), ("", "怎么办"), ("关于", "的事"))]
    )
    q = ngrams(stems[:300])
    limits = np.sort(draw.uniform(0.1, 0.9, (300, 2)), axis=1)
    wanted = Wanted(40, 7, np.arange(0, 601, 2), limits.ravel())
    bans = Csr.of(draw.integers(0, 300, 4000), draw.integers(0, len(c), 4000), 300)
    found = Search(side(c, hold=True), wanted)(side(q, hold=False), np.arange(300), bans)
    return q, c, wanted, bans, found


@pytest.mark.skipif(not TORCH, reason="torch is not installed")
@pytest.mark.parametrize("way", ["resident", "sent", "by tiles"])
def test_torch_finds_what_numpy_finds(way: str, alike, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over several blocks, with lists that overflow; by tiles, with queries that they settle and others."""
    monkeypatch.setattr(nearest, "COLUMNS", 1 << 10)
    monkeypatch.setattr(nearest, "_free", lambda _: 0.0 if way == "sent" else np.inf)
    if way == "by tiles":
        monkeypatch.setattr(tiles, "kernel_on", lambda *_: plain_tops)
        monkeypatch.setattr(tiles, "TILE", 4)
        monkeypatch.setattr(tiles, "_ANEW", 0.25)
        monkeypatch.setattr(nearest, "_FEW", 0)
    q, c, wanted, bans, numpys = alike
    among = side(c, hold=True, device="cpu")
    torchs = Search(among, wanted)(side(q, hold=False), np.arange(300), bans)
    assert among.there is not None
    assert (0 < among.there.unsettled < among.there.met) == (way == "by tiles")
    assert listed(torchs, 300) == listed(numpys, 300)
    behind = torchs.ranks > 40
    assert behind.any() and torchs.ranks.max() > 500


@pytest.mark.parametrize("ordered", [False, True])
def test_the_first_block_tells_where_the_best_end_unless_there_is_an_order(
    ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(1)
    q, c = (unit(draw.standard_normal((k, 16))) for k in (20, 2000))
    if ordered:
        c = c[np.argsort(-(c @ q[0]).astype(float))]
    banned = [set(draw.integers(0, 2000, 5).tolist()) for _ in q]
    view = q, c, draw.uniform(0.5, 0.7, 20)
    bans = Csr.of(np.repeat(np.arange(20), [len(b) for b in banned]), np.array([j for b in banned for j in b]), 20)
    limits = draw.uniform(0.3, 0.6, 20)
    for name, size in (("COLUMNS", 200), ("SLACK", 5)):
        monkeypatch.setattr(search, name, size)
    searched = []
    plain = Search._by_products
    monkeypatch.setattr(Search, "_by_products", lambda *a: searched.append(len(a[2])) or plain(*a))
    veto = Veto(side(q, hold=False), side(c, hold=True), view[2])
    look = Search(side(c, hold=True), Wanted(30, 3, np.arange(21), limits), [veto], shuffled=True)
    found = look(side(q, hold=False), np.arange(20), bans)
    assert listed(found, 20) == brute(q, c, banned, 30, 3, [[limit] for limit in limits], view)
    assert len(searched) == 1 + ordered and found.searched_again == 0


def test_signs_find_nearly_all_of_dense_vectors_and_every_eligible_one_there_is() -> None:
    draw = np.random.default_rng(0)
    q = unit(draw.standard_normal((40, 256)))
    c = unit(
        np.concatenate(
            [q + draw.standard_normal((40, 256)) * 0.06 for _ in range(30)] + [draw.standard_normal((4000, 256))]
        )
    )
    wanted = Wanted(30, 5, np.arange(41), np.full(40, 0.3))
    bans = Csr.of(np.zeros(0, np.int64), np.zeros(0, np.int64), 40)
    exact, signs = (
        listed(Search(side(c, hold=True), wanted, binary=binary)(side(q, hold=False), np.arange(40), bans), 40)
        for binary in (False, True)
    )
    shared = sum(
        len({at for at, _, _ in a[:30]} & {at for at, _, _ in b[:30]}) for a, b in zip(exact, signs, strict=True)
    )
    assert shared / (40 * 30) > 0.9
    assert all(sum(score <= 0.3 for _, score, _ in row) >= 5 for row in signs)
