"""A new build against one that stands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from pipeline.build import build, count
from pipeline.context import context_of
from pipeline.errors import BuildError
from pipeline.manifest.catalog import read_catalog
from pipeline.receipt import write_build
from pipeline.runner import Threads
from tests.small import CLOSED, corpus, write_manifests, write_rows
from tests.test_build import pairs, run


def build_against(folder: Path, base: Path, standing: Path) -> tuple[Path, dict[str, tuple[int, int]]]:
    catalog = read_catalog([folder], shipped=False)
    context = context_of(catalog, catalog.recipe("more"), base / "store", against=standing)
    runner = Threads(1)
    try:
        outcome = build(context, runner)
    finally:
        runner.close()
    count(outcome)
    path, _ = write_build(outcome, base / "out", (), [])
    return path, {name: (funnel.converted, funnel.kept) for name, funnel in outcome.funnels.items()}


def test_only_what_the_standing_build_lacks_is_kept(tmp_path: Path) -> None:
    # What stands is closed and of lower grade: its records stay all the same.
    old = write_manifests(tmp_path / "old", [corpus("one", licence=CLOSED, grade="良")], {"name": "small"})
    near = {"q": pairs()[1]["q"], "a": pairs()[1]["a"] + "啊"}
    write_rows(old, "one", pairs(0, 5))
    standing, _, _ = run(old, tmp_path)
    before = {p: p.read_bytes() for p in standing.rglob("*") if p.is_file()}
    new = write_manifests(
        tmp_path / "new", [corpus("two"), corpus("one")], {"name": "more", "cap": {"positives_per_text": 1}}
    )
    write_rows(new, "two", [*pairs(3, 8), near])
    write_rows(new, "one", pairs(2, 4))
    path, counts = build_against(new, tmp_path, standing)
    assert counts == {"two": (6, 3), "one": (2, 0)}
    held = pl.read_parquet(standing / "data" / "one" / "*.parquet")
    ledger = pl.concat([pl.read_parquet(path / "ledger" / f"{name}.parquet") for name in ("one", "two")])
    assert sorted(ledger["reason"]) == ["exact_duplicate"] * 4 + ["near_duplicate"]
    assert set(ledger["duplicate_of"]) <= set(held["record_id"])
    assert sorted(pl.read_parquet(path / "data" / "two" / "*.parquet")["text"]) == sorted(p["q"] for p in pairs(5, 8))
    assert not (path / "data" / "against").exists()
    told = json.loads((path / "build.json").read_bytes())
    assert path.name == f"more.against-{told['against'][:8]}"
    assert {p: p.read_bytes() for p in standing.rglob("*") if p.is_file()} == before
    assert build_against(new, tmp_path, standing) == (path, counts)


def test_a_published_copy_stands_as_the_build_does(tmp_path: Path) -> None:
    """One corpus anew against what was published: data and receipt are all that is asked of the copy."""
    old = write_manifests(tmp_path / "old", [corpus("one"), corpus("two")], {"name": "small"})
    write_rows(old, "one", pairs(0, 4))
    write_rows(old, "two", pairs(4, 6))
    standing, _, _ = run(old, tmp_path)
    copy = tmp_path / "published"
    copy.mkdir()
    for name in ("data", "build.json"):
        (shutil.copytree if name == "data" else shutil.copy)(standing / name, copy / name)
    new = write_manifests(tmp_path / "new", [corpus("two")], {"name": "more"})
    write_rows(new, "two", pairs(3, 8))
    path, counts = build_against(new, tmp_path, copy)
    # The receipt is the same, so it is the same build and nothing is built again for the folder it was made in.
    assert (path, counts) == build_against(new, tmp_path, standing)
    assert counts == {"two": (5, 2)}
    assert sorted(pl.read_parquet(path / "data" / "two" / "*.parquet")["text"]) == sorted(p["q"] for p in pairs(6, 8))


def test_what_is_no_build_is_told(tmp_path: Path) -> None:
    new = write_manifests(tmp_path / "new", [corpus("two")], {"name": "more"})
    write_rows(new, "two", pairs())
    with pytest.raises(BuildError, match=r"no build\.json"):
        build_against(new, tmp_path, tmp_path)
    (tmp_path / "build.json").write_text("{}")
    with pytest.raises(BuildError, match="no data"):
        build_against(new, tmp_path, tmp_path)
