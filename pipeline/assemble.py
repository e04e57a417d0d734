"""Assemble: one pass over the text of a corpus applies every decision and writes what a build holds of it.

Text comes from `convert`, decisions from `resolve`, groups from `dedupe`, terms from the manifest. Nothing is decided
here but the fate of single negatives (one that is contaminated, a tombstone's, or a known positive of its text is
taken out alone) and of labelled rows, which have no decisions: tombstones and use classes hold for them too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipeline.errors import CountError
from pipeline.licence import RowTerms
from pipeline.normalize import key_hash, match_key
from pipeline.personal import Tally
from pipeline.record import (
    DATA_SCHEMA,
    EVIDENCE_SCHEMA,
    LABELLED_DATA_SCHEMA,
    LEDGER_SCHEMA,
)
from pipeline.shards import ONE_FILE, ShardWriter, count_rows, number_shards, read_groups
from pipeline.store import Receipt
from pipeline.tombstones import struck, texts_struck


@dataclass(frozen=True)
class AssembleInput:
    """One corpus' shards; all lists are positional to `text`. `negatives` names single negatives to take out."""

    corpus: str
    text: Sequence[Path]
    decisions: Sequence[Path]
    classes: Sequence[Path]
    marks: Sequence[Sequence[Path]]
    negatives: Sequence[Path]
    labelled: Sequence[Path]
    labelled_marks: Sequence[Path]


def assemble(
    given: AssembleInput,
    known_positives: Sequence[Path],
    terms: dict[str, RowTerms],
    out: Path,
    tombstones: frozenset[str] = frozenset(),
) -> Receipt:
    """Write `data/train-*`, and one file each of ledger, evidence and labelled rows of one corpus, below `out`.

    `known_positives` are the classes shards of every corpus: their (text_key, pos_key) are the known positives that no
    negative may be, removed records included. Returns the counts, the licence mix of the kept records, and what each
    sub-source gives, and the personal data in what is kept.
    """
    columns = pl.DataFrame(
        [(name, t.licence_id, t.commercial, t.redistribute, t.usable) for name, t in terms.items()],
        schema=dict.fromkeys(("sub_source", "licence_id", "commercial", "redistribute"), pl.String)
        | {"usable": pl.Boolean},
        orient="row",
    )
    negatives = _negatives(given, known_positives, tombstones)
    mix: dict[str, int] = {}
    parts: dict[str, int] = {}
    personal = Tally()
    with (
        ShardWriter(out, "train", DATA_SCHEMA) as data,
        ShardWriter(out, "ledger", LEDGER_SCHEMA, ONE_FILE) as ledger,
        ShardWriter(out, "evidence", EVIDENCE_SCHEMA, ONE_FILE) as evidence,
    ):

        def kept_of(frame: pl.DataFrame) -> pa.Table:
            """The records of one row group that stay, everything about all of them told on the way."""
            evidence.write(_table(frame.rename({"keep": "kept"}), EVIDENCE_SCHEMA))
            ledger.write(_table(frame.filter(~pl.col("keep")), LEDGER_SCHEMA))
            kept = frame.filter("keep").join(columns, on="sub_source", how="left", maintain_order="left")
            if negatives is not None:
                kept = kept.drop("text_neg").join(negatives, on="record_id", how="left", maintain_order="left")
                kept = kept.with_columns(pl.col("text_neg").fill_null(pl.lit([], pl.List(pl.String))))
            for licence, use, n in kept.group_by("licence_id", "commercial").len().iter_rows():
                mix[f"{licence} ({use})"] = mix.get(f"{licence} ({use})", 0) + n
            _tally(kept, parts)
            personal.add("records", kept["text"], kept["text_pos"], kept["text_neg"])
            return _table(kept, DATA_SCHEMA)

        # Row groups are cut where those of the text are cut, so that no border moves when a record goes.
        for shard in range(len(given.text)):
            data.write_shard(kept_of(frame) for frame in _groups(given, shard))
    number_shards(data.paths)
    receipt: Receipt = {"kept": data.rows, "removed": ledger.rows, "licences": dict(sorted(mix.items()))}
    receipt |= {"sub_sources": dict(sorted(parts.items()))} | _labelled(given, columns, tombstones, out, personal)
    return receipt | {"personal": personal.told()}


def _groups(given: AssembleInput, shard: int) -> Iterator[pl.DataFrame]:
    """Text, decisions, groups and merged flags of one shard side by side, a row group at a time."""
    text, decisions, classes = given.text[shard], given.decisions[shard], given.classes[shard]
    marks = [paths[shard] for paths in given.marks]
    if len({count_rows([path]) for path in (text, decisions, classes, *marks)}) > 1:
        raise CountError(
            given.corpus, f"marks and text of {text.name} differ in length", "remove the store and build again"
        )
    for tables in zip(
        read_groups(text),
        read_groups(decisions),
        read_groups(classes, ["class_id", "text_key", "pos_key", "text_group", "pos_group"]),
        *(read_groups(path, ["flags"]) for path in marks),
        strict=True,
    ):
        frames = [pl.DataFrame(table) for table in tables]
        flags = pl.DataFrame([frame["flags"].alias(str(i)) for i, frame in enumerate(frames[3:])])
        merged = flags.select(flags=pl.concat_list(pl.all()).list.unique().list.sort())
        yield pl.concat([*frames[:3], merged], how="horizontal")


