"""Raw files to text shards: the one stage that writes text. Everything after it only points at these rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.convert.finish import Finisher
from pipeline.convert.plan import PartPlan, plan
from pipeline.convert.rows import Raw, only_bad, raw_records
from pipeline.convert.tally import Tally
from pipeline.errors import UsageError
from pipeline.layouts import BadRow, read_rows
from pipeline.manifest.corpus import Corpus
from pipeline.record import LABELLED_SCHEMA, QUARANTINE_SCHEMA, TEXT_SCHEMA
from pipeline.shards import ShardWriter
from pipeline.source import SourceFile
from pipeline.store import Receipt

__all__ = ["convert"]


def convert(
    corpus: Corpus, files: Sequence[SourceFile], out: Path, sample: int | None = None, *, mask: bool = False
) -> Receipt:
    """Write the records, labelled rows and quarantine of one corpus to `out`.

    Every row of every file is used, filtered or quarantined, and counted so. SQL is compiled first, so that a wrong
    expression is told before a file is opened. Rows stream: memory holds one batch, and some 40 bytes per distinct
    record.

    Args:
        corpus: its manifest.
        files: its files in the order their records shall have, each of one part and split.
        out: an empty folder; gets `text-*.parquet`, `labelled-*.parquet` and `quarantine-*.parquet`.
        sample: stop after so many records (labelled rows, where no part selects records); rows are then not all judged.
        mask: put a mask in place of every telephone number and the like (`pipeline.personal`), but not in code.

    Returns:
        `counts` per part and split and `totals` (read, used, filtered, quarantined, records, labelled), `shards` by
        kind, `masked` values by kind, `warnings`, and `whole`: false when the sample cut the reading short.

    Raises:
        CurationError: an expression is not understood, gives the wrong type or fails on a row.
        FormatError, DriftError: a file is not as declared.
        BadRowsError: more rows are malformed than `max_bad_rows` allows.
    """
    if sample is not None and sample < 1:
        raise UsageError(corpus.name, f"a sample of {sample} records is none", "give a number from 1 on")
    plans = [plan(corpus, index) for index in range(len(corpus.parts))]
    by_label = not any(plan.selects for plan in plans)
    finisher = Finisher(corpus, mask=mask)
    whole = True
    with (
        ShardWriter(out, "text", TEXT_SCHEMA) as text,
        ShardWriter(out, "labelled", LABELLED_SCHEMA) as labelled,
        ShardWriter(out, "quarantine", QUARANTINE_SCHEMA) as quarantine,
    ):
        tally = Tally(corpus, quarantine)
        for file, raw in _raw(corpus, files, plans):
            if sample is not None:
                room = sample - (labelled.rows if by_label else text.rows)
                raw = raw.head(room, labelled=by_label)
                whole = (raw.labelled if by_label else raw.records).height < room
            text.write(finisher.records(raw.records, file, plans[file.part].numbered))
            labelled.write(finisher.labelled(raw.labelled, file))
            tally.add(file, raw)
            if not whole:
                break
        if whole:
            tally.refuse_bad_rows()
    return {
        "corpus": corpus.name,
        "counts": tally.told(),
        "totals": asdict(tally.total()),
        "shards": {writer.kind: [path.name for path in writer.paths] for writer in (text, labelled, quarantine)},
        "masked": dict(sorted(finisher.masked.items())),
        "warnings": [] if whole else tally.warnings(),
        "whole": whole,
    }


def _raw(corpus: Corpus, files: Sequence[SourceFile], plans: Sequence[PartPlan]) -> Iterator[tuple[SourceFile, Raw]]:
    """What the rows of each file give, batch by batch; rows that cannot be read come with the batch they stand in."""
    for file in files:
        unread: list[BadRow] = []
        for batch in read_rows(file.path, corpus.parts[file.part], unread.append, f"{corpus.name} {file.name}"):
            if not len(batch.rows):
                yield file, only_bad(unread)
                unread.clear()
                continue
            last = int(batch.rows[-1])
            yield file, raw_records(batch, plans[file.part], [bad for bad in unread if bad.row < last])
            unread[:] = [bad for bad in unread if bad.row > last]
        if unread:
            yield file, only_bad(unread)
