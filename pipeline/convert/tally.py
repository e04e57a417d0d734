"""The counts of a conversion, the rows it could not use, and whether both are as the manifest allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl
import pyarrow as pa

from pipeline.convert.rows import Raw
from pipeline.errors import BadRowsError, DriftError
from pipeline.layouts import BadRow
from pipeline.manifest.corpus import Corpus
from pipeline.record import QUARANTINE_SCHEMA
from pipeline.shards import ShardWriter
from pipeline.source import SourceFile

#: From so many unreadable rows on, a file most of whose rows are so is given up without reading the rest.
HOPELESS_ROWS = 10_000
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


class Unread:
    """Takes the rows of one file that cannot be read, until the batch they stand in comes.

    Raises BadRowsError when most rows so far are bad: such a file would give no batch, and its rows pile up.
    """

    def __init__(self, corpus: Corpus, file: SourceFile) -> None:
        self._corpus, self._file = corpus, file
        self._count = 0
        self._first: list[str] = []
        self.rows: list[BadRow] = []

    def __call__(self, bad: BadRow) -> None:
        self.rows.append(bad)
        self._count += 1
        if len(self._first) < _TOLD_ROWS:
            self._first.append(f"{self._file.name}#{bad.row}: {bad.reason}")
        seen = bad.row + 1
        if self._count >= HOPELESS_ROWS and self._count > seen * max(0.5, self._corpus.max_bad_rows):
            cause = f"{self._count} of the first {seen} rows of {self._file.name} are malformed"
            raise _too_many(self._corpus, cause, self._first)

    def before(self, row: int) -> list[BadRow]:
        """The rows up to this one, once."""
        taken = [bad for bad in self.rows if bad.row < row]
        self.rows = [bad for bad in self.rows if bad.row > row]
        return taken


def _too_many(corpus: Corpus, cause: str, first: Sequence[str]) -> BadRowsError:
    told = f"{cause} (max_bad_rows {corpus.max_bad_rows:.2%}). The first: {'; '.join(first)}"
    return BadRowsError(corpus.name, told, "mend columns, layout or encoding of the part")


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

    def warnings(self, *, whole: bool, asserted: bool) -> list[str]:
        """What does not fail the corpus but must be said: claimed counts that do not hold, bad rows of a cut sample.

        Raises DriftError when counts are to be asserted and a measured one does not hold.
        """
        if not whole and (fault := self._bad_rows()):
            return [f"{fault} in this sample. The first: {'; '.join(self._first_bad)}"]
        expect, total = self._corpus.expect, self.total()
        if expect is None or not asserted:
            return []
        found = {"rows": total.read, "records": total.records, "labelled": total.labelled}
        wrong = [
            f"{kind}: expected {expected}, found {found[kind]}"
            for kind in found
            if (expected := getattr(expect, kind)) is not None and expected != found[kind]
        ]
        if wrong and expect.seen == "measured":
            cure = "look at what changed upstream, then give the new counts in expect"
            raise DriftError(self._corpus.name, f"measured counts do not hold: {'; '.join(wrong)}", cure)
        return [f"{fault} (claimed)" for fault in wrong]

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