def _negatives(
    given: AssembleInput, known_positives: Sequence[Path], tombstones: frozenset[str]
) -> pl.DataFrame | None:
    """record_id of each kept holder -> its negatives: joined over exact copies, cleared, in order.

    Joined are copies of one sub-source only: a record's licence columns then hold for its negatives as well. A record
    that a tombstone struck takes its negatives along. None where the corpus ships no negatives, so that most corpora
    never pay for this.
    """
    parts: list[pl.DataFrame] = []
    for shard, path in enumerate(given.text):
        # A list column's statistics speak of its items: a shard whose lists are all empty holds no item.
        if not any(pl.DataFrame(table)["text_neg"].list.len().sum() for table in read_groups(path, ["text_neg"])):
            continue
        out = pl.read_parquet(given.negatives[shard], columns=["record_row", "neg"]) if given.negatives else None
        row = 0
        for tables in zip(
            read_groups(path, ["sub_source", "text_neg"]),
            read_groups(given.decisions[shard], ["stage"]),
            read_groups(given.classes[shard], ["class_id", "text_key"]),
            strict=True,
        ):
            frame = pl.concat([pl.DataFrame(table) for table in tables], how="horizontal")
            singles = (
                frame.with_row_index("record_row", row)
                .filter(pl.col("stage").ne_missing("tombstone"))
                .with_columns(neg=pl.int_ranges(pl.col("text_neg").list.len(), dtype=pl.UInt32))
                .explode("text_neg", "neg")
                .drop_nulls("text_neg")
            )
            if out is not None:
                singles = singles.join(out.unique(), on=["record_row", "neg"], how="anti", maintain_order="left")
            singles = singles.filter(~texts_struck(tombstones, singles["text_neg"]))
            parts.append(singles.select("class_id", "sub_source", "text_key", "text_neg"))
            row += frame.height
    if not parts:
        return None
    singles = pl.concat(parts)
    singles = singles.with_columns(neg_key=key_hash(match_key(singles["text_neg"])))
    texts = singles.select("text_key").unique()
    known = pl.concat(
        [
            pl.read_parquet(p, columns=["text_key", "pos_key"]).join(texts, on="text_key", how="semi").unique()
            for p in known_positives
        ]
    ).unique()
    singles = (
        singles.join(
            known, left_on=["text_key", "neg_key"], right_on=["text_key", "pos_key"], how="anti", maintain_order="left"
        )
        .filter(pl.col("neg_key") != pl.col("text_key"))
        .unique(["class_id", "sub_source", "neg_key"], keep="first", maintain_order=True)
        .group_by("class_id", "sub_source", maintain_order=True)
        .agg("text_neg")
    )
    holders = pl.concat(
        [
            pl.concat(
                [
                    pl.read_parquet(path, columns=["record_id", "sub_source"]),
                    pl.read_parquet(given.decisions[shard], columns=["keep"]),
                    pl.read_parquet(given.classes[shard], columns=["class_id"]),
                ],
                how="horizontal",
            ).filter("keep")
            for shard, path in enumerate(given.text)
        ]
    )
    return holders.join(singles, on=["class_id", "sub_source"], how="inner").select("record_id", "text_neg")


def _labelled(
    given: AssembleInput, columns: pl.DataFrame, tombstones: frozenset[str], folder: Path, personal: Tally
) -> Receipt:
    """Labelled rows with their terms; a row goes for the first of: tombstone, contamination, a use class not wanted."""
    removed: dict[str, int] = {}
    parts: dict[str, int] = {}
    rows = 0
    with ShardWriter(folder, "labelled", LABELLED_DATA_SCHEMA, ONE_FILE) as writer:
        for frame, reasons in _labelled_groups(given):
            frame = frame.join(columns, on="sub_source", how="left", maintain_order="left")
            rows += frame.height
            leaked = pl.lit(None, pl.String)
            if reasons is not None:
                frame, leaked = frame.with_columns(reason=reasons), pl.col("reason")
            dead = texts_struck(tombstones, frame["text"]) | texts_struck(tombstones, frame["other"])
            frame = frame.with_columns(
                reason=pl.when(pl.lit(dead) | struck(tombstones, "record_id"))
                .then(pl.lit("tombstone"))
                .when(leaked.is_not_null())
                .then(leaked)
                .when(~pl.col("usable"))
                .then(pl.lit("use_class"))
            )
            for reason, n in frame.drop_nulls("reason").group_by("reason").len().sort("reason").iter_rows():
                removed[reason] = removed.get(reason, 0) + n
            kept = frame.filter(pl.col("reason").is_null())
            _tally(kept, parts)
            personal.add("labelled", kept["text"], kept["other"])
            writer.write(_table(kept, LABELLED_DATA_SCHEMA))
    receipt: Receipt = {
        "labelled": rows,
        "labelled_kept": writer.rows,
        "labelled_removed": dict(sorted(removed.items())),
    }
    return receipt | {"labelled_sub_sources": dict(sorted(parts.items()))}


def _labelled_groups(given: AssembleInput) -> Iterator[tuple[pl.DataFrame, pl.Series | None]]:
    """Labelled rows and, where they were compared with benchmarks, the reasons of their marks."""
    for shard, path in enumerate(given.labelled):
        if not given.labelled_marks:
            yield from ((pl.DataFrame(table), None) for table in read_groups(path))
            continue
        marks = read_groups(given.labelled_marks[shard], ["reason"])
        for table, of in zip(read_groups(path), marks, strict=True):
            yield pl.DataFrame(table), pl.DataFrame(of)["reason"]


def _tally(frame: pl.DataFrame, parts: dict[str, int]) -> None:
    for sub_source, n in frame.group_by("sub_source").len().sort("sub_source").iter_rows():
        parts[sub_source] = parts.get(sub_source, 0) + n


def _table(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return frame.select(schema.names).to_arrow().cast(schema)
