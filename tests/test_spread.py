"""Dedupe on Dask workers gives the bytes that threads of one process give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import string_oracle
from test_dedupe import CHARACTERS, PLAIN, Given, made_up, write

from pipeline.dedupe import dedupe, pieces
from pipeline.manifest.settings import DedupeConfig

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")


def _dedupe(inputs: list[object], out: Path) -> object:
    """What a step does on a worker."""
    from flows.spread import Workers

    return dedupe(inputs, out, DedupeConfig(), Workers(3))  # type: ignore[arg-type]


def test_two_workers_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this process, which has everything loaded; tests/test_flows.py has some of their own."""
    plain = made_up(120, seed=1)
    tails = np.random.default_rng(2).integers(200, 390, (600, 9))
    crowd = [(CHARACTERS[:80] + "".join(CHARACTERS[i] for i in row), PLAIN) for row in tails]
    corpora = {
        "a": Given([plain, crowd], symmetric=True),
        "b": Given([string_oracle.plant_edits(plain, seed=3)]),
        "c": Given([plain[:20]], near=False),
    }
    inputs = write(tmp_path / "in", corpora)
    outs = [tmp_path / "here", tmp_path / "there"]
    for out in outs:
        out.mkdir()
    here = dedupe(inputs, outs[0], DedupeConfig())
    monkeypatch.setattr(pieces, "PIECE_ROWS", 150)  # many of them
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",  # what goes to a worker is pickled all the same
        dashboard_address=None,
        local_directory=str(tmp_path / "dask"),
    )
    with cluster, distributed.Client(cluster) as client:
        there = client.submit(_dedupe, inputs, outs[1]).result()
    assert here == there
    assert here["crowds"] == 1 and here["edges"] > 60
    names = [sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file()) for out in outs]
    assert names[0] == names[1]
    for name in names[0]:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()
