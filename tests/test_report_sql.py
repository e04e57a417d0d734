"""Questions in SQL: the same answers as polars gives, and nothing but this build to be seen."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from pipeline.build import Outcome
from pipeline.errors import UsageError
from pipeline.report.opened import Build, open_build
from pipeline.report.sql import answer, tables
from tests.command import m3e
from tests.test_build import snapshot


@pytest.fixture
def build(reported: tuple[Path, Outcome]) -> Build:
    return open_build(reported[0])


def asked(build: Build, statement: str) -> list[tuple[object, ...]]:
    with answer(build, statement) as told:
        return list(told.rows)


def test_answers_are_those_of_the_files(build: Build) -> None:
    data = pl.read_parquet(build.folder / "data" / "*" / "*.parquet")
    assert asked(build, "select record_id, text, text_pos from data order by 1") == sorted(
        data.select("record_id", "text", "text_pos").iter_rows()
    )
    ledger = pl.concat([pl.read_parquet(build.folder / "ledger" / f"{name}.parquet") for name in build.corpora])
    assert dict(asked(build, "select reason, count(*) from ledger group by reason")) == Counter(ledger["reason"])  # type: ignore[arg-type]
    kept = dict(asked(build, "select corpus, count(*) from evidence where kept group by corpus"))  # type: ignore[arg-type]
    assert kept == {funnel.corpus: funnel.kept for funnel in build.funnels}
    edges = pl.read_parquet(build.folder / "evidence" / "edges.parquet")
    assert asked(build, "from edges order by class_a, class_b") == sorted(edges.iter_rows())
    joined = "select l.record_id, d.corpus from ledger l join data d on d.record_id = l.duplicate_of order by 1"
    holders = dict(data.select("record_id", "corpus").iter_rows())
    expected = [
        (row["record_id"], holders[row["duplicate_of"]]) for row in ledger.drop_nulls("duplicate_of").to_dicts()
    ]
    assert asked(build, joined) == sorted(expected)


def test_what_a_build_lacks_is_an_empty_view(build: Build) -> None:
    assert not (build.folder / "labelled").exists()
    assert asked(build, "select count(*), min(label) from labelled") == [(0, None)]
    told = tables(build)
    assert [name for name, _ in told["data"]] == data_columns(build)
    assert "negatives" not in told


def data_columns(build: Build) -> list[str]:
    return pl.read_parquet_schema(next((build.folder / "data").rglob("*.parquet"))).names()


@pytest.mark.parametrize(
    "statement",
    [
        "copy data to '{out}/stolen.parquet'",
        "export database '{out}'",
        "attach '{out}/x.db'",
        "create table mine as select 1",
        "explain analyze copy data to '{out}/stolen.parquet'",
        "select 1; copy data to '{out}/stolen.parquet'",
        "set enable_external_access = true",
        "pragma enable_external_access",
        "install httpfs",
        "load httpfs",
        "select * from read_text('{secret}')",
        "select * from read_csv('{secret}')",
        "select * from '{secret}'",
        "select * from glob('{out}/*')",
        "select * from read_parquet('https://example.com/x.parquet')",
        "select * from read_blob('{build}/build.json')",
        "select * from read_parquet('{build}/data/../../store/convert/*/text-*.parquet')",
        "select * from build",
        "select getenv('HOME')",
        "",
        "selec 1",
        "select nothing from data",
        "select cast(text as int) from data",
    ],
)
def test_nothing_else_can_be_read_or_written(build: Build, tmp_path: Path, statement: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nswordfish\n")
    before = snapshot(build.folder.parent)
    with pytest.raises(UsageError) as caught:
        asked(build, statement.format(out=tmp_path, secret=secret, build=build.folder))
    assert "swordfish" not in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert snapshot(build.folder.parent) == before


def test_the_verb_shows_a_table_json_and_csv(build: Build) -> None:
    statement = "select corpus, reason, similarity, [corpus] as listed from ledger order by all"
    expected = asked(build, statement)
    told = json.loads(m3e("sql", build.folder, statement, "--json").stdout)
    assert [tuple(row.values()) for row in told] == expected
    lines = list(csv.reader(io.StringIO(m3e("sql", build.folder, statement, "--csv").stdout)))
    assert lines[0] == ["corpus", "reason", "similarity", "listed"]
    assert [line[3] for line in lines[1:]] == [json.dumps(row[3]) for row in expected]
    assert [line[2] for line in lines[1:]] == ["" if row[2] is None else str(row[2]) for row in expected]
    assert m3e("sql", build.folder, "select 1 where false", "--json").stdout == "[]\n"
    shown = m3e("sql", build.folder, statement, "-n", "2")
    assert shown.stdout.count("plain") + shown.stdout.count("evil") >= 2 and "more rows than 2" in shown.stderr
    assert "quarantine" in m3e("sql", build.folder).stdout
    wrong = m3e("sql", build.folder, "select nothing from data")
    assert wrong.returncode == 2 and "nothing" in wrong.stderr and "Traceback" not in wrong.stderr
