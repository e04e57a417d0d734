"""Questions to a build in SQL: its parquet files as views of DuckDB, for reading only.

A statement sees the files of this build and nothing else: no other file, no network, no extension, no setting. Only a
single SELECT is taken, so that nothing can be written either.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.record import (
    DATA_SCHEMA,
    EVIDENCE_SCHEMA,
    LABELLED_DATA_SCHEMA,
    LEDGER_SCHEMA,
    QUARANTINE_SCHEMA,
    SCORED_SCHEMA,
)
from pipeline.report.opened import Build

#: Rows that are handed on at a time.
BATCH_ROWS = 4096
#: The text of a record with each of its hard negatives, one row each.
NEGATIVES = """
select record_id, corpus, text, text_pos, score_pos, calibrated_pos, neg.record_id as neg_record_id, neg.corpus as neg_corpus,
  neg.origin as origin, neg.text as negative, neg.score as score, neg.calibrated as calibrated, neg.rank as rank,
  neg.licence_id as neg_licence_id
from (select * exclude (neg), unnest(neg) as neg from data)
"""
EDGES = pa.schema(
    [
        ("class_a", pa.uint64()),
        ("class_b", pa.uint64()),
        *((name, pa.float32()) for name in ("similarity", "text_similarity", "pos_similarity")),
        ("swapped", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Answer:
    """What a statement gives: the names of its columns, and its rows, read once."""

    columns: Sequence[str]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def views_of(build: Build) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that holds the build's views: data, labelled, ledger, evidence, edges, quarantine, and where the build
    has scores negatives. Afterwards it can reach nothing else.
    """
    with (
        tempfile.TemporaryDirectory() as spill,
        duckdb.connect(
            config={"autoload_known_extensions": False, "autoinstall_known_extensions": False}
        ) as connection,
    ):
        files = _files(build)
        connection.execute("set temp_directory = $1", [spill])
        for name, (paths, schema) in files.items():
            if not paths:
                connection.register(name, schema.empty_table())
                continue
            listed = ", ".join(_quoted(path) for path in paths)
            columns = "*"
            if name == "evidence":  # its files are named for the corpus, and do not say it themselves
                columns = "parse_filename(filename, true) as corpus, * exclude (filename)"
            told = f"read_parquet([{listed}], filename = {name == 'evidence'})"
            connection.execute(f"create view {name} as select {columns} from {told}")
        if "score" in build.receipt:
            connection.execute(f"create view negatives as {NEGATIVES}")
        allowed = ", ".join(_quoted(path) for paths, _ in files.values() for path in paths)
        connection.execute(f"set allowed_paths = [{allowed}]")
        for locked in (
            "python_enable_replacements = false",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            connection.execute(f"set {locked}")
        yield connection


def tables(build: Build) -> dict[str, list[tuple[str, str]]]:
    """View -> its columns with their types, in the order of the files."""
    with views_of(build) as connection:
        rows = connection.execute(
            "select table_name, column_name, data_type from information_schema.columns order by table_name, ordinal_position"
        ).fetchall()
    told: dict[str, list[tuple[str, str]]] = {}
    for table, column, type_ in rows:
        told.setdefault(table, []).append((column, type_))
    return told


@contextmanager
def answer(build: Build, statement: str) -> Iterator[Answer]:
    """What the statement gives; its rows are taken from DuckDB a few thousand at a time.

    Raises UsageError for what is no single SELECT, and with DuckDB's own words for what it refuses.
    """
    with views_of(build) as connection:
        try:
            told = connection.extract_statements(statement)
            if [one.type for one in told] != [duckdb.StatementType.SELECT]:
                raise UsageError(
                    "m3e sql",
                    "only a single SELECT can be asked: a build is never changed",
                    "give one SELECT statement",
                )
            reader = connection.sql(statement).to_arrow_reader(BATCH_ROWS)
            yield Answer(reader.schema.names, _rows(reader))
        except (duckdb.Error, pa.ArrowException) as error:
            raise _refused(build, error) from None


def _rows(reader: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    for batch in reader:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _files(build: Build) -> dict[str, tuple[list[Path], pa.Schema]]:
    """View -> its files, and the columns it has where there is none."""
    folder = build.folder.resolve()

    def below(pattern: str) -> list[Path]:
        return sorted(folder.glob(pattern))

    edges = [path for path in below("evidence/edges.parquet") if "edges" not in build.corpora]
    return {
        "data": (below("data/*/train-*.parquet"), SCORED_SCHEMA if "score" in build.receipt else DATA_SCHEMA),
        "labelled": (below("labelled/*.parquet"), LABELLED_DATA_SCHEMA),
        "ledger": (below("ledger/*.parquet"), LEDGER_SCHEMA),
        "evidence": ([p for p in below("evidence/*.parquet") if p not in edges], EVIDENCE_SCHEMA),
        "edges": (edges, EDGES),
        "quarantine": (below("quarantine/*.parquet"), QUARANTINE_SCHEMA),
    }


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _refused(build: Build, error: Exception) -> UsageError:
    """DuckDB's words in one line, without the picture of where in the statement."""
    words = " ".join(str(error).partition("\nLINE ")[0].split())
    return UsageError("m3e sql", words, f"see the views and their columns: m3e sql {build.folder}")
