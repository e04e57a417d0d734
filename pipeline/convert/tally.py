"""The counts of a conversion, the rows it could not use, and whether both are as the manifest allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl
import pyarrow as pa

from pipeline.convert.rows import Raw
from pipeline.errors import BadRowsError
from pipeline.layouts import BadRow
from pipeline.manifest.corpus import Corpus
from pipeline.record import QUARANTINE_SCHEMA
from pipeline.shards import ShardWriter
from pipeline.source import SourceFile

#: So many bad rows are named in an error.
_TOLD_ROWS = 3


@dataclass
class Count:
    """Of one part and split. Rows: read = used + filtered + quarantined; a used row gave a record or a labelled row."""

    read: int = 0
    used: int = 0
    filtered: int = 0
    quarantined: int = 0
    records: int = 0
    labelled: int = 0

    def add(self, other: Count) -> None:
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


def _too_many(corpus: Corpus, cause: str, first: Sequence[str]) -> BadRowsError:
    told = f"{cause} (max_bad_rows {corpus.max_bad_rows:.2%}). The first: {'; '.join(first)}"
    return BadRowsError(
        corpus.name, told, "mend columns, layout or encoding of the part, or allow more with max_bad_rows"
    )


class Tally:
    """Counts per part and split, and the quarantine of one corpus."""

    def __init__(self, corpus: Corpus, quarantine: ShardWriter) -> None:
        self._corpus, self._quarantine = corpus, quarantine
        self._counts: dict[tuple[int, str], Count] = {}
        self._first_bad: list[str] = []

    def add(self, file: SourceFile, raw: Raw) -> None:
        """Count what some rows gave, and write the bad ones."""
        used = pl.concat([raw.records["at"], raw.labelled["at"]]).n_unique()
        bad = len(raw.quarantined)
        rows = len(raw.rows)
        count = Count(rows + bad, used, rows - used, bad, raw.records.height, raw.labelled.height)
        self._counts.setdefault((file.part, file.split), Count()).add(count)
        if bad:
            self._write(file, raw.quarantined)

    def _write(self, file: SourceFile, rows: Sequence[BadRow]) -> None:
        locators = [f"{file.name}#{bad.row}" for bad in rows]
        told = zip(locators, rows, strict=True)
        self._first_bad += [f"{at}: {bad.reason}" for at, bad in told][: _TOLD_ROWS - len(self._first_bad)]
        columns = [
            [self._corpus.name] * len(rows),
            [self._corpus.parts[file.part].sub_source] * len(rows),
            [file.split] * len(rows),
            locators,
            [bad.reason for bad in rows],
            [bad.raw for bad in rows],
        ]
        arrays = [pa.array(column, pa.string()) for column in columns]
        self._quarantine.write(pa.Table.from_arrays(arrays, schema=QUARANTINE_SCHEMA))

    def total(self) -> Count:
        total = Count()
        for count in self._counts.values():
            total.add(count)
        return total

    def refuse_bad_rows(self) -> None:
        """Raises BadRowsError when more rows are quarantined than the corpus allows."""
        if fault := self._bad_rows():
            raise _too_many(self._corpus, fault, self._first_bad)

    def warnings(self) -> list[str]:
        """What a cut sample must say of its bad rows; a whole corpus fails over them instead."""
        fault = self._bad_rows()
        return [f"{fault} in this sample. The first: {'; '.join(self._first_bad)}"] if fault else []

    def _bad_rows(self) -> str | None:
        total = self.total()
        if total.quarantined <= total.read * self._corpus.max_bad_rows:
            return None
        return f"{total.quarantined} of {total.read} rows ({total.quarantined / total.read:.2%}) are malformed"

    def told(self) -> list[dict[str, object]]:
        """The counts for the receipt, in the order files were read."""
        return [
            {"part": part, "sub_source": self._corpus.parts[part].sub_source, "split": split, **asdict(count)}
            for (part, split), count in self._counts.items()
        ]
