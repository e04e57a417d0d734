"""Batches for training: every row once, no two of one group together, and a position that goes on where it stood."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BuildError
from pipeline.manifest.settings import MixConfig
from pipeline.mix import Batch, Mixer, pack
from pipeline.mix.pack import dense_groups

COLUMNS = ("record_id", "text", "text_pos", "text_group", "pos_group", "doc_group")


def written(folder: Path, name: str, groups: list[tuple[int, int, int]], row_group: int = 1000) -> list[Path]:
    """One corpus as shards of a build: texts of many lengths, groups as given, two files where it has rows for two."""
    draw = np.random.default_rng(len(groups))
    table = pa.table(
        {
            "record_id": [f"{name}{i}" for i in range(len(groups))],
            "text": ["问" * int(n) for n in draw.integers(1, 60, len(groups))],
            "text_pos": ["答" * int(n) for n in draw.integers(1, 400, len(groups))],
            **{
                column: pa.array([g[i] for g in groups], pa.uint64())
                for i, column in enumerate(("text_group", "pos_group", "doc_group"))
            },
        }
    )
    half = len(groups) // 2 or len(groups)
    (folder / name).mkdir()
    paths = []
    for i, part in enumerate((table.slice(0, half), table.slice(half))):
        if part.num_rows or not i:
            paths.append(folder / name / f"train-{i}.parquet")
            pq.write_table(part, paths[-1], row_group_size=row_group)
    return paths


def apart(n: int, start: int = 0) -> list[tuple[int, int, int]]:
    """n records that share nothing."""
    return [(start + 3 * i, start + 3 * i + 1, start + 3 * i + 2) for i in range(n)]


def ids(batches: list[Batch]) -> list[str]:
    return [one for batch in batches for one in batch.table["record_id"].to_pylist()]


def clash(batch: Batch) -> bool:
    """Whether two records share a group: by plain sets, sides together, documents by themselves."""
    seen: set[tuple[str, int]] = set()
    for row in batch.table.to_pylist():
        mine = {("side", row["text_group"]), ("side", row["pos_group"]), ("doc", row["doc_group"])}
        if mine & seen:
            return True
        seen |= mine
    return False


group = st.integers(0, 12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(group, group, group), max_size=60), st.integers(1, 7))
def test_packing_parts_every_group_and_fills_what_it_can(groups: list[tuple[int, int, int]], size: int) -> None:
    columns = [np.array([g[i] for g in groups], np.uint64) for i in range(3)]
    batch = pack(dense_groups(*columns), size)
    held: dict[int, set[tuple[str, int]]] = {}
    for (text, pos, doc), b in zip(groups, batch.tolist(), strict=True):
        mine = {("side", text), ("side", pos), ("doc", doc)}
        assert not mine & held.setdefault(b, set())
        held[b] |= mine
    assert max(Counter(batch.tolist()).values(), default=0) <= size
    assert sorted(held) == list(range(len(held)))


def test_packing_needs_no_more_batches_than_the_largest_group() -> None:
    groups = [(0, 1 + i, 100 + i) for i in range(9)] + [(200 + i, 300 + i, 400 + i) for i in range(27)]
    batch = pack(dense_groups(*(np.array([g[i] for g in groups], np.uint64) for i in range(3))), 4)
    assert Counter(batch.tolist()) == dict.fromkeys(range(9), 4)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_an_epoch_of_weight_one_gives_every_row_once_and_no_group_twice_in_a_batch(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("mix")
    groups = st.lists(st.tuples(group, group, group), min_size=1, max_size=80)
    build = {name: written(folder, name, data.draw(groups), row_group=7) for name in ("a", "b")}
    config = MixConfig(batch=data.draw(st.integers(1, 6)), power=1, length_buckets=(100, 200), window_rows=1)
    batches = list(Mixer(build, config, COLUMNS).batches())
    wanted = [i for paths in build.values() for path in paths for i in pq.read_table(path)["record_id"].to_pylist()]
    assert Counter(ids(batches)) == Counter(wanted)
    for batch in batches:
        assert not clash(batch)
        assert {one[0] for one in ids([batch])} == {batch.corpus}
        lengths = [len(row["text"]) + len(row["text_pos"]) for row in batch.table.to_pylist()]
        assert {sum(n > edge for edge in (100, 200)) for n in lengths} == {batch.bucket}


def test_many_windows_share_what_one_could_not_place(tmp_path: Path) -> None:
    """One document holds a tenth of the rows: its records go to a batch each, over all windows, and are all given."""
    groups = [(3 * i, 3 * i + 1, 0 if i % 10 == 0 else 1 + i) for i in range(60_000)]
    build = {"a": written(tmp_path, "a", groups, row_group=4096)}
    config = MixConfig(batch=8, power=1, length_buckets=(), window_rows=16_384)
    batches = list(Mixer(build, config, COLUMNS).batches())
    assert len(set(ids(batches))) == len(ids(batches)) == 60_000
    assert not any(clash(batch) for batch in batches)
    assert len(batches) <= 7_510  # 7,500 are the fewest


def test_the_same_seed_gives_the_same_batches_and_another_does_not(tmp_path: Path) -> None:
    build = {name: written(tmp_path, name, apart(n, n)) for name, n in (("a", 700), ("b", 90))}
    one, two, other = (
        [b.table["record_id"].to_pylist() for b in Mixer(build, MixConfig(batch=16, seed=s), COLUMNS).batches()]
        for s in (1, 1, 2)
    )
    assert one == two != other


def test_a_position_goes_on_with_the_very_next_batch_through_epochs_and_windows(tmp_path: Path) -> None:
    groups = [(i // 3, 10_000 + i, 20_000 + i // 2) for i in range(40_000)]
    build = {"a": written(tmp_path, "a", groups, row_group=9_000), "b": written(tmp_path, "b", apart(900, 90_000))}
    config = MixConfig(batch=64, window_rows=9_000)

    def run(mixer: Mixer, wanted: int) -> list[list[str]]:
        out: list[list[str]] = []
        while len(out) < wanted:
            out += [b.table["record_id"].to_pylist() for b in islice(mixer.batches(), wanted - len(out))]
        return out

    whole = run(Mixer(build, config, COLUMNS), 1500)
    first = Mixer(build, config, COLUMNS)
    for stop in (1, 137, 640, 1001):
        mixer = Mixer(build, config, COLUMNS)
        head = run(mixer, stop)
        state = json.loads(json.dumps(mixer.state()))
        later = Mixer(build, config, COLUMNS)
        later.resume(state)
        assert head + run(later, 1500 - stop) == whole
    assert first.epoch == 0


def test_weights_follow_the_power_and_stop_at_repeats_and_caps(tmp_path: Path) -> None:
    build = {name: written(tmp_path, name, apart(n, 10 * n)) for name, n in (("a", 10_000), ("b", 400), ("c", 16))}
    free = Mixer(build, MixConfig(repeats=1000)).targets
    # square roots 100 : 20 : 4 share the 10,416 rows
    assert free == {"a": 8400, "b": 1680, "c": 336}
    assert Mixer(build, MixConfig(repeats=4, caps={"a": 5000})).targets == {"a": 5000, "b": 1600, "c": 64}
    given = Counter(
        b.corpus for b in Mixer(build, MixConfig(batch=1, length_buckets=())).batches() for _ in range(b.table.num_rows)
    )
    assert given == {"a": 8400, "b": 1600, "c": 64}


def test_rows_that_come_again_come_once_per_round(tmp_path: Path) -> None:
    build = {"a": written(tmp_path, "a", apart(9000)), "b": written(tmp_path, "b", apart(100, 90_000))}
    given = Counter(
        one for one in ids(list(Mixer(build, MixConfig(batch=5), COLUMNS).batches())) if one.startswith("b")
    )
    assert set(given.values()) <= {4} | {3, 5}
    assert sum(given.values()) >= 400


def test_what_cannot_be_mixed_is_told(tmp_path: Path) -> None:
    build = {"a": written(tmp_path, "a", apart(3))}
    with pytest.raises(BuildError, match="has no column nothing_such"):
        Mixer(build, MixConfig(), ("text", "nothing_such"))
    with pytest.raises(BuildError, match="there is no corpus b"):
        Mixer(build, MixConfig(caps={"b": 1}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="no record to train on"):
        Mixer({"z": written(tmp_path / "empty", "z", [])}, MixConfig())
    mixer = Mixer(build, MixConfig())
    with pytest.raises(BuildError, match="other corpora"):
        mixer.resume({"epoch": 0, "given": {}, "positions": {"b": {}}})
